"""The summaries: `GET /v1/summaries/weekly`, `/monthly`, `/cadres` and `/members`."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

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
    TREE_DAY,
    AskedPeriod,
    AsOf,
    Month,
    PeriodOut,
    UnitCode,
    UnitOut,
    Week,
    absent,
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
from service.summaries.answers import SealedPart, Summary
from service.summaries.cadre_queries import Wanted
from service.summaries.cadre_table import cadre_table
from service.summaries.summary import summary
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period, kind_of, local_day, named_alike
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])

Sort = Literal["visits", "problems_raised", "problems_resolved", "problems_overdue"]
_ROLES = f"^({'|'.join(ROLES)})(,({'|'.join(ROLES)}))*$"
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


class CadreRow(BaseModel):
    """What one cadre did in a period; with the filter `party_member` on those of its days only."""

    staff_code: str = Field(description="What names the person in records")
    shown_code: str = Field(description="The staff code of today")
    name: str = Field(description="The name")
    party_member: bool = Field(
        description="On the last day of the period, or today; with the filter as it says"
    )
    unit: str | None = Field(description="The unit of the present post, or of the last one")
    unit_name: str | None = Field(None, description="What that unit is called")
    visits: int = Field(description="Visits that the cadre made in the unit in the period")
    problems_raised: int = Field(description="Problems that the cadre raised")
    problems_resolved: int = Field(description="Problems whose resolution stands as the cadre's")
    problems_overdue: int = Field(
        description="Open and past their limit in the cadre's hands, now or at the period's end if"
        " earlier"
    )
    median_hours_to_resolve: float | None = Field(
        None, description="Hours from raised to resolved of what the cadre resolved"
    )
    rank: int | None = Field(None, description="Empty unless ranks are switched on")


class GroupTotals(BaseModel):
    """The sums of party members, or of others: what was done on days of membership counts here,
    what was done before or after there.
    """

    party_member: bool = Field(description="Of members, or of others")
    cadres: int = Field(description="How many cadres")
    visits: int = Field(description="Visits of them all")
    problems_raised: int = Field(description="Problems that they raised")
    problems_resolved: int = Field(description="Problems that they resolved")
    problems_overdue: int = Field(description="Open and past their limit in their hands")


class UnassignedUnit(BaseModel):
    """A unit right below with problems overdue in nobody's hands."""

    unit: UnitOut = Field(description="The unit in which the problems lie, whoever handles them")
    problems_overdue: int = Field(description="Open and past their limit")


class Unassigned(BaseModel):
    """What is no cadre's: problems overdue in nobody's hands, and work of accounts that are no
    cadres. Without filters it adds up to the totals of the unit with the groups; it is the same
    with them.
    """

    visits: int = Field(description="Visits by accounts that are no cadres")
    problems_raised: int = Field(description="Problems raised by such accounts")
    problems_resolved: int = Field(description="Problems resolved by such accounts")
    problems_overdue: int = Field(description="Open and past their limit in no cadre's hands")
    units: list[UnassignedUnit] = Field(
        description="Where the overdue ones lie, by unit right below"
    )


class CadreLine(CadreRow):
    """A cadre table as CSV: a line for each cadre, then the sums of members and of others, and what
    is no cadre's.
    """

    row: Literal["cadre", "members", "others", "unassigned"]
    cadres: int | None
    period: str
    of: UnitOut
    sealed: bool


class CadreTable(BaseModel):
    """The cadres of a unit and a period, party members and others summed apart. Of a week or month
    that is sealed it shows what was sealed; above, the sealed parts count as they were sealed.
    """

    csv_model: ClassVar[type[BaseModel]] = CadreLine

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The period")
    tree_day: date = Field(description=TREE_DAY)
    groups: list[GroupTotals] = Field(
        description="The sums of members and of others, of all cadres that the filters leave, also"
        " of those that `items` has no room for"
    )
    unassigned: Unassigned = Field(description="What is no cadre's")
    items: list[CadreRow] = Field(description="The cadres, the highest first")
    more: bool = Field(False, description="Whether there are more cadres than `limit`")
    sealed: bool = Field(False, description="Whether all of it is shown as it was sealed")
    sealed_parts: list[SealedPart] = Field(
        [], description="The topmost sealed units below one that is not sealed"
    )

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of an answer as CSV."""
        whole = {
            "period": body["period"]["name"],
            "of": body["unit"],
            "sealed": body["sealed"],
            "cadres": None,
        }
        groups = [
            {**whole, **group, "row": "members" if group["party_member"] else "others"}
            for group in body["groups"]
        ]
        return [
            *({**whole, **item, "row": "cadre"} for item in body["items"]),
            *groups,
            {**whole, **body["unassigned"], "row": "unassigned"},
        ]


class MemberRow(BaseModel):
    """A member with the households that are tied to them, and how many of those were visited by
    anyone.
    """

    staff_code: str = Field(description="What names the person in records")
    shown_code: str = Field(description="The staff code of today")
    name: str = Field(description="The name")
    party_member: bool = Field(description="On the last day of the period, or today")
    households: int = Field(description="Households that are tied to them now")
    visited: int = Field(description="Of these, visited by anyone in the period")


class MemberTable(BaseModel):
    """The members of a unit with tied households, the least visited first. The households of the
    items, `without_one`, `unknown` and, of contact members, `outside_party` add up to `households`.
    """

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The week or the month")
    tree_day: date = Field(description=TREE_DAY)
    households: int = Field(description="Households of the unit now")
    without_one: int = Field(description="Households that are tied to nobody in this way")
    unknown: int = Field(description="Households that are tied to a code that no cadre has")
    outside_party: int = Field(
        description="Households that are tied to a cadre who is no party member; as contact members"
        " they are not among the items"
    )
    items: list[MemberRow] = Field(description="The members, the least visited first")
    more: bool = Field(False, description="Whether there are more members than `limit`")


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
        found_rows = await cadre_queries.members(
            connection, on.subtree, period, role, limit + 1, day
        )
        rows = found_rows[:limit]
        ties = await cadre_queries.count_ties(connection, on.subtree, role, day)
        await note(connection, request, caller, "member-table", [unit, period.name], len(rows))
    return MemberTable(
        unit=unit_out(found),
        period=period_out(period),
        **dict(ties),
        tree_day=on.day,
        items=[MemberRow(**dict(row)) for row in rows],
        more=len(found_rows) > limit,
    )
