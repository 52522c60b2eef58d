"""Visits, the newest first: `/visits`."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.households import routes as households
from service.kit.errors import NOT_FOUND, Problem
from service.organisation.units import reach_of
from service.pages.filters import (
    After,
    FirstDay,
    LastDay,
    Sought,
    StaffCode,
    UnitCode,
    Word,
    day_of,
    sought,
)
from service.pages.names import names_of, words_of
from service.pages.page import Signed, Visit, pages_router
from service.pages.units import path_to
from service.visits import routes as visits

router: APIRouter = pages_router()
_ROWS = 100

Household = Annotated[str, Query(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]


@router.get("/visits", operation_id="visits_page")
async def visits_page(
    visit: Signed,
    unit: UnitCode = "",
    household: Household = "",
    cadre: StaffCode = "",
    duty: Word = "",
    text: Sought = "",
    first: FirstDay = "",
    last: LastDay = "",
    after: After = "",
) -> Response:
    """Visits of a unit, or to one household."""
    found = await visits.visits(
        visit.request,
        visit.to("list_visits"),
        unit or None,
        household=household or None,
        cadre=sought(cadre),
        duty=duty or None,
        text=sought(text),
        first=day_of(first),
        last=day_of(last),
        limit=_ROWS,
        after=after or None,
    )
    names = await names_of(visit, [item.grid for item in found.items])
    return visit.page(
        "visit_list.html",
        unit=unit,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        names=names,
        words=await words_of(visit),
        head=await _head(visit, household) if household else None,
        household=household,
        asked={"cadre": cadre, "duty": duty, "text": text, "first": first, "last": last},
        takes_text=bool(household or cadre)
        or not reach_of(visit.to("list_visits"), unit or None).is_wide,
    )


async def _head(visit: Visit, household: str) -> str:
    """Whose visits they are, as far as that is shown."""
    try:
        found = await households.household(visit.request, visit.to("get_household"), household)
    except Problem as problem:
        if problem.type is not NOT_FOUND:
            raise
        return ""
    return found.head_name or ""
