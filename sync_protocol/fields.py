"""The types that a record's fields can have.

Each type brings a JSON value of the wire into its one canonical form (`clean`), or raises
`InvalidValue` with a sentence that says what is wrong and what would be right, and describes itself
as JSON Schema (`schema`). Canonical values are plain JSON: two copies of a record are equal when
their JSON is.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Protocol

from sync_protocol import periods
from sync_protocol.ids import UUID_FORM, are_uuids
from sync_protocol.limits import whole
from sync_protocol.text_forms import all_match
from sync_protocol.texts import Text as Sentence
from sync_protocol.texts import text_of

type_names = {
    str: Sentence("text"),
    bool: Sentence("true or false"),
    int: Sentence("a number"),
    float: Sentence("a number"),
    list: Sentence("a list"),
    dict: Sentence("an object"),
}

# Only these are stripped: traditional Mongolian uses U+202F, U+180E and U+180B to U+180D inside and
# at the end of words.
STRIPPED = " \t\r\n\f\v\u3000"

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CANONICAL_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII
)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_FIRST_MOMENT, _END_OF_MOMENTS = f"{periods.FIRST_YEAR}-", f"{periods.LAST_YEAR + 1}-"
_PLACE_KEYS = frozenset({"lat", "lon", "accuracy"})
_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class InvalidValue(ValueError):
    """A value that a field does not take."""


def invalid_type(wanted: str, value: object) -> InvalidValue:
    """The error for a value of the wrong JSON type."""
    found = "null" if value is None else type_names.get(type(value), Sentence("something else"))
    return InvalidValue(Sentence("must be {wanted}, but is {found}", wanted=wanted, found=found))


class FieldType(Protocol):
    """What every field type can do."""

    def clean(self, value: Any) -> Any:
        """The canonical form of a wire value; raises `InvalidValue`."""

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """The canonical forms of many wire values, one at least, if all say just what was sent;
        None if one does not, or may not.

        Then each has to be cleaned by itself. Most of what phones send is canonical already, which
        is seen faster for many at once.
        """
        try:
            cleaned = [self.clean(value) for value in values]
        except InvalidValue:
            return None
        return cleaned if cleaned == values else None

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the canonical form."""


@dataclass(frozen=True, slots=True)
class Text(FieldType):
    """Text of at most `max` code points, kept in NFC, without white space around it."""

    max: int
    min: int = 0

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("text"), value)
        text: str = value
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidValue(
                    Sentence("has half of a character (a lone surrogate); send whole characters")
                ) from None
            if not unicodedata.is_normalized("NFC", text):
                text = unicodedata.normalize("NFC", text)
        if "\0" in text:
            raise InvalidValue(
                Sentence("has the character U+0000, which cannot be stored; leave it out")
            )
        text = text.strip(STRIPPED)
        if len(text) > self.max:
            raise InvalidValue(
                Sentence(
                    "has {count} characters, at most {max} fit; shorten it",
                    count=len(text),
                    max=self.max,
                )
            )
        if len(text) < self.min:
            raise InvalidValue(
                Sentence("is empty; write something")
                if self.min == 1
                else Sentence("needs at least {min} characters", min=self.min)
            )
        return text

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        try:
            joined = "\n".join(values)
            joined.encode()
        except (TypeError, UnicodeEncodeError):
            return None
        if "\0" in joined or not (joined.isascii() or unicodedata.is_normalized("NFC", joined)):
            return None
        lengths = [*map(len, values)]
        if (
            max(lengths) > self.max
            or min(lengths) < self.min
            or [value.strip(STRIPPED) for value in values] != values
        ):
            return None
        return values

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.max} | (
            {"minLength": self.min} if self.min else {}
        )


