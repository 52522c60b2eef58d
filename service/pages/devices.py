"""Phones and what waits on them, `/devices`; a phone is revoked from there."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from service.accounts import routes as accounts
from service.accounts.answers import DeviceItem
from service.identity.rights import ADMINISTERS, holds
from service.pages.figures import Shown, shown
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.units import path_to
from sync_protocol.texts import Text

router: APIRouter = pages_router()

# What a phone has handed in, in words; beside it the form of its mark.
STATES: dict[str, Text] = {
    "all": Text("All handed in"),
    "waiting": Text("Something waits on the phone"),
    "needs_you": Text("Needs a decision"),
    "unknown": Text("Never seen"),
}
MARKS = {"all": "on_time", "waiting": "late", "needs_you": "missing", "unknown": "not_due"}
_DEVICES = 100

Unit = Annotated[str, Query(max_length=20)]
Code = Annotated[str, Query(max_length=40)]


class Line(NamedTuple):
    """A phone of the list."""

    item: DeviceItem
    state: Text
    mark: str
    queued: Shown
    held: Shown
    may_revoke: bool


@router.get("/devices", operation_id="devices_page")
async def devices_page(
    visit: Signed,
    unit: Unit = "",
    staff_code: Code = "",
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """One's own phones and those of the cadres in one's units."""
    found = await accounts.devices(
        visit.request, visit.caller, unit or None, staff_code or None, _DEVICES, after or None
    )
    return visit.page(
        "devices.html",
        unit=unit or None,
        path_up=await path_to(visit, unit) if unit else [],
        staff_code=staff_code,
        lines=[_line(visit, item) for item in found.items],
        after=after,
        further=found.next,
        states=STATES,
        marks=MARKS,
    )


def _line(visit: Visit, item: DeviceItem) -> Line:
    caller = visit.caller
    administers = holds(caller.posts, caller.now, ADMINISTERS)
    return Line(
        item,
        STATES[item.handed_in],
        MARKS[item.handed_in],
        shown("queued", item.queued),
        shown("held", item.held),
        item.revoked_at is None and (administers or item.staff_code == caller.staff_code),
    )


@router.post("/devices/revoke", operation_id="revoke_on_page")
async def revoke(
    visit: Posted,
    device: Annotated[str, Form(max_length=40)],
    unit: Annotated[str, Form(max_length=20)] = "",
    staff_code: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Revokes a phone, and shows the list again."""
    await accounts.revoke_device(visit.request, visit.caller, device)
    given = {"unit": unit, "staff_code": staff_code}
    return visit.go("/devices", **{name: value for name, value in given.items() if value})
