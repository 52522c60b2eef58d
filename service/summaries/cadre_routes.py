"""The tables of people: `GET /v1/summaries/cadres` and `/members`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from service.audit.audit_log import note
from service.identity.access import Signed
from service.kit.errors import (
    READING,
    documented,
)
from service.kit.state import state_of
from service.organisation.units import (
    AskedPeriod,
    AsOf,
    Month,
    UnitCode,
    Week,
    period_out,
    unit_in_scope,
    unit_on,
    unit_out,
    week_or_month,
)
from service.summaries import member_queries
from service.summaries.cadre_answers import (
    CadreRow,
    CadreTable,
    GroupTotals,
    MemberRow,
    MemberTable,
    Unassigned,
    UnassignedUnit,
)
from service.summaries.cadre_table import cadre_table
from service.summaries.cadre_table_queries import Wanted
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])

Sort = Literal["visits", "problems_raised", "problems_resolved", "problems_overdue"]
_ROLES = f"^({'|'.join(ROLES)})(,({'|'.join(ROLES)}))*$"


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
    period: AskedPeriod,
    sort: Annotated[Sort, Query(description="Highest first")] = "problems_resolved",
    party_member: Annotated[
        bool | None,
        Query(description="Only party members, or only others; also of the groups"),
    ] = None,
    role: Annotated[
        str | None,
        Query(
            pattern=_ROLES,
            description="Only cadres who held a post of this role, or one of several with commas"
            " between, on a day of the period; the groups are sums of these alone",
            examples=["village_committee,first_secretary"],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    as_of: AsOf = "period",
) -> CadreTable:
    """One row a cadre with work in the unit: visits, problems raised and resolved, overdue in hand.
    Give day, week, month, quarter, half, year, or from and to.
    """
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        # One more, which tells whether there are more.
        wanted = Wanted(sort, limit + 1, party_member, role.split(",") if role else ())
        shown = await cadre_table(connection, on, period, caller.now, wanted)
        rules = Rules(
            state_of(request).settings, caller.tree, await current_reference_data(connection)
        )
        rows = shown.rows[:limit]
        await note(connection, request, caller, "cadre-table", [unit, period.name], len(rows))
    ranks: list[int | None] = [None] * len(rows)
    if rules.shows_ranks(period.last):
        ranks = _ranks([row[sort] for row in rows])
    items = [
        CadreRow(
            **{name: value for name, value in row.items() if name not in _OF_ALL},
            median_hours_to_resolve=shown.medians.get(row["staff_code"]),
            rank=rank,
        )
        for row, rank in zip(rows, ranks, strict=True)
    ]
    return CadreTable(
        unit=unit_out(found),
        period=period_out(period),
        tree_day=on.day,
        groups=[GroupTotals(**group) for group in shown.groups],
        unassigned=Unassigned(
            **shown.unassigned,
            units=[
                UnassignedUnit(unit=unit_out(row), problems_overdue=overdue)
                for row, overdue in shown.unassigned_by_unit
            ],
        ),
        items=items,
        more=len(shown.rows) > limit,
        sealed=shown.kept.is_kept,
        sealed_parts=shown.kept.parts_out(),
    )


# What stands in each row of the table and is of all cadres.
_OF_ALL = ("groups", "unassigned")


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
    as_of: AsOf = "period",
) -> MemberTable:
    """One row a member: how many households, and how many of them were visited in the week or
    month.
    """
    period = week_or_month(week, month)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        on = unit_on(caller, unit, as_of, period)
        day = min(period.last, local_day(caller.now))
        found_rows = await member_queries.members(
            connection, on.subtree, period, role, limit + 1, day
        )
        rows = found_rows[:limit]
        ties = await member_queries.count_ties(connection, on.subtree, role, day)
        await note(connection, request, caller, "member-table", [unit, period.name], len(rows))
    return MemberTable(
        unit=unit_out(found),
        period=period_out(period),
        **dict(ties),
        tree_day=on.day,
        items=[MemberRow(**dict(row)) for row in rows],
        more=len(found_rows) > limit,
    )