@dataclass(frozen=True, slots=True)
class Id(FieldType):
    """A UUID in canonical form; upper case is brought to lower."""

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("a UUID"), value)
        text: str = value.lower()
        if UUID_FORM.fullmatch(text) is None:
            raise InvalidValue(
                Sentence("is no UUID; write it like 0192f3a1-0000-7000-8000-000000000000")
            )
        return text

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        return values if are_uuids(values) else None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True, slots=True)
class Moment(FieldType):
    """An RFC 3339 time with its offset, kept as UTC with milliseconds: `2026-11-24T01:00:00.123Z`.

    `event` marks the time of something that happened, which is corrected by the phone's clock
    offset (promise 6): only then can it be seen whether it lies in the years that count.
    """

    event: bool = False

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("a time"), value)
        if _CANONICAL_MOMENT.fullmatch(value) and _is_day(value[:10]):
            return value
        found = _MOMENT.fullmatch(value)
        if found is None:
            raise InvalidValue(
                Sentence("is no time with an offset; write it like 2026-11-24T09:00:00+08:00")
            )
        if not found[1]:
            raise InvalidValue(Sentence("has no offset; write it like 2026-11-24T09:00:00+08:00"))
        moment = read_moment(value)
        if moment is None:
            raise InvalidValue(
                Sentence("is no time that exists; write it like 2026-11-24T09:00:00+08:00")
            )
        if not self.event and not periods.FIRST_YEAR <= moment.year <= periods.LAST_YEAR:
            raise InvalidValue(OUTSIDE_THE_YEARS)
        return canonical_moment(moment)

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        if not all_match(values, b"0000-00-00T00:00:00.000Z"):
            return None
        tens = (
            max([value[14] for value in values]),
            max([value[17] for value in values]),
        )  # of minutes and seconds
        return (
            values
            if max(tens) < "6" and all(map(_is_hour, {value[:13] for value in values}))
            else None
        )

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


@lru_cache(maxsize=4_096)
def _is_day(text: str) -> bool:
    """Whether there is such a day, in the years that count."""
    try:
        return periods.FIRST_YEAR <= datetime.fromisoformat(text).year <= periods.LAST_YEAR
    except ValueError:
        return False


def _is_hour(text: str) -> bool:
    """Whether there is such an hour, in the years that count; it has the form `2026-11-24T09`."""
    return text[11:] < "24" and _is_day(text[:10])


OUTSIDE_THE_YEARS = Sentence(
    "lies outside the years {first} to {last}", first=periods.FIRST_YEAR, last=periods.LAST_YEAR
)


def is_in_the_years(moment: str) -> bool:
    """Whether a canonical moment lies in the years that count."""
    return _FIRST_MOMENT <= moment < _END_OF_MOMENTS


def read_moment(text: str) -> datetime | None:
    """An RFC 3339 time, its seconds may be left out, in UTC if it has an offset; None if it is
    none, or there is no such time.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if found[1] else moment
    except (ValueError, OverflowError):
        return None


def canonical_moment(moment: datetime) -> str:
    """A timezone-aware moment in the wire's canonical form, cut to whole milliseconds."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True)
