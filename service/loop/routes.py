"""The loop's gaps, `GET /v1/loop`, and drafts, `GET /v1/drafts/…`."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.identity.views import View
from service.kit.errors import READING, documented
from service.kit.paging import Limit
from service.kit.state import state_of
from service.loop import queries
from service.loop.drafts import draft_of
from service.loop.loop import GridLoop, counts_by_log, dues_of, grid_loops
from service.organisation.units import (
    AsOf,
    Month,
    PeriodOut,
    UnitCode,
    UnitOut,
    Week,
    grids_of,
    named_period,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
    week_or_month,
)
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period

router = APIRouter(prefix="/v1", tags=["loop"])


class Loop(BaseModel):
    """Which grid of a unit missed which working day, analysis and summary; the counts are those of
    the whole unit, by log.
    """

    unit: UnitOut
    period: PeriodOut
    grids: int
    on_time: dict[str, int]
    late: dict[str, int]
    missing: dict[str, int]
    provisional: bool = Field(
        description="The official calendar of these days is not out yet: holidays are computed,"
        " make-up days missing"
    )
    items: list[GridLoop]
    next: str | None


@router.get(
    "/loop", summary="Which grid missed what", operation_id="loop", responses=documented(*READING)
)
async def loop(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    week: Week = None,
    month: Month = None,
    limit: Limit = 500,
    after: Annotated[
        str | None, Query(pattern=r"^\d{1,15}$", description="The `next` of the page before")
    ] = None,
    as_of: AsOf = "period",
) -> Loop:
    """A visit each working day, an analysis each week, a summary each month: on time, late, or
    missing. What is not due yet is no gap.
    """
    period = week_or_month(week, month)
    settings = state_of(request).settings
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        grids = await grids_of(connection, on.tree, on.subtree, period)
        rules = Rules(settings, on.tree, await current_reference_data(connection))
        dues = await dues_of(connection, rules, on.subtree, grids, period, caller.now)
        counts = await counts_by_log(connection, dues, on.subtree, grids, period)
        rows = await queries.grids(connection, on.subtree, period, after, limit + 1)
        items = await grid_loops(connection, dues, rows[:limit], period)
        return Loop(
            unit=unit_out(found),
            period=period_out(period),
            grids=grids.total,
            on_time={log: count.on_time for log, count in counts.items()},
            late={log: count.late for log, count in counts.items()},
            missing={log: count.missing for log, count in counts.items()},
            provisional=dues.whole.provisional,
            items=items,
            next=items[-1].grid.code if len(rows) > limit else None,
        )


class DutyNumbersOut(BaseModel):
    """The numbers of one duty."""

    visits: int
    problems_raised: int
    problems_resolved: int


class DraftOut(BaseModel):
    """The numbers of a grid's own week or month, ready to pre-fill the text; a phone computes the
    same from its copy.
    """

    grid: str
    period: str
    visits: int
    days_visited: int
    households: int
    households_visited: int
    households_unvisited: list[str] = Field(description="Special households that nobody visited")
    problems_raised: int
    problems_resolved: int
    problems_open: int
    duties: dict[str, DutyNumbersOut]


Grid = Annotated[str, Query(pattern=r"^\d{15}$", examples=["150221100201001"])]


@router.get(
    "/drafts/weekly",
    summary="The numbers of a grid's week",
    operation_id="weekly_draft",
    responses=documented(*READING),
)
async def weekly_draft(
    request: Request, caller: Signed, grid: Grid, week: Annotated[str, Query(examples=["2026-W47"])]
) -> DraftOut:
    """What the weekly analysis begins with."""
    return await _draft(request, caller, grid, named_period(periods.week, week))


@router.get(
    "/drafts/monthly",
    summary="The numbers of a grid's month",
    operation_id="monthly_draft",
    responses=documented(*READING),
)
async def monthly_draft(
    request: Request, caller: Signed, grid: Grid, month: Annotated[str, Query(examples=["2026-11"])]
) -> DraftOut:
    """What the monthly summary begins with."""
    return await _draft(request, caller, grid, named_period(periods.month, month))


async def _draft(request: Request, caller: Caller, grid: str, period: Period) -> DraftOut:
    async with unit_in_scope(request, caller, grid) as (connection, _):
        await note(connection, request, caller, "draft", [grid, period.name], 1)
        found = await draft_of(connection, grid, period)
        if caller.view_of(grid) is View.SUMMARISED:
            # They are named by their tags, which are counted only from above the township.
            found.households_unvisited = []
        return DraftOut(**msgspec.to_builtins(found))
