"""The fields of a held mutation as a form shows them, and what somebody changed in that form."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.identity.access import Caller
from service.identity.views import TABLE, Shown, View, class_of
from service.inbox.answers import HeldOut
from service.pages.names import Names, Words
from service.pages.values import (
    Written,
    as_json,
    field_name,
    field_of,
    is_choice,
    is_set,
    list_of,
    written,
)
from sync_protocol.fields import Number, Place, Text, Whole
from sync_protocol.kinds import Field
from sync_protocol.moments import Moment
from sync_protocol.periods import SHANGHAI
from sync_protocol.records import KINDS
from sync_protocol.texts import Word

# The names of the fields of the form: what is typed, what stood there before, and which set it is.
NOW, BEFORE, REMOVED = "field.", "before.", "removed."
_LONG = 200
_WHOLE = re.compile(r"[+-]?\d{1,12}", re.ASCII)


class HeldField(NamedTuple):
    """A field of a held mutation. `input`: how it is corrected, empty where it is only shown;
    `before`: what stands in the form at first; `value`: what stands there now.
    """

    name: str
    label: Written
    shown: list[Written]
    input: str
    before: str = ""
    value: str = ""
    choices: Sequence[tuple[str, Word]] = ()
    chosen: Sequence[str] = ()
    is_masked: bool = False
    removed: str = ""


def fields_of(
    item: HeldOut,
    words: Words,
    names: Names,
    caller: Caller,
    corrects: bool,
    typed: Mapping[str, str],
) -> list[HeldField]:
    """The fields that were sent, and those that are missing, in order. `typed`: what somebody typed
    before and could not be taken.
    """
    sent = item.mutation.get("fields")
    fields: Mapping[str, Any] = sent if isinstance(sent, dict) else {}
    kind = KINDS.get(item.kind)
    missing: Sequence[str] = ()
    if kind is not None and item.mutation.get("op") != "delete":
        is_new = not item.mutation.get("base")
        missing = [name for name in kind.required if is_new and name not in fields]
    view = View.FULL if item.staff_code == caller.staff_code else caller.shown_of(item.grid)
    return [
        _field(item.kind, name, fields.get(name), words, names, view if corrects else None, typed)
        for name in [*fields, *missing]
    ]


def _field(
    kind: str,
    name: str,
    value: Any,
    words: Words,
    names: Names,
    view: View | None,
    typed: Mapping[str, str],
) -> HeldField:
    label, shown = field_name(kind, name), written(kind, name, value, words, names)
    field = field_of(kind, name)
    if view is None or field is None:
        return HeldField(name, label, shown, "")
    how = TABLE[class_of(KINDS[kind], name)][view]
    if how is Shown.COARSE:
        return HeldField(name, label, shown, "")
    is_masked = how is Shown.MASKED
    input, before = _input(field, None if is_masked else value)
    listed = list_of(kind, name)
    choices = words.choices(listed) if listed else []
    known = {code for code, _ in choices}
    others = [code for code in (before.split("\n") if before else []) if code not in known]
    now = typed.get(name, before)
    return HeldField(
        name,
        label,
        shown,
        input,
        before,
        now,
        [*choices, *((code, Word(code, code)) for code in others)],
        now.split("\n"),
        is_masked,
        _items(value, "remove") if is_set(field) else "",
    )


def _input(field: Field, value: Any) -> tuple[str, str]:
    """How a field is typed, and how a value of it stands there."""
    if is_set(field):
        return "choices" if field.list else "lines", _items(value, "add")
    if is_choice(field):
        return "choice", "" if value is None else as_json(value)
    if isinstance(field.type, Moment):
        return "moment", _local(value)
    text = "" if value is None else as_json(value)
    if isinstance(field.type, Text) and field.type.max > _LONG:
        return "long", text
    return "line", text


def _items(change: Any, key: str) -> str:
    found = change.get(key) if isinstance(change, Mapping) else None
    return "\n".join(map(as_json, found)) if isinstance(found, list) else ""


def _local(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return ""
    if moment.tzinfo is None:
        return ""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%dT%H:%M")


def typed_in(form: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What the form has, by the names of the fields; several values of one stand a line each."""
    found: dict[str, list[str]] = {}
    for key, value in form:
        if key.startswith(NOW):
            found.setdefault(key.removeprefix(NOW), []).append(_lines(value))
        elif key.startswith(BEFORE):
            # A set of which nothing is ticked sends nothing.
            found.setdefault(key.removeprefix(BEFORE), [])
    return {name: "\n".join(values) for name, values in found.items()}


def changes_in(kind: str, form: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The fields that somebody changed, as a mutation has them."""
    before, removed = (
        {key.removeprefix(part): _lines(value) for key, value in form if key.startswith(part)}
        for part in (BEFORE, REMOVED)
    )
    changed = {}
    for name, text in typed_in(form).items():
        field = field_of(kind, name)
        if field is not None and name in before and not _same(field, text, before[name]):
            changed[name] = _value(field, text, removed.get(name, ""))
    return changed


def _same(field: Field, text: str, before: str) -> bool:
    if is_set(field):
        return {*text.split("\n")} == {*before.split("\n")}
    return text == before


def _value(field: Field, text: str, removed: str) -> Any:
    if is_set(field):
        change = {"add": [line for line in text.split("\n") if line.strip()]}
        return change | ({"remove": removed.split("\n")} if removed else {})
    if not text:
        return None
    if isinstance(field.type, Moment):
        return f"{text}:00+08:00" if len(text) == 16 else text
    if isinstance(field.type, Whole) and _WHOLE.fullmatch(text.strip()):
        return int(text)
    if isinstance(field.type, (Place, Number)):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
