"""Times in the form of the wire: moments, days, weeks and months, and the field types that
hold them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sync_protocol import periods
from sync_protocol.fields import FieldType, InvalidValue, invalid_type
from sync_protocol.periods import from_ms
from sync_protocol.text_forms import all_match
from sync_protocol.texts import Text as Sentence
from sync_protocol.texts import text_of

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CANONICAL_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII
)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_FIRST_MOMENT, _END_OF_MOMENTS = f"{periods.FIRST_YEAR}-", f"{periods.LAST_YEAR + 1}-"


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


class AnyPeriod(FieldType):
    """A period by its name: a day, week, month, quarter, half-year or year."""

    def clean(self, value: Any) -> str:
        if type(value) is not str:
            raise invalid_type(Sentence("a period like 2026-11 or 2026"), value)
        try:
            return periods.named(value).name
        except ValueError as error:
            raise InvalidValue(Sentence("is wrong: {why}", why=text_of(error))) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": 10, "examples": ["2026-11", "2026-Q4", "2026"]}


def _period(value: Any, parse: Any, wanted: str) -> str:
    if type(value) is not str:
        raise invalid_type(wanted, value)
    try:
        return str(parse(value).name)
    except ValueError as error:
        raise InvalidValue(Sentence("is wrong: {why}", why=text_of(error))) from None


def moment_at(ms: int) -> str:
    """Unix milliseconds in the wire's form of a moment."""
    return canonical_moment(from_ms(ms))
