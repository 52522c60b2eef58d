"""What came of an erasure, as tables on the console."""

from rich.table import Table

from service.kit.localization import Language, in_language
from service.privacy.erasure import LABELS, WORDS, Done
from sync_protocol.texts import Text


def tables(done: Done, dry_run: bool, language: Language) -> tuple[Table, Table]:
    """What was removed, or would be; and what still holds something, until when."""

    def shown(text: str) -> str:
        return in_language(text, language)

    title = Text("{kind} {subject}", kind=WORDS[done.kind], subject=done.subject)
    if done.repeated:
        title = Text("{what}: erased before, nothing has come since", what=title)
    count = Text("would be removed") if dry_run else Text("removed")
    removed = Table(shown(Text("what")), shown(count), title=shown(title))
    for what, number in done.removed.items():
        removed.add_row(shown(LABELS.get(what, what)), str(number))
    heads = (Text("what still holds something"), Text("of what"), Text("until"))
    remains = Table(*map(shown, heads), title=shown(Text("not reached by the erasure")))
    for item in done.remains:
        remains.add_row(*map(shown, (item.where, item.what, item.until)))
    return removed, remains
