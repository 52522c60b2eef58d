"""Days, ISO weeks and months of Asia/Shanghai, the calendar in which the loop is counted.

China has had one zone without daylight saving since 1991, and a fixed offset needs no zone database
on a phone.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

from sync_protocol.texts import Text

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
_SHANGHAI_MS = 8 * 3600 * 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MS = 24 * 3600 * 1000
_WEEK = re.compile(r"(\d{4})-W(\d{2})", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
FIRST_YEAR, LAST_YEAR = 2000, 2199


class Period(NamedTuple):
    """A run of whole days in Asia/Shanghai: `first` to `last`, both included; `name` is `2026-W47`,
    `2026-11` or `…/…`.
    """

    name: str
    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """Every day of the period, in order."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @property
    def begins(self) -> datetime:
        """The first moment, timezone-aware."""
        return midnight(self.first)

    @property
    def ends(self) -> datetime:
        """The first moment after it, timezone-aware."""
        return midnight(self.last + timedelta(days=1))


def midnight(day: date) -> datetime:
    """The moment at which `day` begins in Asia/Shanghai."""
    return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)


def local_day(moment: datetime) -> date:
    """The day in Asia/Shanghai on which a timezone-aware `moment` falls."""
    return moment.astimezone(SHANGHAI).date()


def day_of(text: str) -> date:
    """The day in Asia/Shanghai of a moment in wire form (RFC 3339)."""
    # In canonical form the hour decides, because Shanghai is whole hours away from UTC.
    return _day_of_hour(text[:13]) if text[-1] == "Z" else local_day(datetime.fromisoformat(text))


@lru_cache(maxsize=4_096)
def _day_of_hour(text: str) -> date:
    return local_day(datetime.fromisoformat(text + ":00Z"))


def day_of_ms(ms: int) -> date:
    """The day in Asia/Shanghai of Unix milliseconds."""
    return _day_number((ms + _SHANGHAI_MS) // _DAY_MS)


@lru_cache(maxsize=4_096)
def _day_number(number: int) -> date:
    return date.fromordinal(_EPOCH_DAY + number)


def in_minutes(moment: datetime) -> str:
    """A moment as people read it in a sentence or a table, in Asia/Shanghai."""
    return moment.astimezone(SHANGHAI).isoformat(timespec="minutes")


def from_ms(ms: int) -> datetime:
    """The UTC moment of Unix milliseconds."""
    return _EPOCH + timedelta(0, 0, 1000 * ms)


def to_ms(moment: datetime) -> int:
    """Unix milliseconds of a timezone-aware moment, cut to whole milliseconds."""
    return (moment - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=4_096)
def week_of(day: date) -> str:
    """The ISO week of `day`, as `2026-W47`."""
    year, week, _ = day.isocalendar()
    return f"{year:04d}-W{week:02d}"


@lru_cache(maxsize=4_096)
def month_of(day: date) -> str:
    """The month of `day`, as `2026-11`."""
    return f"{day.year:04d}-{day.month:02d}"


def week(name: str) -> Period:
    """The ISO week called `name`; ValueError says what is wrong with any other text."""
    found = _WEEK.fullmatch(name)
    if not found or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
        raise ValueError(Text("‘{name}’ is no ISO week; write it like 2026-W47", name=name))
    try:
        first = date.fromisocalendar(int(found[1]), int(found[2]), 1)
    except ValueError:
        raise ValueError(
            Text(
                "{year} has no week {week}; write an ISO week like 2026-W47",
                year=found[1],
                week=found[2],
            )
        ) from None
    return Period(name, first, first + timedelta(days=6))


def month(name: str) -> Period:
    """The month called `name`; ValueError says what is wrong with any other text."""
    found = _MONTH.fullmatch(name)
    if not found or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR or not 1 <= int(found[2]) <= 12:
        raise ValueError(Text("‘{name}’ is no month; write it like 2026-11", name=name))
    first = date(int(found[1]), int(found[2]), 1)
    return Period(name, first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))


def week_around(day: date) -> Period:
    """The ISO week in which `day` lies; unlike `week` it knows also those that begin before the
    first year or end after the last.
    """
    first = day - timedelta(days=day.weekday())
    return Period(week_of(day), first, first + timedelta(days=6))


def month_around(day: date) -> Period:
    """The month in which `day` lies."""
    first = day.replace(day=1)
    return Period(
        month_of(day), first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    )


def quarter_around(day: date) -> Period:
    """The quarter in which `day` lies."""
    first = date(day.year, day.month - (day.month - 1) % 3, 1)
    return Period(quarter_of(day), first, month_around(first + timedelta(days=62)).last)


@lru_cache(maxsize=4_096)
def quarter_of(day: date) -> str:
    """The quarter of `day`, as `2026-Q4`."""
    return f"{day.year:04d}-Q{(day.month + 2) // 3}"


def previous(period: Period) -> Period:
    """The week before a week, the month before a month, as many days before any other period."""
    day_before = period.first - timedelta(days=1)
    if _WEEK.fullmatch(period.name):
        return week_around(day_before)
    if _MONTH.fullmatch(period.name):
        return month_around(day_before)
    return span(period.first - (period.last - period.first) - timedelta(days=1), day_before)


def span(first: date, last: date) -> Period:
    """Any run of days; ValueError when it ends before it begins."""
    if last < first:
        raise ValueError(
            Text("the period ends ({last}) before it begins ({first})", first=first, last=last)
        )
    return Period(f"{first}/{last}", first, last)
