"""Which unit and period a page of numbers is asked for, and how its head leads to others."""

from collections.abc import Collection
from typing import NamedTuple

from service.pages.page import Visit
from service.pages.periods import changes, last_whole, neighbours
from service.summaries import queries
from sync_protocol.periods import Period, around, kind_of
from sync_protocol.texts import Text

# The kinds of period that a head leads to.
KINDS: dict[str, Text] = {
    "week": Text("Week"),
    "month": Text("Month"),
    "quarter": Text("Quarter"),
    "half": Text("Half-year"),
    "year": Text("Year"),
}
# Those of most pages.
MOSTLY = ("week", "month", "quarter", "year")

# Those for which only some things are told.
_OTHERS: dict[str, Text] = {"day": Text("Day")}


class Tab(NamedTuple):
    """A kind of period: what it is called, and how it changes the address."""

    kind: str
    label: Text
    changes: dict[str, str | None]


class Asked(NamedTuple):
    """A unit and a period, and the periods that the head leads to."""

    unit: str
    period: Period
    kind: str
    is_over: bool
    before: Period | None
    after: Period | None
    tabs: list[Tab]

    @property
    def parameters(self) -> dict[str, str]:
        """How an address names both."""
        named = {name: value for name, value in changes(self.period).items() if value}
        return {"unit": self.unit} | named


def asked(
    visit: Visit,
    unit: str,
    period: Period | None,
    kinds: Collection[str] = MOSTLY,
    under_way: bool = False,
) -> Asked:
    """What is asked for: of who names no unit one's own, of who names no period the last week (or
    the last of the first of these kinds) that is over, or the one that is `under_way`.
    """
    today, first = visit.caller.today, next(iter(kinds))
    period = period or (around(first, today) if under_way else last_whole(first, today))
    kind = kind_of(period.name)
    before, after = (None, None) if kind == "days" else neighbours(period, kind, today)
    return Asked(
        unit or visit.own_unit() or "",
        period,
        kind,
        period.ends <= visit.caller.now,
        before,
        after,
        [
            Tab(one, (KINDS | _OTHERS)[one], changes(around(one, min(period.last, today))))
            for one in kinds
        ],
    )


async def names_of(visit: Visit, codes: Collection[str]) -> dict[str, str]:
    """The names of some units by code."""
    async with visit.state.database.reading() as connection:
        rows = await queries.unit_and_children(connection, "", sorted(codes))
    return {row["code"]: row["name"] for row in rows}
