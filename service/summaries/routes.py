"""The summaries: `GET /v1/summaries/weekly`, `/monthly`, `/cadres` and `/members`."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.identity.views import WHOLE_GRID
from service.kit.errors import (
    READING,
    documented,
)
from service.kit.state import state_of
from service.organisation.units import (
    AsOf,
    First,
    Last,
    Month,
    PeriodOut,
    UnitCode,
    UnitOut,
    Week,
    absent,
    chosen_period,
    in_scope,
    lender_for,
    named_period,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
    week_or_month,
)
from service.summaries import cadre_queries
from service.summaries.answers import Summary
from service.summaries.summary import summary
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period, local_day

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])

Sort = Literal["visits", "problems_raised", "problems_resolved", "problems_overdue"]
PARSE: dict[str, tuple[Callable[[str], Period], str]] = {
    "weekly": (periods.week, "weekly_analysis"),
    "monthly": (periods.month, "monthly_summary"),
}


class CadreRow(BaseModel):
    """What one cadre did in a period; with the filter `party_member` on those of its days only."""

    staff_code: str
    shown_code: str
    name: str
    party_member: bool = Field(
        description="On the last day of the period, or today; with the filter as it says"
    )
    unit: str | None
    visits: int
    problems_raised: int
    problems_resolved: int
    problems_overdue: int = Field(
        description="Open and past their limit in the cadre's hands, now or at the period's end if"
        " earlier"
    )
    median_hours_to_resolve: float | None = None
    rank: int | None = Field(None, description="Empty unless ranks are switched on")


class GroupTotals(BaseModel):
    """The sums of party members, or of others: what was done on days of membership counts here,
    what was done before or after there.
    """

    party_member: bool
    cadres: int
    visits: int
    problems_raised: int
    problems_resolved: int
    problems_overdue: int


class CadreTable(BaseModel):
    """The cadres of a unit and a period, party members and others summed apart."""

    unit: UnitOut
    period: PeriodOut
    groups: list[GroupTotals]
    items: list[CadreRow]


class MemberRow(BaseModel):
    """A member with the households that are tied to them, and how many of those were visited by
    anyone.
    """

    staff_code: str
    shown_code: str
    name: str
    party_member: bool = Field(description="On the last day of the period, or today")
    households: int
    visited: int


class MemberTable(BaseModel):
    """The members of a unit with tied households, the least visited first. `without_one`: how many
    households of the unit are tied to nobody in this way.
    """

    unit: UnitOut
    period: PeriodOut
    without_one: int
    items: list[MemberRow]


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
    return await _summary(request, caller, unit, "weekly", week, as_of)


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
    return await _summary(request, caller, unit, "monthly", month, as_of)


async def _summary(
    request: Request, caller: Caller, unit: str, which: str, name: str, as_of: str
) -> Summary:
    parse, log = PARSE[which]
    period = named_period(parse, name)
    in_scope(caller, unit)
    # Side by side, so that the line of the trail costs nobody any time.
    found, _ = await asyncio.gather(
        summary(
            lender_for(request, caller, unit),
            state_of(request).settings,
            unit_on(caller, unit, as_of, period),
            period,
            caller.now,
            log,
            as_of == "period",
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


@router.get(
    "/cadres",
    summary="What each cadre did",
    operation_id="cadre_table",
    responses=documented(*READING),
)
async def cadres(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    week: Week = None,
    month: Month = None,
    first: First = None,
    last: Last = None,
    sort: Annotated[Sort, Query(description="Highest first")] = "problems_resolved",
    party_member: Annotated[
        bool | None, Query(description="Only party members, or only others")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    as_of: AsOf = "period",
) -> CadreTable:
    """One row a cadre with work in the unit: visits, problems raised and resolved, overdue in hand.
    Give week, month, or from and to.
    """
    period = chosen_period(week, month, first, last)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        subtree = unit_on(caller, unit, as_of, period).subtree
        rows, groups = await cadre_queries.table(
            connection, subtree, period, caller.now, sort, limit, party_member
        )
        medians = await cadre_queries.median_hours(
            connection, subtree, period, [row["staff_code"] for row in rows]
        )
        rules = Rules(
            state_of(request).settings, caller.tree, await current_reference_data(connection)
        )
        await note(connection, request, caller, "cadre-table", [unit, period.name], len(rows))
    shown = rules.shows_ranks(period.last)
    ranks = _ranks([row[sort] for row in rows]) if shown else [None] * len(rows)
    items = [
        CadreRow(
            **{name: value for name, value in row.items() if name != "groups"},
            median_hours_to_resolve=medians.get(row["staff_code"]),
            rank=rank,
        )
        for row, rank in zip(rows, ranks, strict=True)
    ]
    return CadreTable(
        unit=unit_out(found),
        period=period_out(period),
        groups=[GroupTotals(**group) for group in groups],
        items=items,
    )


def _ranks(values: list[int]) -> list[int | None]:
    """Equal values share a rank: 1, 2, 2, 4."""
    first_place: dict[int, int] = {}
    for place, value in enumerate(values, 1):
        first_place.setdefault(value, place)
    return [first_place[value] for value in values]


@router.get(
    "/members",
    summary="Members and the households tied to them",
    operation_id="member_table",
    responses=documented(*READING),
)
async def members(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    role: Annotated[
        Literal["contact", "lead"], Query(description="contact: 党员联系户; lead: 包联户")
    ],
    week: Week = None,
    month: Month = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 500,
) -> MemberTable:
    """One row a member: how many households, and how many of them were visited in the week or
    month.
    """
    period = week_or_month(week, month)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        subtree = caller.subtree(unit)
        rows = await cadre_queries.members(
            connection, subtree, period, role, limit, min(period.last, local_day(caller.now))
        )
        without_one = await cadre_queries.count_untied(connection, subtree, role)
        await note(connection, request, caller, "member-table", [unit, period.name], len(rows))
    return MemberTable(
        unit=unit_out(found),
        period=period_out(period),
        without_one=without_one,
        items=[MemberRow(**dict(row)) for row in rows],
    )
