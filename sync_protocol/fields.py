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
from typing import Any, Protocol

from sync_protocol.ids import UUID_FORM, are_uuids
from sync_protocol.limits import whole
from sync_protocol.texts import Text as Sentence

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

_PLACE_KEYS = frozenset({"lat", "lon", "accuracy"})


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
                    value=shortened(value),
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
class Number(FieldType):
    """A number with at most four decimals, from -`most` to `most`; a whole one has none."""

    most: float = 1e12

    def clean(self, value: Any) -> int | float:
        if type(value) not in (int, float):
            raise invalid_type(Sentence("a number"), value)
        if not -self.most <= value <= self.most:
            raise InvalidValue(
                Sentence("must lie from {min} to {max}", min=-self.most, max=self.most)
            )
        found = round(float(value), 4)
        return int(found) if found.is_integer() else found

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": -self.most, "maximum": self.most}


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


_SHA256_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SHA256 = Named(Sentence("sha-256 in hex"), "[0-9a-f]{64}", _SHA256_EXAMPLE, lower=True)
WORD = Named(Sentence("word of a list"), "[a-z][a-z0-9_]{0,39}", "elderly_alone")
UNIT_CODE = Named(
    Sentence("unit code"), r"\d{4}(?:\d{2}(?:\d{3}(?:\d{3}(?:\d{3})?)?)?)?", "150221100201001"
)
STAFF_CODE = Named(Sentence("staff code"), r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", "W150221100201001-1")


def shortened(text: str, limit: int = 40) -> str:
    """The beginning of a text that somebody sent, fit for an error message."""
    shown = text.encode("utf-8", "replace").decode()[:limit]
    return "".join(char if char.isprintable() else "�" for char in shown) + (
        "…" if len(text) > limit else ""
    )
