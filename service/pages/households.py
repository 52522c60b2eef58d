"""Households with their last visit, and who is tied to them: `/households`."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.households import routes as households
from service.identity.views import View
from service.pages.filters import After, Flag, Sought, StaffCode, UnitCode, Word, sought
from service.pages.names import names_of, words_of
from service.pages.page import Signed, Visit, pages_router
from service.pages.units import path_to
from sync_protocol.vocabulary import HOUSEHOLD_STATES

router: APIRouter = pages_router()
_ROWS = 100
# Days after which a household counts as not visited for long, as the filter offers them.
DAYS = (7, 14, 30, 60, 90)

Days = Annotated[str, Query(pattern=r"^(\d{1,4})?$")]
State = Annotated[str, Query(pattern=f"^({'|'.join(HOUSEHOLD_STATES)}|any)?$")]


@router.get("/households", operation_id="households_page")
async def households_page(
    visit: Signed,
    unit: UnitCode = "",
    text: Sought = "",
    special: Flag = "",
    tag: Word = "",
    days: Days = "",
    contact_member: StaffCode = "",
    lead_member: StaffCode = "",
    state: State = "",
    after: After = "",
) -> Response:
    """Households of a unit in order of grid. `days`: not visited in so many days, or never."""
    found = await households.households(
        visit.request,
        visit.to("list_households"),
        unit or None,
        special=True if special else None,
        tag=tag or None,
        contact_member=sought(contact_member),
        lead_member=sought(lead_member),
        not_visited_days=min(int(days), 3650) or None if days else None,
        state=state or "present",
        text=sought(text[:60]),
        limit=_ROWS,
        after=after or None,
    )
    names = await names_of(
        visit,
        [item.grid for item in found.items],
        [code for item in found.items for code in (item.contact_member, item.lead_member)]
        + [contact_member, lead_member],
    )
    return visit.page(
        "household_list.html",
        unit=unit,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        names=names,
        words=await words_of(visit),
        sees_tags=_sees_tags(visit, unit),
        choices=DAYS,
        asked={
            "text": text,
            "special": special,
            "tag": tag,
            "days": days,
            "contact_member": contact_member,
            "lead_member": lead_member,
            "state": state,
        },
    )


def _sees_tags(visit: Visit, unit: str) -> bool:
    """Whether the tags of single households are shown of what was asked for."""
    caller = visit.to("list_households")
    units = [unit] if unit else caller.units()
    return all(caller.view_of(code) is not View.SUMMARISED for code in units)
