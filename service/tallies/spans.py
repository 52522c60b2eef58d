"""The spans of time that tallies count in: a week and a month, and all time."""

from datetime import date, datetime, timedelta
from functools import lru_cache

from sync_protocol.clock import make_stamp
from sync_protocol.periods import (
    Period,
    midnight,
    month_around,
    month_of,
    to_ms,
    week_around,
    week_of,
)
from sync_protocol.vocabulary import CODE_LENGTH

ALWAYS = ""  # the span of all time


@lru_cache(maxsize=4_096)
def spans_of(day: date) -> tuple[str, str]:
    """The ISO week and the month of a day."""
    return week_of(day), month_of(day)


def period_type(span: str) -> str:
    """What kind of span this is: `week`, `month`, or empty for all time."""
    return span and ("week" if "W" in span else "month")


def village_of(grid: str) -> str:
    """The village in which a grid lies."""
    return grid[: CODE_LENGTH["village"]]


def came_late(span: str, day: date, received_at: datetime) -> bool:
    """Whether something of a day came in after the span around it had ended."""
    return received_at >= ends_of(day)["W" not in span]


def around(span: str, day: date) -> Period:
    """The week or the month of this name, of which a day is known."""
    return week_around(day) if period_type(span) == "week" else month_around(day)


@lru_cache(maxsize=4_096)
def ends_of(day: date) -> tuple[datetime, datetime]:
    """The moments at which the week and the month around a day end."""
    return week_around(day).ends, month_around(day).ends


@lru_cache(maxsize=4_096)
def stamps_of(day: date) -> tuple[int, int]:
    """The first stamp of a day and of the next, as numbers."""
    begins, ends = (int(make_stamp(to_ms(midnight(day + timedelta(days=n)))), 16) for n in (0, 1))
    return begins, ends
