"""Routes for apps with a token of their own: `/v1/villages` and `/v1/statistics`.
`openapi/app.md` walks through them.
"""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.app_api import queries
from service.audit.audit_log import note
from service.identity.access import Signed
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import READING, documented
from service.kit.paging import After, Limit, next_place, read_text
from service.kit.state import state_of
from service.organisation.units import (
    Month,
    PeriodOut,
    UnitFilter,
    UnitOut,
    Week,
    absent,
    in_scope,
    lender_for,
    scope_of,
    unit_on,
    week_or_month,
)
from service.summaries.answers import DutyTotals
from service.summaries.summary import summary
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1", tags=["app"])

# Whose number hangs at the village office.
_PUBLIC = ("village_secretary", "first_secretary", "village_committee")


class ContactOut(BaseModel):
    """A cadre whose number is public."""

    name: str
    role: str
    label: str
    phone: str


class VillageItem(BaseModel):
    """A village with its public contacts."""

    code: str
    name: str
    township: str
    banner: str
    contacts: list[ContactOut]


class VillagePage(BaseModel):
    """A page of villages in order of code."""

    items: list[VillageItem]
    next: str | None


class Statistics(BaseModel):
    """The numbers of a unit and a period, of nobody in particular."""

    unit: UnitOut
    period: PeriodOut
    visits: int
    households_visited: int
    problems_raised: int
    problems_resolved: int
    problems_open: int
    median_hours_to_resolve: float | None
    duties: list[DutyTotals]


@router.get(
    "/villages",
    summary="Villages and whom to call",
    operation_id="list_villages",
    responses=documented(*READING),
)
async def villages(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    limit: Limit = 100,
    after: After = None,
) -> VillagePage:
    """In order of code, with secretary, first secretary and committee members."""
    units = scope_of(caller, unit)
    state = state_of(request)
    async with state.database.transaction() as connection:
        rows = await queries.villages(
            connection,
            caller.ranges(units),
            _PUBLIC,
            caller.now,
            read_text(after),
            limit + 1,
        )
        await note(connection, request, caller, "villages", units, len(rows[:limit]))
        cipher = await cipher_of(connection, state.settings)
    items = []
    for row in rows[:limit]:
        people = json.loads(row["contacts"])
        contacts = [
            ContactOut(
                name=person["name"],
                role=person["role"],
                label=ROLES[person["role"]].zh,
                phone=cadre_phone(cipher, person),
            )
            for person in people
        ]
        items.append(VillageItem(**{**dict(row), "contacts": contacts}))
    return VillagePage(
        items=items, next=next_place(items[-1].code, "") if len(rows) > limit else None
    )


@router.get(
    "/statistics",
    summary="Numbers of a unit",
    operation_id="village_statistics",
    responses=documented(*READING),
)
async def statistics(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str,
        Query(
            pattern=r"^\d{4,12}$",
            description="A village, or a unit above",
            examples=["150221104200"],
        ),
    ],
    week: Week = None,
    month: Month = None,
) -> Statistics:
    """Of a village at the least: the numbers of a grid would tell of single households."""
    period = week_or_month(week, month)
    in_scope(caller, unit)
    log = "weekly_analysis" if week is not None else "monthly_summary"
    found = await summary(
        lender_for(request, caller, unit),
        state_of(request).settings,
        unit_on(caller, unit, "period", period),
        period,
        caller.now,
        log,
    )
    if found is None:
        raise absent(caller, unit)
    totals = found.totals
    return Statistics(
        unit=found.unit,
        period=found.period,
        visits=totals.visits,
        households_visited=totals.households_visited,
        problems_raised=totals.problems_raised,
        problems_resolved=totals.problems_resolved,
        problems_open=totals.problems_open,
        median_hours_to_resolve=totals.median_hours_to_resolve,
        duties=found.duties,
    )
