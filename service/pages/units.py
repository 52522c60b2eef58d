"""Picks a unit, from the tree or by its name: `/units`."""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.organisation import routes as organisation
from service.organisation.routes import UnitItem
from service.organisation.units import UnitOut, unit_out
from service.pages.carried import is_local_path
from service.pages.page import Signed, Visit, pages_router
from service.pages.templates import link
from service.summaries import queries

router: APIRouter = pages_router()
_FOUND = 50
_BELOW = 1_000


@router.get("/units", operation_id="find_unit")
async def find_unit(
    visit: Signed,
    unit: Annotated[str, Query(max_length=20)] = "",
    text: Annotated[str, Query(max_length=60)] = "",
    to: Annotated[str, Query(max_length=500)] = "/week",
) -> Response:
    """Those whose name has the text in it, or those right below a unit. Each leads to the page `to`
    with that unit.
    """
    text = text.strip()
    found = await _found(visit, unit or visit.own_unit() or "", text)
    template = "units_found.html" if "hx-request" in visit.request.headers else "units.html"
    return visit.page(template, text=text, to=to, unit_code=unit, **found, lead=_lead(to))


async def _found(visit: Visit, unit: str, text: str) -> dict[str, Any]:
    caller = visit.to("list_units")
    if text:
        page = await organisation.units(visit.request, caller, text=text, limit=_FOUND)
        return {"units": _open(page.items), "more": page.next is not None, "path_up": []}
    page = await organisation.units(visit.request, caller, parent=unit or None, limit=_BELOW)
    return {
        "units": _open(page.items),
        "more": False,
        "path_up": await path_to(visit, unit) if unit else [],
    }


def _open(items: list[UnitItem]) -> list[UnitItem]:
    return [item for item in items if item.closed is None]


async def path_to(visit: Visit, unit: str) -> list[UnitOut]:
    """The units above one that the visitor may see, from the top, and itself."""
    caller = visit.to("get_unit")
    above = [code for code in caller.tree.above(unit, caller.today) if caller.reaches(code)]
    codes = [*reversed(above), unit]
    async with visit.state.database.reading() as connection:
        rows = await queries.unit_and_children(connection, "", codes)
    return sorted(map(unit_out, rows), key=lambda found: codes.index(found.code))


def _lead(to: str) -> Callable[[str], str]:
    """Makes the address of a page with another unit."""
    parts = urlsplit(to) if is_local_path(to) else urlsplit("/week")
    given = {name: value for name, value in parse_qsl(parts.query) if name not in ("unit", "sort")}

    def lead(code: str) -> str:
        return link(parts.path, **{"unit": code} | given)

    return lead
