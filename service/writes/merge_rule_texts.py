"""The rules that choose between two values, in words for people."""

from service.kit.localization import FOR_PROGRAMS, localized
from sync_protocol.texts import Text

# What stands behind the name of a rule, see `sync_protocol.merge`.
_WORDS = {
    str(text): text
    for text in (
        Text("the first value stays"),
        Text("the more severe value stays"),
        Text("the later stamp stays, ties by device"),
        Text("an addition wins over a removal made without knowing of it"),
        Text("an edit made without knowing of the deletion wins"),
        Text("what was done later stays, for the base is of another history"),
    )
}


def shown_rule(rule: str) -> str:
    """A rule as it was kept, in the language of the request at hand; its name in front stays, for
    programs.
    """
    name, _, words = rule.partition(": ")
    found = _WORDS.get(words)
    return (
        rule
        if found is None
        else localized(Text("{rule}: {words}", rule=name, words=found), FOR_PROGRAMS)
    )
