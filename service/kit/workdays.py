"""Working days and the time limits of problems.

The official calendar with its make-up days comes from `chinesecalendar`; for years that it does not
know, the public holidays come from `holidays`, whose lunar dates are computed, weekends are off,
and the answer is provisional. The limits by severity are settings.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache

import chinese_calendar  # ships no types
import holidays

from sync_protocol.moments import canonical_moment
from sync_protocol.periods import SHANGHAI

_computed = holidays.country_holidays("CN")


@lru_cache(maxsize=20_000)
def is_workday(day: date) -> bool:
    """Whether `day` is a working day in China."""
    try:
        return bool(chinese_calendar.is_workday(day))  # type: ignore[no-untyped-call]
    except NotImplementedError:
        return day.weekday() < 5 and day not in _computed


def is_provisional(day: date) -> bool:
    """Whether the official calendar of the year of `day` is not known yet, so that make-up days are
    missing.
    """
    try:
        chinese_calendar.is_workday(day)  # type: ignore[no-untyped-call]
    except NotImplementedError:
        return True
    return False


def after_workdays(moment: datetime, days: int) -> datetime:
    """The same time of day, `days` working days later, in Asia/Shanghai."""
    local = moment.astimezone(SHANGHAI)
    while days > 0:
        local += timedelta(days=1)
        if is_workday(local.date()):
            days -= 1
    return local


def limit_rule(
    emergency_hours: int, urgent_days: int, ordinary_days: int
) -> Callable[[str, str], str]:
    """The rule `(raised_at, severity) -> due`, both moments in wire form."""

    def due(raised_at: str, severity: str) -> str:
        raised = datetime.fromisoformat(raised_at)
        if severity == "emergency":
            return canonical_moment(raised + timedelta(hours=emergency_hours))
        return canonical_moment(
            after_workdays(raised, urgent_days if severity == "urgent" else ordinary_days)
        )

    return due
