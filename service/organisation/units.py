"""What every domain says of units and periods: the parameters of its routes, their checks, and how
units and periods are answered.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field

from service.identity.access import Caller
from service.kit.conditions import Breakdown, Reach, Subtree
from service.kit.database import Acquire, Connection, Row
from service.kit.errors import INVALID, NOT_ALLOWED, NOT_FOUND, Problem
from service.kit.state import state_of
from service.organisation.owing import Span, codes_of, runs
from service.organisation.tree import ALWAYS, Grids, Spell, Tree
from sync_protocol import periods
from sync_protocol.periods import Period
from sync_protocol.texts import Text, text_of

UnitCode = Annotated[
    str, Query(description="The unit and all below it", examples=["150221100"], max_length=20)
]
# Codes of other cities may be shorter than the 15 digits of the official ones.
GridCode = Annotated[
    str,
    Field(
        pattern=r"^\d{1,15}$",
        description="The code of a grid",
        examples=["150221100201001"],
    ),
]
UnitFilter = Annotated[str | None, Query(max_length=20, description="That unit and all below it")]
Week = Annotated[str | None, Query(description="ISO week, Asia/Shanghai", examples=["2026-W47"])]
Month = Annotated[str | None, Query(description="Month, Asia/Shanghai", examples=["2026-11"])]
First = Annotated[date | None, Query(alias="from", description="First day, with `to`")]
Last = Annotated[
    date | None,
    Query(alias="to", description="Last day, with `from`; of what is counted 3660 days at most"),
]
AsOf = Annotated[
    str,
    Query(
        pattern=r"^(period|today|\d{4}-\d{2}-\d{2})$",
        description="By which day's tree of units: `period`: as it was at the period's end,"
        " `today`: as it is, or a day; of one to come the tree that is planned by then, or else"
        " today's. The answer names the day in `tree_day`",
    ),
]
TREE_DAY = "The day by whose tree of units it is answered"


class UnitOut(BaseModel):
    """A unit."""

    code: str = Field(description="The code", examples=["150221100"])
    level: str = Field(description="The slug of the level", examples=["township"])
    name: str = Field(description="What it is called")


class PeriodOut(BaseModel):
    """A run of whole days in Asia/Shanghai, both ends included."""

    name: str = Field(description="The name", examples=["2026-W47"])
    first: str = Field(description="The first day", examples=["2026-11-16"])
    last: str = Field(description="The last day", examples=["2026-11-22"])


def unit_out(row: Any) -> UnitOut:
    """A unit's row as it is answered."""
    return UnitOut(code=row["code"], level=row["level"], name=row["name"])


def period_out(period: Period) -> PeriodOut:
    """A period as it is answered."""
    return PeriodOut(name=period.name, first=period.first.isoformat(), last=period.last.isoformat())


class UnitOn(NamedTuple):
    """A unit by the tree of a day. `shows_seals`: that tree is the period's own, by which seals
    keep their numbers.
    """

    tree: Tree
    code: str
    day: date
    shows_seals: bool = True

    @property
    def subtree(self) -> Subtree:
        """The unit and all below it."""
        return self.tree.subtree(self.code, self.day)

    @property
    def breakdown(self) -> Breakdown:
        """How what lies below falls to the units right below."""
        return self.tree.breakdown(self.code, self.day)

    @property
    def children(self) -> list[str]:
        """The units right below; also those that are closed, or begin later."""
        return self.tree.children(self.code, self.day)

    def is_there(self, child: str, period: Period) -> bool:
        """Whether a unit right below is there in a period."""
        return self.tree.units[child].is_open(period.first, period.last)


def parent_on(unit: str, day: str) -> str:
    """SQL for the parent on a day of a unit's row, by its alias."""
    return (
        f"coalesce((SELECT m.parent FROM unit_parent m WHERE m.unit = {unit}.code"
        f" AND m.valid_from <= {day} AND (m.valid_to IS NULL OR {day} < m.valid_to)),"
        f" {unit}.parent)"
    )


