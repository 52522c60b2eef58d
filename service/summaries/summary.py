"""Puts a period's summary together from the queries."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from service.database import Connection
from service.summaries import queries
from sync_protocol.periods import Period, previous
from sync_protocol.vocabulary import CODE_LENGTH, DUTIES

_BELOW = dict(zip(CODE_LENGTH.values(), [*list(CODE_LENGTH.values())[1:], 15], strict=True))


class UnitOut(BaseModel):
    """A unit."""

    code: str = Field(examples=["150221100"])
    level: str = Field(examples=["township"])
    name: str


class PeriodOut(BaseModel):
    """A run of whole days in Asia/Shanghai, both ends included."""

    name: str = Field(examples=["2026-W47"])
    first: str = Field(examples=["2026-11-16"])
    last: str = Field(examples=["2026-11-22"])


class Totals(BaseModel):
    """The numbers of a unit and a period; problems open and overdue as of the period's end, or now if it has not ended."""

    visits: int = 0
    households_visited: int = 0
    households: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0
    problems_open: int = 0
    problems_overdue: int = 0
    median_hours_to_resolve: float | None = None


class DutyTotals(BaseModel):
    """The numbers of one duty; a visit counts under each of its duties."""

    duty: str
    label: str
    visits: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0


class UnitTotals(BaseModel):
    """A unit right below, with its numbers."""

    unit: UnitOut
    totals: Totals


class LoopTotals(BaseModel):
    """Of the grids, how many have filed the period's log."""

    grids: int
    filed: int
    missing: int


class Summary(BaseModel):
    """A week's or month's summary of a unit."""

    unit: UnitOut
    period: PeriodOut
    totals: Totals
    previous: Totals
    duties: list[DutyTotals]
    units: list[UnitTotals]
    loop: LoopTotals
    sealed: bool = False
    late_arrivals: int = Field(description="Visits and problems of the period that came in after it had ended")


class CadreRow(BaseModel):
    """What one cadre did in a period."""

    staff_code: str
    name: str
    party_member: bool
    unit: str | None
    visits: int
    problems_raised: int
    problems_resolved: int
    problems_overdue: int
    rank: int | None = Field(None, description="Empty unless ranks are switched on")


class CadreTable(BaseModel):
    """The cadres of a unit and a period."""

    unit: UnitOut
    period: PeriodOut
    items: list[CadreRow]


def unit_out(row: Any) -> UnitOut:
    """A unit's row as it is answered."""
    return UnitOut(code=row["code"], level=row["level"], name=row["name"])


def period_out(period: Period) -> PeriodOut:
    """A period as it is answered."""
    return PeriodOut(name=period.name, first=period.first.isoformat(), last=period.last.isoformat())


async def totals_by_unit(connection: Connection, code: str, period: Period, now: datetime, width: int) -> dict[str, Totals]:
    """The totals of every unit under `code` whose own code has `width` digits, where there is anything to tell."""
    found: dict[str, Totals] = {}

    def of(row: Any) -> Totals:
        return found.setdefault(row["code"], Totals())

    for row in await queries.counts(connection, code, period, width):
        totals = of(row)
        totals.visits, totals.problems_raised, totals.problems_resolved = row["visits"], row["raised"], row["resolved"]
    for row in await queries.households_visited(connection, code, period, width):
        of(row).households_visited = row["visited"]
    for row in await queries.households(connection, code, width):
        of(row).households = row["households"]
    for row in await queries.standing(connection, code, period, now, width):
        totals = of(row)
        totals.problems_open, totals.problems_overdue = row["open"], row["overdue"]
    for row in await queries.median_hours(connection, code, period, width):
        of(row).median_hours_to_resolve = None if row["hours"] is None else round(float(row["hours"]), 2)
    return found


async def totals_of(connection: Connection, code: str, period: Period, now: datetime) -> Totals:
    """The totals of one unit."""
    return (await totals_by_unit(connection, code, period, now, len(code))).get(code, Totals())


async def summary(connection: Connection, unit: Any, period: Period, now: datetime, log: str) -> Summary:
    """The summary of a unit; `log` is the record kind that each grid files for such a period."""
    code = unit["code"]
    below = await totals_by_unit(connection, code, period, now, _BELOW[len(code)]) if len(code) < 15 else {}
    by_duty = {row["duty"]: row for row in await queries.duties(connection, code, period)}
    grids = await queries.grids(connection, code)
    filed = await queries.loop_counts(connection, code, period, log)
    return Summary(
        unit=unit_out(unit),
        period=period_out(period),
        totals=await totals_of(connection, code, period, now),
        previous=await totals_of(connection, code, previous(period), now),
        duties=[
            DutyTotals(
                duty=duty,
                label=label.zh,
                **{name: by_duty[duty][name] if duty in by_duty else 0 for name in ("visits", "problems_raised", "problems_resolved")},
            )
            for duty, label in DUTIES.items()
        ],
        units=[
            UnitTotals(unit=unit_out(child), totals=below.get(child["code"], Totals()))
            for child in await queries.children(connection, code)
        ],
        loop=LoopTotals(grids=grids, filed=filed, missing=grids - filed),
        late_arrivals=await queries.late_arrivals(connection, code, period),
    )