class Choice(FieldType):
    """One word of a closed list; `policy_order` of `most_severe` is the order of the list."""

    words: tuple[str, ...]

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("one of {words}", words=", ".join(self.words)), value)
        if value not in self.words:
            raise InvalidValue(
                Sentence(
                    "is ‘{value}’; use one of {words}",
                    value=_shorten(value),
                    words=", ".join(self.words),
                )
            )
        return str(value)

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        try:
            return values if {*values} <= {*self.words} else None
        except TypeError:  # a list or an object
            return None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Whole(FieldType):
    """A whole number from `min` to `max`."""

    min: int
    max: int

    def clean(self, value: Any) -> int:
        value = whole(value)
        if type(value) is float:
            raise InvalidValue(
                Sentence("must be a whole number, but is {value}", value=repr(value))
            )
        if type(value) is not int:
            raise invalid_type(Sentence("a whole number"), value)
        if not self.min <= value <= self.max:
            raise InvalidValue(Sentence("must lie from {min} to {max}", min=self.min, max=self.max))
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, slots=True)
class Place(FieldType):
    """A WGS 84 position: `{"lat": 40.65, "lon": 109.84, "accuracy": 12}`, degrees to six decimals
    and metres (optional).

    Other keys, as newer apps may send them, are dropped; a negative accuracy says “unknown” on iOS
    and Android, and is left out.
    """

    def clean(self, value: Any) -> dict[str, float]:
        if type(value) is not dict:
            raise invalid_type(Sentence('an object like {"lat": 40.65, "lon": 109.84}'), value)
        place = {
            "lat": self._number(value.get("lat"), "lat", 90),
            "lon": self._number(value.get("lon"), "lon", 180),
        }
        accuracy = value.get("accuracy")
        if accuracy is not None and (metres := self._number(accuracy, "accuracy", 1_000_000)) >= 0:
            place["accuracy"] = metres
        return place

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        if {*map(type, values)} != {dict} or not all(map(_PLACE_KEYS.issuperset, values)):
            return None
        lat = _degrees_or_metres([value.get("lat") for value in values], -90, 90)
        lon = _degrees_or_metres([value.get("lon") for value in values], -180, 180)
        exact = [value for value in values if "accuracy" in value]
        accuracy = (
            _degrees_or_metres([value["accuracy"] for value in exact], 0, 1_000_000)
            if exact
            else ()
        )
        if lat is None or lon is None or accuracy is None:
            return None
        places = [{"lat": one, "lon": other} for one, other in zip(lat, lon, strict=True)]
        metres = iter(accuracy)
        for place, value in zip(places, values, strict=True):
            if "accuracy" in value:
                place["accuracy"] = next(metres)
        return places

    @staticmethod
    def _number(number: Any, key: str, bound: int) -> float:
        if (type(number) is not float and type(number) is not int) or not -bound <= number <= bound:
            raise InvalidValue(
                Sentence(
                    "needs {key} as a number from {min} to {max}", key=key, min=-bound, max=bound
                )
            )
        # Rounding to six decimals is slow, and most numbers have no more.
        return (number if number == round(number * 1e6) / 1e6 else round(number, 6)) + 0.0

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["lat", "lon"],
            "additionalProperties": False,
            "properties": {
                "lat": {"type": "number", "minimum": -90, "maximum": 90},
                "lon": {"type": "number", "minimum": -180, "maximum": 180},
                "accuracy": {"type": "number", "minimum": 0, "description": "metres"},
            },
        }


def _degrees_or_metres(numbers: list[Any], least: int, most: int) -> list[float] | None:
    """Numbers within bounds and of six decimals at most; None if one is not."""
    if not {*map(type, numbers)} <= {int, float} or min(numbers) < least or max(numbers) > most:
        return None
    exact = [number + 0.0 for number in numbers]
    return exact if [round(number * 1e6) / 1e6 for number in exact] == exact else None


@dataclass(frozen=True, slots=True)
class Named(FieldType):
    """Text in a fixed form, such as a unit's code; `lower`: upper case is brought to lower case
    before.
    """

    form: Sentence
    pattern: str
    example: str
    lower: bool = False

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(self.form, value)
        text = value.lower() if self.lower else str(value)
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise InvalidValue(
                Sentence(
                    "is no {form}; write it like {example}", form=self.form, example=self.example
                )
            )
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$", "examples": [self.example]}


@dataclass(frozen=True, slots=True)
class Week(FieldType):
    """An ISO week, `2026-W47`."""

    def clean(self, value: Any) -> str:
        return _period(value, periods.week, Sentence("an ISO week like 2026-W47"))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d{4}-W\d{2}$", "examples": ["2026-W47"]}


@dataclass(frozen=True, slots=True)
class Month(FieldType):
    """A month, `2026-11`."""

    def clean(self, value: Any) -> str:
        return _period(value, periods.month, Sentence("a month like 2026-11"))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d{4}-\d{2}$", "examples": ["2026-11"]}


@dataclass(frozen=True, slots=True)
class Day(FieldType):
    """A day in Asia/Shanghai, `2026-11-24`, in the years that count."""

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("a day like 2026-11-24"), value)
        if not (_DAY.fullmatch(value) and _is_day(value)):
            raise InvalidValue(Sentence("is no day that exists; write it like 2026-11-24"))
        if not periods.FIRST_YEAR <= int(value[:4]) <= periods.LAST_YEAR:
            raise InvalidValue(OUTSIDE_THE_YEARS)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date", "examples": ["2026-11-24"]}