def day_of_tree(as_of: str, period: Period, tree: Tree, today: date) -> date:
    """The day whose tree a question about a period is answered by: none that is to come, unless
    something is planned for a day up to that.
    """
    if as_of == "period":
        return min(period.last, today)
    if as_of == "today":
        return today
    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        raise Problem(INVALID, Text("as_of: there is no day ‘{day}’.", day=as_of)) from None
    return day if day <= today or tree.changes_between(today, day) else today


def grids_of(on: UnitOn, period: Period, without: Container[str] = frozenset()) -> Grids:
    """The grids of a unit in a period, but for some."""
    span = Span(period.first, period.last, period.last)
    by_unit: Counter[str] = Counter()
    parts: dict[str, Spell] = {}
    for run in runs(on.tree, on.code, on.day, span, without):
        by_unit[run.unit] += run.grids
        if run.owed.owes_from is not None or run.owed.closed is not None:
            owed = Spell(None, run.owed.owes_from or ALWAYS, run.owed.closed)
            parts.update(dict.fromkeys(codes_of(on.tree, run), owed))
    return Grids(by_unit.total(), parts, by_unit)


async def find_unit(connection: Connection, code: str) -> Row | None:
    """A unit by code."""
    return await connection.fetchrow(
        "SELECT code, level, name, party_group FROM unit WHERE code = $1", code
    )


def lender_for(request: Request, caller: Caller, code: str) -> Acquire:
    """Where to take connections from to analyse a unit."""
    database = state_of(request).database
    # Villages and grids are alike, so that their statements can keep one plan.
    return database.reading if caller.tree.height(code) <= 1 else database.analysing


@asynccontextmanager
async def unit_in_scope(
    request: Request, caller: Caller, code: str
) -> AsyncIterator[tuple[Connection, Any]]:
    """A connection and a unit within the caller's scope; any other looks absent."""
    in_scope(caller, code)
    async with lender_for(request, caller, code)() as connection:
        found = await find_unit(connection, code)
        if found is None:
            raise absent(caller, code)
        yield connection, found


def unit_on(caller: Caller, code: str, as_of: str, period: Period) -> UnitOn:
    """A unit as a question about a period means it, see `AsOf`. Raises `Problem` where units are
    planned to come under it that the caller does not reach yet.
    """
    day = day_of_tree(as_of, period, caller.tree, caller.today)
    if day > caller.today:
        beyond = [one for one in caller.tree.moved_under(code, day) if not caller.reaches(one)]
        if beyond:
            raise Problem(
                NOT_ALLOWED,
                Text(
                    "On {day} ‘{unit}’ is to have {others}, which you may not see before; ask for"
                    " a day up to today.",
                    day=day.isoformat(),
                    unit=code,
                    others=beyond[:3],
                ),
            )
    own = day_of_tree("period", period, caller.tree, caller.today)
    return UnitOn(
        caller.tree, code, day, not caller.tree.changes_between(min(own, day), max(own, day))
    )


def absent(caller: Caller, code: str) -> Problem:
    """A unit that does not exist and one out of scope look the same."""
    units = ", ".join(caller.units())
    return Problem(
        NOT_FOUND,
        Text(
            "There is no unit ‘{unit}’ in your scope, which is {units} and below.",
            unit=code,
            units=units,
        ),
    )


def in_scope(caller: Caller, code: str) -> None:
    """Raises `Problem` for a unit that lies out of the caller's scope."""
    if not code.isdigit() or not caller.reaches(code):
        raise absent(caller, code)


def scope_of(caller: Caller, unit: str | None) -> list[str]:
    """The units that a list is about: the one that was asked for, if it is in scope, or the
    caller's.
    """
    if unit is None:
        return caller.units()
    in_scope(caller, unit)
    return [unit]


