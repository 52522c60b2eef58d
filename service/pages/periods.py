"""Which period a page shows, and which stand before and after it."""

from datetime import date, timedelta

from sync_protocol.periods import FIRST_YEAR, Period, around, kind_of, previous

# What names a period in an address, and where a list of it goes on.
_PARAMETERS = ("day", "week", "month", "quarter", "half", "year", "from", "to", "after", "texts")


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


def changes(period: Period) -> dict[str, str | None]:
    """How an address comes to name a period, and nothing that belongs to another."""
    nothing: dict[str, str | None] = dict.fromkeys(_PARAMETERS)
    kind = kind_of(period.name)
    if kind == "days":
        return nothing | {"from": period.first.isoformat(), "to": period.last.isoformat()}
    return nothing | {kind: period.name}
