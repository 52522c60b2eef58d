"""The summaries of a unit: `GET /v1/summaries` and those of days, weeks, months and longer."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.identity.views import WHOLE_GRID
from service.kit.errors import (
    READING,
    documented,
)
from service.kit.state import state_of
from service.organisation.units import (
    AskedPeriod,
    AsOf,
    UnitCode,
    absent,
    in_scope,
    lender_for,
    named_period,
    unit_on,
)
from service.summaries.answers import Summary
from service.summaries.summary import summary
from sync_protocol import periods
from sync_protocol.periods import Period, kind_of, named_alike

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])
# What can be sealed.
PARSE: dict[str, tuple[Callable[[str], Period], str]] = {
    "weekly": (periods.week, "weekly_analysis"),
    "monthly": (periods.month, "monthly_summary"),
}


def log_of(period: Period) -> str:
    """The log that grids file for such a period: of days from a day to a day the longest that may
    end in it.
    """
    match kind_of(period.name):
        case "day":
            return "visit"
        case "week":
            return "weekly_analysis"
        case "days":
            length = (period.last - period.first).days + 1
            return next(log for log, days in _LONGEST_FIRST if length >= days)
    return "monthly_summary"


_LONGEST_FIRST = (("monthly_summary", 31), ("weekly_analysis", 7), ("visit", 1))


@router.get(
    "",
    summary="Any period of a unit",
    operation_id="period_summary",
    responses=documented(*READING),
)
async def any_period(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    period: AskedPeriod,
    as_of: AsOf = "period",
) -> Summary:
    """Visits, problems, duties, the loop, what needs a decision, and the units right below, with
    the period before beside them. From and to that are just a week, month, quarter, half-year
    or year are answered as that; others take longer, for they are counted from their days.
    """
    return await _summary(request, caller, unit, named_alike(period), as_of)


@router.get(
    "/daily",
    summary="The day of a unit",
    operation_id="daily_summary",
    responses=documented(*READING),
)
async def daily(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    day: Annotated[str, Query(description="Day, Asia/Shanghai", examples=["2026-11-24"])],
    as_of: AsOf = "period",
) -> Summary:
    """The same as of a week, of one day, with the day before beside it."""
    return await _summary(request, caller, unit, named_period(periods.day, day), as_of)


@router.get(
    "/weekly",
    summary="The week of a unit",
    operation_id="weekly_summary",
    responses=documented(*READING),
)
async def weekly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    week: Annotated[str, Query(description="ISO week, Asia/Shanghai", examples=["2026-W47"])],
    as_of: AsOf = "period",
) -> Summary:
    """Visits, problems, duties, the loop, what needs a decision, and the units right below, with
    the week before beside them.
    """
    return await _summary(request, caller, unit, named_period(periods.week, week), as_of)


@router.get(
    "/monthly",
    summary="The month of a unit",
    operation_id="monthly_summary",
    responses=documented(*READING),
)
async def monthly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    month: Annotated[str, Query(description="Month, Asia/Shanghai", examples=["2026-11"])],
    as_of: AsOf = "period",
) -> Summary:
    """Visits, problems, duties, the loop, what needs a decision, and the units right below, with
    the month before beside them.
    """
    return await _summary(request, caller, unit, named_period(periods.month, month), as_of)


@router.get(
    "/quarterly",
    summary="The quarter of a unit",
    operation_id="quarterly_summary",
    responses=documented(*READING),
)
async def quarterly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    quarter: Annotated[str, Query(description="Quarter", examples=["2026-Q4"])],
    as_of: AsOf = "period",
) -> Summary:
    """The same as of a month, of three, with the quarter before beside them."""
    return await _summary(request, caller, unit, named_period(periods.quarter, quarter), as_of)


@router.get(
    "/half-yearly",
    summary="The half-year of a unit",
    operation_id="half_year_summary",
    responses=documented(*READING),
)
async def half_yearly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    half: Annotated[str, Query(description="Half-year", examples=["2026-H2"])],
    as_of: AsOf = "period",
) -> Summary:
    """The same as of a month, of six, with the half-year before beside them."""
    return await _summary(request, caller, unit, named_period(periods.half, half), as_of)


@router.get(
    "/yearly",
    summary="The year of a unit",
    operation_id="yearly_summary",
    responses=documented(*READING),
)
async def yearly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    year: Annotated[str, Query(description="Year", examples=["2026"])],
    as_of: AsOf = "period",
) -> Summary:
    """The same as of a month, of twelve, with the year before beside them."""
    return await _summary(request, caller, unit, named_period(periods.year, year), as_of)


async def _summary(
    request: Request, caller: Caller, unit: str, period: Period, as_of: str
) -> Summary:
    in_scope(caller, unit)
    # Side by side, so that the line of the trail costs nobody any time.
    found, _ = await asyncio.gather(
        summary(
            lender_for(request, caller, unit),
            state_of(request).settings,
            unit_on(caller, unit, as_of, period),
            period,
            caller.now,
            log_of(period),
        ),
        _note_summary(request, caller, unit, period),
    )
    if found is None:
        raise absent(caller, unit)
    if caller.view_of(unit) not in WHOLE_GRID:
        # The numbers are for everybody; which problems they are, only for who sees every record of
        # the unit.
        found.decisions.escalated = []
    return found


async def _note_summary(request: Request, caller: Caller, unit: str, period: Period) -> None:
    """A line in the trail: a summary names escalated problems by their titles."""
    async with state_of(request).database.reading() as connection:
        await note(connection, request, caller, "summary", [unit, period.name], 1)
