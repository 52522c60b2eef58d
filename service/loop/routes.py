"""The loop's gaps, `GET /v1/loop`, and drafts, `GET /v1/drafts/…`."""

from datetime import date
from typing import Annotated, Literal

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
from service.loop.counting import count_loops
from service.loop.drafts import draft_of
from service.loop.loop import ByLog, GridLoop, LogCounts, dues_of, grid_loops
from service.organisation.units import (
    TREE_DAY,
    AskedPeriod,
    AsOf,
    PeriodOut,
    UnitCode,
    UnitOut,
    named_period,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
)
from service.summaries import queries as summary_queries
from service.summaries import sealed
from service.summaries.answers import SealedPart
from service.summaries.sealed import NOTHING
from service.summaries.unit_loop import shown_grids
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period

router = APIRouter(prefix="/v1", tags=["loop"])


class LoopUnit(BaseModel):
    """A unit right below, with how many grids it has and the counts by log."""

    unit: UnitOut = Field(description="The unit")
    grids: int = Field(description="How many grids it has in the period")
    on_time: dict[str, int] = Field(description="By log: written by the time they were due")
    late: dict[str, int] = Field(description="By log: written later")
    missing: dict[str, int] = Field(description="By log: due by now, and not there")
    not_due: dict[str, int] = Field(description="By log: not due yet, and not there")


class Loop(BaseModel):
    """Which grid of a unit missed which working day, analysis and summary; the counts are those of
    the whole unit, and of the units right below, by log.
    """

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The period")
    tree_day: date = Field(description=TREE_DAY)
    grids: int = Field(description="How many grids the unit has in the period")
    on_time: dict[str, int] = Field(
        description="Written by the time they were due, or before they are"
    )
    late: dict[str, int] = Field(description="Written after they were due")
    missing: dict[str, int] = Field(description="Due by now, and not there")
    not_due: dict[str, int] = Field(description="Not due yet, and not there")
    units: list[LoopUnit] = Field(description="The same of the units right below")
    provisional: bool = Field(
        description="The official calendar of these days is not out yet: holidays are computed,"
        " make-up days missing"
    )
    sealed: bool = Field(False, description="Whether all of it is shown as it was sealed")
    sealed_parts: list[SealedPart] = Field(
        [], description="The topmost sealed units below one that is not sealed"
    )
    items: list[GridLoop] = Field(
        description="The grids in order of code; with `gaps` those alone that have some"
    )
    next: str | None = Field(description="The `after` of the next page; empty behind the last")


@router.get(
    "/loop", summary="Which grid missed what", operation_id="loop", responses=documented(*READING)
)
async def loop(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    period: AskedPeriod,
    limit: Limit = 500,
    after: Annotated[
        str | None, Query(pattern=r"^\d{1,15}$", description="The `next` of the page before")
    ] = None,
    gaps: Annotated[
        Literal["late", "missing"] | None,
        Query(description="Only grids of which some log is late, or missing; the counts stay"),
    ] = None,
    log: Annotated[
        Literal["visit", "weekly_analysis", "monthly_summary"] | None,
        Query(description="With `gaps`: of which this log is late, or missing"),
    ] = None,
    as_of: AsOf = "period",
) -> Loop:
    """A visit each working day, an analysis each week, a summary each month: on time, late, or
    missing. What is not due yet is no gap.
    """
    settings = state_of(request).settings
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        kept = await sealed.of_period(connection, on, period) if on.shows_seals else NOTHING
        grids = shown_grids(on, period, kept.log_counts)
        rules = Rules(settings, on.tree, await current_reference_data(connection))
        dues = await dues_of(connection, rules, on.subtree, grids, period, caller.now)
        [counted] = await count_loops(
            connection, rules, on, [period], caller.now, [kept.log_counts]
        )
        items: list[GridLoop] = []
        place, is_more = after, True
        # A page of gaps may take several of grids; one more than a page tells whether there are
        # others.
        at_once = limit + 1 if gaps is None else _AT_ONCE
        while is_more and len(items) <= limit:
            rows = await queries.grids(connection, on.subtree, period, place, at_once + 1)
            is_more = len(rows) > at_once
            loops = kept.loops(row["code"] for row in rows[:at_once])
            some = await grid_loops(connection, dues, rows[:at_once], period, loops)
            items += [item for item in some if gaps is None or _has(item, gaps, log)]
            place = rows[at_once - 1]["code"] if is_more else None
        units = await summary_queries.unit_and_children(connection, "", sorted(counted.by_unit))
        return Loop(
            unit=unit_out(found),
            period=period_out(period),
            tree_day=on.day,
            grids=grids.total,
            **_by_status(counted.logs),
            units=[
                LoopUnit(
                    unit=unit_out(row),
                    grids=grids.by_unit.get(row["code"], 0),
                    **_by_status(counted.by_unit[row["code"]]),
                )
                for row in units
            ],
            provisional=dues.whole.provisional,
            sealed=kept.is_kept,
            sealed_parts=kept.parts_out(),
            items=items[:limit],
            next=items[limit - 1].grid.code if len(items) > limit else None,
        )


def _by_status(logs: ByLog) -> dict[str, dict[str, int]]:
    """The counts of each log, by what became of it."""
    return {
        status: {log: getattr(counts, status) for log, counts in logs.items()}
        for status in LogCounts.model_fields
    }


class DutyNumbersOut(BaseModel):
    """The numbers of one duty."""

    visits: int
    problems_raised: int
    problems_resolved: int


_AT_ONCE = 500


def _has(item: GridLoop, status: str, log: str | None) -> bool:
    """Whether some log of a grid has a status; of a kind, if one is named."""
    some = {
        "visit": item.days.values(),
        "weekly_analysis": item.analyses.values(),
        "monthly_summary": item.summaries.values(),
    }
    return any(status in statuses for kind, statuses in some.items() if log in (None, kind))


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


Grid = Annotated[str, Query(pattern=r"^\d{1,15}$", examples=["150221100201001"])]


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
