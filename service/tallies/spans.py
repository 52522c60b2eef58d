"""The spans of time that tallies count in: a week, a month, a quarter, a half-year and a year, and
all time.
"""

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from sync_protocol.clock import make_stamp
from sync_protocol.periods import (
    Period,
    around,
    kind_of,
    midnight,
    month_around,
    to_ms,
    week_around,
)
from sync_protocol.vocabulary import CODE_LENGTH

ALWAYS = ""  # the span of all time
# The kinds of spans, in the order in which `spans_of` names those of a day.
SPAN_KINDS = ("week", "month", "quarter", "half", "year")


class Bounds(NamedTuple):
    """A span, and the spans of `visited_household` that lie in it: names from `low` to `high`. A
    week and a month have one of their own, longer ones the months in them, of whose names none
    begins with that of a week. `last`: the last day.
    """

    span: str
    low: str
    high: str
    last: date


@lru_cache(maxsize=4_096)
def spans_of(day: date) -> tuple[str, ...]:
    """The spans of a day: its ISO week, month, quarter, half-year and year."""
    return tuple(around(kind, day).name for kind in SPAN_KINDS)


@lru_cache(maxsize=4_096)
def period_type(span: str) -> str:
    """What kind of span this is: one of `SPAN_KINDS`, or empty for all time."""
    return span and kind_of(span)


def is_tallied(period: Period) -> bool:
    """Whether the tallies have a period as it is."""
    return period_type(period.name) in SPAN_KINDS


def village_of(grid: str) -> str:
    """The village in which a grid lies."""
    return grid[: CODE_LENGTH["village"]]


def week_or_month(span: str, day: date) -> Period:
    """The week or the month of this name, of which a day is known."""
    return week_around(day) if period_type(span) == "week" else month_around(day)


@lru_cache(maxsize=4_096)
def ends_of(day: date) -> tuple[datetime, ...]:
    """The moments at which the spans of a day end."""
    return tuple(around(kind, day).ends for kind in SPAN_KINDS)


@lru_cache(maxsize=4_096)
def bounds_of(day: date) -> tuple[Bounds, ...]:
    """The bounds of the spans of a day."""
    found = []
    for kind in SPAN_KINDS:
        span = around(kind, day)
        first, last = (month_around(one).name for one in (span.first, span.last))
        own = kind in ("week", "month")
        low, high = (span.name, span.name) if own else (first, last)
        found.append(Bounds(span.name, low, high, span.last))
    return tuple(found)


@lru_cache(maxsize=4_096)
def stamps_of(day: date) -> tuple[int, int]:
    """The first stamp of a day and of the next, as numbers."""
    begins, ends = (int(make_stamp(to_ms(midnight(day + timedelta(days=n)))), 16) for n in (0, 1))
    return begins, ends
