"""How the numbers of a unit went: `GET /v1/summaries/trend`."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.identity.access import Signed
from service.kit.errors import INVALID, READING, Problem, documented
from service.kit.state import state_of
from service.loop.loop import LOGS, LogCounts
from service.organisation.units import (
    TREE_DAY,
    AsOf,
    PeriodOut,
    UnitCode,
    UnitOut,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
)
from service.summaries import queries, sealed
from service.summaries.answers import SealedWithin, Totals
from service.summaries.counts import Counts
from service.summaries.numbers import Shown, shown_of_each
from sync_protocol.periods import FIRST_YEAR, LAST_YEAR, around, previous
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])

Extent = Literal["whole", "part", "none"]
Kind = Literal["day", "week", "month", "quarter", "half", "year"]


class TrendPoint(BaseModel):
    """The numbers of a unit in one period."""

    period: str = Field(description="The name of the period")
    totals: Totals = Field(description="The numbers")
    logs: dict[str, LogCounts] = Field(description="The counts of each kind of log")
    on_time_rate: dict[str, float | None] = Field(
        description="By log: of those due by now, the part that was on time; empty where none was"
    )
    sealed: Extent = Field(description="Whether the numbers, or a part of them, are sealed")


class UnitTrend(BaseModel):
    """A unit right below, with a point for each period."""

    unit: UnitOut = Field(description="The unit")
    points: list[TrendPoint] = Field(description="A point for each period")


class LogLine(LogCounts):
    """A kind of log as CSV."""

    on_time_rate: float | None


class LogLines(BaseModel):
    """The kinds of log as CSV."""

    visit: LogLine
    weekly_analysis: LogLine
    monthly_summary: LogLine


class TrendLine(BaseModel):
    """A trend as CSV: a line for each unit and period."""

    unit: UnitOut
    period: str
    totals: Totals
    logs: LogLines
    sealed: Extent


class Trend(BaseModel):
    """The numbers of a unit in several periods, the oldest first; all by the tree of one day."""

    csv_model: ClassVar[type[BaseModel]] = TrendLine

    unit: UnitOut = Field(description="The unit")
    kind: str = Field(description="The kind of the periods")
    tree_day: date = Field(description=TREE_DAY)
    periods: list[PeriodOut] = Field(description="The periods, the oldest first")
    sealed_within: dict[str, list[SealedWithin]] = Field(
        {},
        description="By period, the sealed weeks and months within it, of periods longer than a"
        " month; their points show the numbers of now",
    )
    points: list[TrendPoint] = Field(description="A point for each period")
    units: list[UnitTrend] = Field(description="The units right below, if they were asked for")

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of an answer as CSV."""
        return [
            {"unit": row["unit"], **point, "logs": _log_lines(point)}
            for row in (body, *body["units"])
            for point in row["points"]
        ]


def _log_lines(point: dict[str, Any]) -> dict[str, Any]:
    rates = point["on_time_rate"]
    return {log: {**counts, "on_time_rate": rates[log]} for log, counts in point["logs"].items()}


@router.get(
    "/trend",
    summary="How the numbers of a unit went",
    operation_id="summary_trend",
    responses=documented(*READING),
)
async def trend(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    period: Annotated[Kind, Query(description="The kind of period")] = "week",
    count: Annotated[int, Query(ge=1, le=60, description="How many periods")] = 12,
    until: Annotated[
        date | None, Query(description="A day of the last period; today if left out")
    ] = None,
    below: Annotated[bool, Query(description="Also each unit right below")] = False,
    as_of: AsOf = "period",
) -> Trend:
    """A point for each of the last periods, with the numbers of a summary and how many logs were on
    time.
    """
    if until is not None and not FIRST_YEAR <= until.year <= LAST_YEAR:
        raise Problem(
            INVALID,
            Text(
                "until must lie in the years {first} to {last}.", first=FIRST_YEAR, last=LAST_YEAR
            ),
        )
    some = [around(period, until or caller.today)]
    while len(some) < count:
        some.insert(0, previous(some[0]))
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, some[-1])
        shown = await shown_of_each(connection, state_of(request).settings, on, some, caller.now)
        rows = await queries.unit_and_children(connection, "", on.children if below else [])
        within = await sealed.within(connection, on, some)
        span = f"{some[0].name}/{some[-1].name}"
        await note(connection, request, caller, "summary", [unit, span], len(some))
    names = [one.name for one in some]
    return Trend(
        unit=unit_out(found),
        kind=period,
        tree_day=on.day,
        sealed_within={name: seals for name, seals in within.items() if seals},
        periods=[period_out(one) for one in some],
        points=[
            _point(
                name,
                one.whole,
                one.loop.logs,
                "whole" if one.kept.is_kept else "part" if one.kept.below else "none",
            )
            for name, one in zip(names, shown, strict=True)
        ],
        units=[
            UnitTrend(
                unit=unit_out(row),
                points=[
                    _point(name, *_of(one, row["code"]), one.kept.extent(on, row["code"]))
                    for name, one in zip(names, shown, strict=True)
                ],
            )
            for row in rows
        ],
    )


_NOTHING: Mapping[str, LogCounts] = {log: LogCounts() for log in LOGS}


def _of(shown: Shown, code: str) -> tuple[Counts, Mapping[str, LogCounts]]:
    """The numbers and the loop of a unit right below."""
    return shown.numbers.get(code, Counts()), shown.loop.by_unit.get(code, _NOTHING)


def _point(name: str, counts: Counts, logs: Mapping[str, LogCounts], extent: Extent) -> TrendPoint:
    return TrendPoint(
        period=name,
        totals=counts.totals_out(),
        logs=dict(logs),
        on_time_rate={log: _rate(some) for log, some in logs.items()},
        sealed=extent,
    )


def _rate(counts: LogCounts) -> float | None:
    due = counts.on_time + counts.late + counts.missing
    return round(counts.on_time / due, 4) if due else None