def reach_of(caller: Caller, unit: str | None) -> Reach:
    """What a list of records is about: the unit that was asked for, if it is in scope, or the
    caller's; whole, or what is tied to the caller.
    """
    whole = caller.whole_units()
    found: list[str] = []
    tied: list[str] = []
    for code in scope_of(caller, unit):
        if any(caller.covers(top, code) for top in whole):
            found.append(code)
        else:
            found += [below for below in whole if caller.covers(code, below)]
            tied.append(code)
    return Reach(
        [*found, *tied],
        caller.ranges(found),
        caller.ranges(tied),
        caller.staff_code,
        any(caller.tree.height(code) > 1 for code in found),
        caller.today.isoformat(),
    )


def named_period(parse: Callable[[str], Period], text: str) -> Period:
    """A week or month by its name."""
    try:
        return parse(text)
    except ValueError as error:
        raise Problem(INVALID, Text("{what}.", what=text_of(error))) from None


def week_or_month(week: str | None, month: str | None) -> Period:
    """The period that a query names in one of two ways."""
    if (week is None) == (month is None):
        raise Problem(INVALID, "Name one period, as in week=2026-W47 or month=2026-11.")
    return (
        named_period(periods.week, week)
        if week is not None
        else named_period(periods.month, str(month))
    )


# So many days are counted at once: each costs time, also where nothing was written.
MAX_DAYS = 3660


def years_text() -> Text:
    """What is said of days outside the years that count."""
    first, last = periods.FIRST_YEAR, periods.LAST_YEAR
    return Text("from and to must lie in the years {first} to {last}.", first=first, last=last)


_PARSERS: Mapping[str, Callable[[str], Period]] = {
    "day": periods.day,
    "week": periods.week,
    "month": periods.month,
    "quarter": periods.quarter,
    "half": periods.half,
    "year": periods.year,
}


def maybe_period(
    day: Annotated[
        str | None, Query(description="Day, Asia/Shanghai", examples=["2026-11-24"])
    ] = None,
    week: Week = None,
    month: Month = None,
    quarter: Annotated[str | None, Query(description="Quarter", examples=["2026-Q4"])] = None,
    half: Annotated[str | None, Query(description="Half-year", examples=["2026-H2"])] = None,
    year: Annotated[str | None, Query(description="Year", examples=["2026"])] = None,
    first: First = None,
    last: Last = None,
) -> Period | None:
    """The period that a query names in one of its ways; None if it names none."""
    given = dict(zip(_PARSERS, (day, week, month, quarter, half, year), strict=True))
    named = [(kind, name) for kind, name in given.items() if name is not None]
    days = first is not None or last is not None
    if len(named) + days > 1:
        raise Problem(INVALID, _ONE_PERIOD)
    if not days:
        return named_period(_PARSERS[named[0][0]], named[0][1]) if named else None
    if first is None or last is None:
        raise Problem(INVALID, "A period of days needs both from and to.")
    if not (first.year >= periods.FIRST_YEAR and last.year <= periods.LAST_YEAR):
        raise Problem(INVALID, years_text())
    try:
        return periods.span(first, last)
    except ValueError as error:
        raise Problem(INVALID, Text("from, to: {what}.", what=text_of(error))) from None


# What a route asks for that can be narrowed to any period.
MaybePeriod = Annotated[Period | None, Depends(maybe_period)]


def asked_period(found: MaybePeriod) -> Period:
    """The period that a query names; it has to name one."""
    if found is None:
        raise Problem(INVALID, _ONE_PERIOD)
    days = (found.last - found.first).days + 1
    if days > MAX_DAYS:
        text = Text(
            "from, to: {days} days are asked for, and {max} (ten years) at most are counted at"
            " once; ask for parts of them.",
            days=days,
            max=MAX_DAYS,
        )
        raise Problem(INVALID, text)
    return found


# What a route asks for that can tell of any period.
AskedPeriod = Annotated[Period, Depends(asked_period)]
_ONE_PERIOD = Text("Name one period: day, week, month, quarter, half or year, or from and to.")