def _period(value: Any, parse: Any, wanted: str) -> str:
    if type(value) is not str:
        raise invalid_type(wanted, value)
    try:
        return str(parse(value).name)
    except ValueError as error:
        raise InvalidValue(Sentence("is wrong: {why}", why=text_of(error))) from None


class SetChange(NamedTuple):
    """What a mutation does to a set: elements added and elements removed, each sorted and without
    repeats.
    """

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def wire(self) -> dict[str, list[str]]:
        """As it stands in a mutation."""
        return {
            key: list(items) for key, items in (("add", self.add), ("remove", self.remove)) if items
        }


_ONLY_ADD = {("add",)}
_SET_KEYS = frozenset({"add", "remove"})
SET_CHANGE = Sentence('an object like {"add": […], "remove": […]}')


@dataclass(frozen=True, slots=True)
class SetOf(FieldType):
    """A set of at most `max` elements; a mutation changes it by `{"add": […], "remove": […]}`, a
    record holds the sorted list.
    """

    item: FieldType
    max: int = 50

    def clean(self, value: Any) -> SetChange:
        """The change that a mutation asks for."""
        if type(value) is not dict:
            raise invalid_type(SET_CHANGE, value)
        if len(value) == 1 and "add" in value:
            return SetChange(self._items(value["add"]))
        if not value.keys() <= _SET_KEYS:
            unknown = min(value.keys() - _SET_KEYS)
            raise InvalidValue(
                Sentence("has the unknown key ‘{key}’; use add and remove", key=_shorten(unknown))
            )
        change = SetChange(self._items(value.get("add", [])), self._items(value.get("remove", [])))
        if change.add and change.remove and (both := set(change.add) & set(change.remove)):
            raise InvalidValue(
                Sentence(
                    "adds and removes ‘{value}’ at once; do one of the two",
                    value=_shorten(min(both)),
                )
            )
        return change

    def clean_many(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """Only for additions, which are all that a new record brings."""
        if {*map(type, values)} != {dict} or {*map(tuple, values)} != _ONLY_ADD:
            return None
        added = [value["add"] for value in values]
        if {*map(type, added)} != {list} or max(map(len, added)) > self.max:
            return None
        items = [*chain.from_iterable(added)]
        if items and self.item.clean_many(items) != items:
            return None
        return [*map(_addition, map(tuple, added))]

    def _items(self, value: Any) -> tuple[str, ...]:
        if type(value) is not list:
            raise invalid_type(Sentence("a list"), value)
        if len(value) > self.max:
            raise InvalidValue(
                Sentence(
                    "names {count} elements, at most {max} fit", count=len(value), max=self.max
                )
            )
        if len(value) < 2:
            return (self.item.clean(value[0]),) if value else ()
        return tuple(sorted({self.item.clean(item) for item in value}))

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "uniqueItems": True}

    def change_schema(self) -> dict[str, Any]:
        """JSON Schema of the change in a mutation."""
        items = {"type": "array", "items": self.item.schema(), "maxItems": self.max}
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {"add": items, "remove": items},
        }


@lru_cache(maxsize=10_000)
def _addition(items: tuple[str, ...]) -> SetChange:
    return SetChange(tuple(sorted({*items})))


_SHA256_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SHA256 = Named(Sentence("sha-256 in hex"), "[0-9a-f]{64}", _SHA256_EXAMPLE, lower=True)
UNIT_CODE = Named(
    Sentence("unit code"), r"\d{4}(?:\d{2}(?:\d{3}(?:\d{3}(?:\d{3})?)?)?)?", "150221100201001"
)
STAFF_CODE = Named(Sentence("staff code"), r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", "W150221100201001-1")


def _shorten(text: str, limit: int = 40) -> str:
    """The beginning of a text that somebody sent, fit for an error message."""
    shown = text.encode("utf-8", "replace").decode()[:limit]
    return "".join(char if char.isprintable() else "�" for char in shown) + (
        "…" if len(text) > limit else ""
    )
