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
_PART = re.compile(r"(\d{4})-([QH])([1-4])", re.ASCII)
_YEAR = re.compile(r"\d{4}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FIRST_YEAR, LAST_YEAR = 2000, 2199


class Period(NamedTuple):
    """A run of whole days in Asia/Shanghai: `first` to `last`, both included; `name` is
    `2026-11-24`, `2026-W47`, `2026-11`, `2026-Q4`, `2026-H2`, `2026` or `…/…`.
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


def day(name: str) -> Period:
    """The day called `name`; ValueError says what is wrong with any other text."""
    try:
        found = date.fromisoformat(name) if _DAY.fullmatch(name) else None
    except ValueError:
        found = None
    if found is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError(Text("‘{name}’ is no day; write it like 2026-11-24", name=name))
    return Period(name, found, found)


def quarter(name: str) -> Period:
    """The quarter called `name`; ValueError says what is wrong with any other text."""
    found = _PART.fullmatch(name)
    if not found or found[2] != "Q" or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
        raise ValueError(Text("‘{name}’ is no quarter; write it like 2026-Q4", name=name))
    return quarter_around(date(int(found[1]), 3 * int(found[3]), 1))


def half(name: str) -> Period:
    """The half-year called `name`; ValueError says what is wrong with any other text."""
    found = _PART.fullmatch(name)
    is_half = found is not None and found[2] == "H" and int(found[3]) <= 2
    if not found or not is_half or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
        raise ValueError(Text("‘{name}’ is no half-year; write it like 2026-H2", name=name))
    return half_around(date(int(found[1]), 6 * int(found[3]), 1))


def year(name: str) -> Period:
    """The year called `name`; ValueError says what is wrong with any other text."""
    if not _YEAR.fullmatch(name) or not FIRST_YEAR <= int(name) <= LAST_YEAR:
        raise ValueError(Text("‘{name}’ is no year; write it like 2026", name=name))
    return year_around(date(int(name), 1, 1))


def day_around(day: date) -> Period:
    """A day as a period."""
    return Period(day.isoformat(), day, day)


def half_around(day: date) -> Period:
    """The half-year in which `day` lies."""
    number = 1 if day.month <= 6 else 2
    first = date(day.year, 6 * number - 5, 1)
    return Period(
        f"{day.year:04d}-H{number}", first, month_around(date(day.year, 6 * number, 1)).last
    )


def year_around(day: date) -> Period:
    """The year in which `day` lies."""
    return Period(f"{day.year:04d}", date(day.year, 1, 1), date(day.year, 12, 31))


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


# The kinds of periods that have names, from short to long.
_AROUND = {
    "day": day_around,
    "week": week_around,
    "month": month_around,
    "quarter": quarter_around,
    "half": half_around,
    "year": year_around,
}


def kind_of(name: str) -> str:
    """What kind of period a name is of: `day`, `week`, `month`, `quarter`, `half`, `year`, or
    `days` for any other run of days.
    """
    if _WEEK.fullmatch(name):
        return "week"
    if _MONTH.fullmatch(name):
        return "month"
    part = _PART.fullmatch(name)
    if part:
        return "quarter" if part[2] == "Q" else "half"
    if _YEAR.fullmatch(name):
        return "year"
    return "day" if _DAY.fullmatch(name) else "days"


def named(name: str) -> Period:
    """The day, week, month, quarter, half-year or year called `name`; ValueError for any other
    text.
    """
    parse = {"day": day, "week": week, "month": month, "quarter": quarter, "half": half}
    kind = "day" if _DAY.fullmatch(name) else kind_of(name)
    return parse.get(kind, year)(name)


def around(kind: str, day: date) -> Period:
    """The period of a kind (not `days`) in which `day` lies."""
    return _AROUND[kind](day)


def previous(period: Period) -> Period:
    """The week before a week, the month before a month and so on; as many days before any other
    period.
    """
    day_before = period.first - timedelta(days=1)
    kind = kind_of(period.name)
    if kind != "days":
        return around(kind, day_before)
    return span(period.first - (period.last - period.first) - timedelta(days=1), day_before)


def in_pieces(period: Period) -> list[Period]:
    """A period as whole months and weeks and the days that remain, in order: the days as few as
    may be.
    """
    found: list[Period] = []
    first = period.first
    while first <= period.last:
        this_month, this_week = month_around(first), week_around(first)
        next_month = month_around(this_month.last + timedelta(days=1))
        piece = day_around(first)
        if this_month.first == first and this_month.last <= period.last:
            piece = this_month
        # Not where it would cut into a month that is whole.
        elif (
            this_week.first == first
            and this_week.last <= period.last
            and (this_week.last < next_month.first or next_month.last > period.last)
        ):
            piece = this_week
        found.append(piece)
        first = piece.last + timedelta(days=1)
    return found


def named_alike(period: Period) -> Period:
    """A run of days that is just a week or a month as that; any other as it is."""
    if kind_of(period.name) != "days":
        return period
    for some in (week_around(period.first), month_around(period.first)):
        if (some.first, some.last) == (period.first, period.last):
            return some
    return period


def span(first: date, last: date) -> Period:
    """Any run of days; ValueError when it ends before it begins."""
    if last < first:
        raise ValueError(
            Text("the period ends ({last}) before it begins ({first})", first=first, last=last)
        )
    return Period(f"{first}/{last}", first, last)
