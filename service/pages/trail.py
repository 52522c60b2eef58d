"""Who read, changed or exported what, and when: `/admin/trail`."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.audit import routes as audit
from service.audit.audit_log import OPERATOR
from service.audit.routes import AuditItem
from service.pages.areas import areas
from service.pages.filters import After, FirstDay, LastDay, Sought, StaffCode, day_of, sought
from service.pages.names import names_of
from service.pages.page import Signed, pages_router
from service.pages.trail_words import ACTS, act_of
from sync_protocol.texts import Text

router: APIRouter = pages_router()

_ROWS = 100


class Line(NamedTuple):
    """A line of the trail: what was done, by whom, and of whom or where, by name where it is
    known.
    """

    item: AuditItem
    act: Text | str
    who: str | Text
    subjects: list[tuple[str, str]]


@router.get("/admin/trail", operation_id="trail_page")
async def trail_page(
    visit: Signed,
    who: StaffCode = "",
    action: Annotated[str, Query(max_length=40, pattern=r"^[a-z-]*$")] = "",
    subject: Sought = "",
    first: FirstDay = "",
    last: LastDay = "",
    after: After = "",
) -> Response:
    """Lines of the trail, the newest first."""
    found = await audit.audit(
        visit.request,
        visit.caller,
        sought(who),
        action or None,
        sought(subject),
        day_of(first),
        day_of(last),
        _ROWS,
        after or None,
    )
    codes = {one for item in found.items for one in item.subjects}
    names = await names_of(
        visit,
        [one for one in codes if one.isdecimal() and len(one) <= 15],
        [*codes, *(item.staff_code for item in found.items)],
    )
    lines = [
        Line(
            item,
            act_of(item.action),
            Text("command line") if item.staff_code == OPERATOR else names.cadre(item.staff_code),
            [(one, names.units.get(one) or names.cadres.get(one) or one) for one in item.subjects],
        )
        for item in found.items
    ]
    return visit.page(
        "admin_trail.html",
        areas=areas(visit),
        lines=lines,
        acts=sorted(ACTS.items(), key=lambda one: one[0]),
        asked={"who": who, "action": action, "subject": subject, "first": first, "last": last},
        further=found.next,
        after=after,
    )
