"""The fields of mutations brought into their canonical form, one by one or many together."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sync_protocol import limits
from sync_protocol.fields import (
    Id,
    InvalidValue,
    invalid_type,
)
from sync_protocol.kinds import Field, Kind
from sync_protocol.moments import Moment
from sync_protocol.sets import SET_CHANGE, SetChange
from sync_protocol.texts import Text as Sentence
from sync_protocol.texts import text_of


class UnfitFields(ValueError):
    """Fields that cannot be taken: `problems` has a text for each field that is wrong, `reason` is
    why they are held; it says them all.
    """

    def __init__(self, problems: Mapping[str, str], reason: str = "fields-wrong") -> None:
        self.problems = dict(problems)
        self.reason = reason
        found = [
            Sentence("{field} {what}", field=name, what=text) for name, text in problems.items()
        ]
        super().__init__(Sentence("{problems}.", problems=found))


# Under this name a mutation keeps what could not be read of it.
UNREADABLE = "unreadable"
# What an unknown field of a newer app may hold (promise 11): kept as it is, within these bounds and
# those of `limits`.
MAX_UNKNOWN_FIELDS = 30
MAX_UNKNOWN_NAME = 60


def clean_fields(kind: Kind, fields: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The canonical values of a mutation's fields, and whether they say just what was sent.

    Sets become a `SetChange`; null clears a field. Raises `UnfitFields` that names every field
    which is wrong.
    """
    cleaned: dict[str, Any] = {}
    problems: dict[str, str] = {}
    as_sent = True
    unknown = 0
    cleaners = kind.cleaners
    for name, value in fields.items():
        clean = cleaners.get(name)
        if clean is not None and value is not None:
            try:
                result = cleaned[name] = clean(value)
            except InvalidValue as error:
                problems[name] = text_of(error)
                continue
            if result is not value and as_sent:
                as_sent = result == value or _says_the_same(kind.by_name[name], result, value)
        elif clean is None:
            unknown += 1
            if (
                unknown > MAX_UNKNOWN_FIELDS
                or len(name) > MAX_UNKNOWN_NAME
                or not name.isidentifier()
            ):
                problems[_printable(name)] = Sentence("is unknown and cannot be kept; leave it out")
            elif name == UNREADABLE:
                problems[name] = Sentence(
                    "names what could not be read, and is no field; leave it out"
                )
            elif (odd := limits.oddity(value)) is not None:
                problems[name] = Sentence("{what}; leave it out", what=odd)
            else:
                cleaned[name] = value
        elif name in kind.sets:
            problems[name] = text_of(invalid_type(SET_CHANGE, None))
        else:
            if name in kind.required:
                problems[name] = Sentence("is needed and cannot be cleared")
            cleaned[name] = None
    if problems:
        labels = {field.name: field.word for field in kind.fields}
        raise UnfitFields({labels.get(name, name): text for name, text in problems.items()})
    if unknown and (size := unknown_bytes(kind, cleaned)) > limits.MAX_UNKNOWN_BYTES:
        raise UnfitFields({"fields": too_much_unknown(size)}, "too-large")
    return cleaned, as_sent


def too_much_unknown(size: int) -> Sentence:
    """Why fields that this version does not know are not kept."""
    return Sentence(
        "hold {size} bytes that this server does not know, at most {max} fit a record",
        size=size,
        max=limits.MAX_UNKNOWN_BYTES,
    )


def clean_many(kind: Kind, many: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The same for many mutations, field by field, if all say just what was sent; None if they have
    to be cleaned one by one.
    """
    cleaned = [{**fields} for fields in many]
    known = 0
    for field in kind.fields:
        name = field.name
        having = [fields for fields in cleaned if name in fields]
        if not having:
            continue
        known += len(having)
        values = [fields[name] for fields in having]
        found = field.type.clean_many(values)
        if found is None:
            return None
        if found is not values:
            for fields, value in zip(having, found, strict=True):
                fields[name] = value
    return cleaned if known == sum(map(len, cleaned)) else None


def clean_columns(kind: Kind, many: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]] | None:
    """The same as columns, one for each field of the kind, with None where a mutation does not have
    it; None as well if it clears one.
    """
    columns: dict[str, Sequence[Any]] = {}
    known = 0
    for field in kind.fields:
        column: Sequence[Any] = [fields.get(field.name) for fields in many]
        values = [value for value in column if value is not None]
        known += len(values)
        found = field.type.clean_many(values) if values else values
        if found is None:
            return None
        if len(values) == len(column):
            column = found
        elif values:
            rest = iter(found)
            column = [None if value is None else next(rest) for value in column]
        columns[field.name] = column
    return columns if known == sum(map(len, many)) else None


# What is cut off a time.
_BELOW_MS = re.compile(r"[.,]\d{3}0*[1-9]")


def _says_the_same(field: Field, result: Any, value: Any) -> bool:
    """Whether a canonical value is what was sent, but for the spelling of a time or an id."""
    if isinstance(result, SetChange):
        if not result.remove and [*result.add] == value.get("add"):
            return True
        return set(result.add) == set(value.get("add", ())) and set(result.remove) == set(
            value.get("remove", ())
        )
    if isinstance(field.type, Id):
        return True
    return isinstance(field.type, Moment) and not _BELOW_MS.search(value)


def _printable(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:MAX_UNKNOWN_NAME]


def unknown_bytes(kind: Kind, fields: Mapping[str, Any]) -> int:
    """The bytes of the fields that this version does not know, as JSON."""
    return limits.json_size(
        {name: value for name, value in fields.items() if name not in kind.by_name}
    )
