"""Working days of China as libraries know them; what was uploaded comes before, see
`service.vocabulary.days`.

The official calendar with its make-up days comes from `chinesecalendar`; for years that it does not
know, the public holidays come from `holidays`, whose lunar dates are computed, weekends are off,
and the answer is provisional.
"""

from datetime import date
from functools import lru_cache
from typing import Any

import chinese_calendar  # ships no types
import holidays

_computed = holidays.country_holidays("CN", language="zh_CN")


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


def name_of(day: date) -> str:
    """What the libraries call a day, in Chinese; empty for one that is like its day of the week."""
    if is_provisional(day):
        return str(_computed.get(day, ""))
    _, name = chinese_calendar.get_holiday_detail(day)  # type: ignore[no-untyped-call]
    if name is None:
        return ""
    known: Any = chinese_calendar.Holiday
    found = str(known(name).chinese)
    return f"{found}调休上班" if is_workday(day) else found
