"""The words that a phone offers: those of its declarations, and what the server says of lists."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Protocol

from sync_protocol.kinds import Kind, with_words
from sync_protocol.vocabulary import DUTIES, ROLES, SEVERITIES, TAGS, Label

_BUILT_IN: Mapping[str, Mapping[str, Label]] = {
    "duty": DUTIES,
    "tag": TAGS,
    "severity": SEVERITIES,
    "role": ROLES,
}


class Item(Protocol):
    """A record of kind `vocabulary`."""

    @property
    def fields(self) -> Mapping[str, Any]: ...


def offered(items: Iterable[Item], name: str, day: date) -> dict[str, Label]:
    """The words of a list on a day, in order: those that records name as the records say, before
    the others of this version.
    """
    terms = [item.fields for item in items if item.fields.get("list") == name]
    holding = [term for term in terms if _holds(term, day.isoformat())]
    found = {
        term["code"]: Label(term["name_zh"], term["name_en"])
        for term in sorted(holding, key=lambda term: (term["position"], term["code"]))
    }
    named = {term["code"] for term in terms}
    return found | {
        code: label for code, label in _BUILT_IN.get(name, {}).items() if code not in named
    }


def _holds(term: Mapping[str, Any], day: str) -> bool:
    begins, ends = term.get("valid_from"), term.get("valid_to")
    return (begins is None or begins <= day) and (ends is None or day < ends)


def knowing(kind: Kind, items: Iterable[Item]) -> Kind:
    """A kind whose fields take also the words that records name."""
    words: dict[str, list[str]] = {}
    for item in items:
        words.setdefault(item.fields["list"], []).append(item.fields["code"])
    return with_words(kind, words) if words else kind
