"""Which period a page shows, and which stand before and after it."""

from datetime import date, timedelta

from sync_protocol.periods import FIRST_YEAR, Period, around, previous


def last_whole(kind: str, today: date) -> Period:
    """The last period of a kind that is over: its numbers can be compared with those before."""
    return previous(around(kind, today))


def following(period: Period, kind: str) -> Period:
    """The period after one."""
    return around(kind, period.last + timedelta(days=1))


def neighbours(period: Period, kind: str, today: date) -> tuple[Period | None, Period | None]:
    """The periods before and after one; none before the first year, and none that has not begun."""
    before, after = previous(period), following(period, kind)
    return (
        before if before.first.year >= FIRST_YEAR else None,
        after if after.first <= today else None,
    )
