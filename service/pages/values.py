"""Values of fields as people read them, and what differs between two of them. Pure."""

import difflib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from service.pages.dates import day_name, moment_name
from service.pages.names import Names, Words
from sync_protocol.fields import Choice, Place
from sync_protocol.kinds import Field
from sync_protocol.moments import Day, Moment
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import KINDS
from sync_protocol.sets import SetOf
from sync_protocol.texts import Text, Word

# Fields with a word of a closed list, and that list.
_LISTS: Mapping[tuple[str, str], str] = {
    ("household", "state"): "household_state",
    ("problem", "category"): "category",
    ("problem", "severity"): "severity",
    ("problem", "source"): "source",
    ("step", "action"): "action",
    ("step", "reason"): "reason",
    ("step", "satisfied"): "satisfied",
    ("tie", "kind"): "tie_kind",
    ("visit_check", "finding"): "finding",
}
_CADRES = frozenset({"contact_member", "lead_member", "to_cadre", "cadre"})
_UNITS = frozenset({GRID, "to_unit"})
# Longer texts are compared sentence by sentence.
_BY_CHARACTER = 600
_SENTENCE = re.compile(r"[^。！？!?.；;\n]*[。！？!?.；;\n]?")

Written = str | Text | Word


def kind_name(kind: str) -> Written:
    """What a kind of record is called; one of a newer app by its code."""
    known = KINDS.get(kind)
    return Word(kind.replace("_", " "), known.zh) if known else kind


def field_name(kind: str, name: str) -> Written:
    """What a field is called."""
    if name == LIFE:
        return Text("kept or deleted")
    if name == GRID:
        return Text("grid")
    field = field_of(kind, name)
    return Word(name.replace("_", " "), field.zh) if field else name


def field_of(kind: str, name: str) -> Field | None:
    """A field as it is declared."""
    known = KINDS.get(kind)
    return known.by_name.get(name) if known else None


def list_of(kind: str, name: str) -> str | None:
    """The list of words that a field takes its words from."""
    field = field_of(kind, name)
    if field is None:
        return None
    return field.list or _LISTS.get((kind, name))


def written(kind: str, name: str, value: Any, words: Words, names: Names) -> list[Written]:
    """A value in words, in parts that stand one after another."""
    if value is None:
        return [Text("nothing")]
    if name == LIFE:
        return [Text("deleted") if value is True else Text("not deleted")]
    if isinstance(value, Mapping) and value.keys() <= {"add", "remove"}:
        return _change(kind, name, value, words, names)
    if isinstance(value, list):
        return [one for item in value for one in written(kind, name, item, words, names)]
    field = field_of(kind, name)
    listed = list_of(kind, name)
    if isinstance(value, str):
        if listed is not None:
            return [words.of(listed, value)]
        if name in _CADRES:
            return [names.cadre(value)]
        if name in _UNITS:
            return [names.unit(value)]
        return [_dated(field, value)]
    if field is not None and isinstance(field.type, Place) and isinstance(value, Mapping):
        return [f"{value.get('lat', '?')}, {value.get('lon', '?')}"]
    return [as_json(value)]


def _change(
    kind: str, name: str, value: Mapping[str, Any], words: Words, names: Names
) -> list[Written]:
    found: list[Written] = []
    for key in ("add", "remove"):
        items = value.get(key)
        for item in items if isinstance(items, list) else [items] if items else []:
            parts = written(kind, name, item, words, names)
            found += [
                part if key == "add" else Text("without {value}", value=part) for part in parts
            ]
    return found or [Text("nothing")]


def _dated(field: Field | None, value: str) -> Written:
    try:
        if field is not None and isinstance(field.type, Moment):
            return moment_name(datetime.fromisoformat(value))
        if field is not None and isinstance(field.type, Day):
            return day_name(date.fromisoformat(value))
    except ValueError:
        pass
    return value


def as_json(value: Any) -> str:
    """What has no words of its own."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_choice(field: Field) -> bool:
    """Whether a field takes one word of a list."""
    return isinstance(field.type, Choice)


def is_set(field: Field) -> bool:
    """Whether a field takes several values."""
    return isinstance(field.type, SetOf)


class Piece(NamedTuple):
    """A part of a text, and whether it stands in the one text only."""

    text: str
    differs: bool


def differences(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Two texts in pieces, with what differs marked."""
    ones, others = _tokens(one, other)
    matcher = difflib.SequenceMatcher(None, ones, others, autojunk=False)
    left: list[Piece] = []
    right: list[Piece] = []
    for tag, low, high, other_low, other_high in matcher.get_opcodes():
        _add(left, "".join(ones[low:high]), tag != "equal")
        _add(right, "".join(others[other_low:other_high]), tag != "equal")
    return left, right


def _tokens(one: str, other: str) -> tuple[list[str], list[str]]:
    if max(len(one), len(other)) <= _BY_CHARACTER:
        return [*one], [*other]
    return _SENTENCE.findall(one), _SENTENCE.findall(other)


def _add(pieces: list[Piece], text: str, differs: bool) -> None:
    if text:
        pieces.append(Piece(text, differs))
