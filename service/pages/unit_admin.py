"""A unit as administrators see one, `/admin/units/{code}`: its names, the units above it over time,
what was done to it, and the forms that change it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.households import routes as households
from service.kit.errors import INVALID, Problem
from service.organisation import change_routes
from service.organisation.change_routes import (
    Changed,
    Closing,
    Into,
    Move,
    NewUnit,
    Split,
    UnitChange,
    UnitDetail,
)
from service.pages.areas import areas
from service.pages.cadre_admin import units_near
from service.pages.forms import NOTHING, Typed, carried_out, made
from service.pages.names import Names, names_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.unit_choice import with_unit
from service.pages.units import path_to
from sync_protocol.texts import Text, Word

router: APIRouter = pages_router()

Code = Annotated[str, Path(max_length=15, pattern=r"^\d+$")]
_HOUSEHOLDS = 1_000

PARTY_GROUPS: dict[str, Text] = {
    "none": Text("none"),
    "group": Text("party group"),
    "branch": Text("party branch"),
}
DONE: dict[str, Text] = {
    "created": Text("The unit was made. Give somebody a post there."),
    "changed": Text("The unit was changed."),
    "moved": Text("The unit moves on that day."),
    "split": Text("The grid was split; this is the new one."),
    "merged": Text("The grid was merged into the other; it closes after today."),
    "closed": Text("The unit closes after today."),
}
ACTIONS: dict[str, Text] = {
    "created": Text("made"),
    "changed": Text("changed"),
    "moved": Text("moved"),
    "split": Text("split"),
    "closed": Text("closed"),
}


class Allowed(NamedTuple):
    """What the visitor may do with a unit."""

    change: bool
    create: bool
    divide: bool


@router.get("/admin/units/{code}", operation_id="admin_unit_page")
async def unit(
    visit: Signed, code: Code, done: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    """A unit with its history."""
    return await unit_page(visit, code, notice=DONE.get(done))


async def unit_page(visit: Visit, code: str, typed: Typed = NOTHING, **told: Any) -> Response:
    """The page, with a form that could not be carried out, or what was or would be done."""
    found = await change_routes.unit(visit.request, visit.to("get_unit"), code)
    allowed = _allowed(visit, found)
    told_of = [one.details.get(key) for one in found.changes for key in ("from", "to", "into")]
    names = await names_of(
        visit,
        [*(one.parent for one in found.parents), *told_of],
        [*found.cadres, *(one.staff_code for one in found.changes)],
    )
    values: dict[str, Any] = {"notice": None, "outcome": None} | told
    return visit.page(
        "admin_unit.html",
        areas=areas(visit),
        unit=code,
        found=found,
        at=f"/admin/units/{code}",
        path_up=await path_to(visit, code),
        level=_level(visit, found.level),
        level_below=_level_below(visit, found.level),
        names=names,
        allowed=allowed,
        near=await units_near(visit, code) if allowed.change or allowed.create else [],
        groups=PARTY_GROUPS,
        actions=ACTIONS,
        changes=[(one, _details(one.details, names)) for one in reversed(found.changes)],
        tomorrow=visit.caller.today + timedelta(days=1),
        today=visit.caller.today,
        typed=typed,
        **values,
    )


def _allowed(visit: Visit, found: UnitDetail) -> Allowed:
    tree, today = visit.caller.tree, visit.caller.today
    is_open = found.closed is None
    above = tree.parent(found.code, today)
    changes = is_open and visit.may_at("change_unit", above or found.code)
    below = _level_below(visit, found.level) is not None
    return Allowed(
        changes,
        is_open and below and visit.may_at("create_unit", found.code),
        changes and found.level == "grid",
    )


def _level(visit: Visit, slug: str) -> Word:
    level = visit.caller.tree.levels.get(slug)
    return Word(level.name_en or level.name_zh, level.name_zh) if level else Word(slug, slug)


def _level_below(visit: Visit, slug: str) -> Word | None:
    slugs = [*visit.caller.tree.levels]
    if slug not in slugs or slug == slugs[-1]:
        return None
    return _level(visit, slugs[slugs.index(slug) + 1])


def _details(details: Mapping[str, Any], names: Names) -> str:
    """What a change says, without words of its own: what was there before, and what is since."""
    if "after" in details:
        before, after = details.get("before", {}), details["after"]
        return " · ".join(f"{before.get(name) or '–'} → {value}" for name, value in after.items())
    parts = [details.get("name", "")]
    parts += (
        [f"{names.unit(details['from'])} → {names.unit(details['to'])}"]
        if (details.get("from"))
        else [f"→ {names.unit(details[key])}" for key in ("to", "into") if details.get(key)]
    )
    return " · ".join(str(part) for part in (*parts, details.get("day")) if part)


async def _shown(visit: Visit, done: str, came: Changed, typed: Typed) -> Response:
    """What came of a change: of a trial with the form again."""
    if came.dry_run:
        # Of a split the new grid is not there; the form is that of the grid at hand.
        return await unit_page(visit, _at(visit), typed, outcome=came)
    if came.warnings or came.posts_left or came.households:
        return await unit_page(visit, came.unit.code, notice=DONE[done], outcome=came)
    return visit.go(f"/admin/units/{came.unit.code}", done=done)


def _at(visit: Visit) -> str:
    return str(visit.request.path_params["code"])


@router.post("/admin/units/{code}", operation_id="change_unit_on_page")
async def change(visit: Posted, code: Code) -> Response:
    """Renames a unit, or changes its kind, its party group, or the day on which it goes live."""

    async def work(typed: Typed) -> Response:
        before = await change_routes.unit(visit.request, visit.to("get_unit"), code)
        names = ("name", "name_mn", "kind", "party_group")
        values: dict[str, Any] = {
            name: typed.get(name) or None if name == "name_mn" else typed.get(name)
            for name in names
            if typed.get(name) != (getattr(before, name) or "")
        }
        go_live = typed.day("go_live")
        if go_live is not None and go_live != before.go_live:
            values["go_live"] = go_live
        came = await change_routes.change(
            visit.request, visit.caller, code, made(UnitChange, **values)
        )
        return visit.go(f"/admin/units/{came.unit.code}", done="changed")

    return await carried_out(
        visit, "unit-change", work, lambda typed: unit_page(visit, code, typed)
    )


@router.post("/admin/units/{code}/below", operation_id="create_unit_on_page")
async def create(visit: Posted, code: Code) -> Response:
    """Makes a unit right below."""

    async def work(typed: Typed) -> Response:
        body = made(
            NewUnit,
            parent=code,
            **typed.only("code", "name", "name_mn", "kind", "party_group"),
            since=typed.day("since"),
            go_live=typed.day("go_live"),
        )
        came = await change_routes.create(visit.request, visit.caller, body)
        return visit.go(f"/admin/units/{came.unit.code}", done="created")

    return await carried_out(
        visit, "unit-create", work, lambda typed: unit_page(visit, code, typed)
    )


@router.post("/admin/units/{code}/move", operation_id="move_unit_on_page")
async def move(visit: Posted, code: Code) -> Response:
    """Puts a unit under another from a day on."""

    async def work(typed: Typed) -> Response:
        day = typed.day("from")
        if day is None:
            raise Problem(INVALID, "Name the day from which the unit lies elsewhere.")
        at = await with_unit(visit, typed, "to")
        body = made(Move, **{"to": at.get("to"), "from": day})
        came = await change_routes.move(visit.request, visit.caller, code, body)
        return await _shown(visit, "moved", came, typed)

    return await carried_out(visit, "unit-move", work, lambda typed: unit_page(visit, code, typed))


@router.post("/admin/units/{code}/merge", operation_id="merge_unit_on_page")
async def merge(visit: Posted, code: Code) -> Response:
    """Sends all households of a grid to another, and closes it; with `dry_run` tells what would
    come of it.
    """

    async def work(typed: Typed) -> Response:
        at = await with_unit(visit, typed, "to")
        body = made(Into, to=at.get("to"), dry_run=bool(typed.get("dry_run")))
        came = await change_routes.merge(visit.request, visit.caller, code, body)
        return await _shown(visit, "merged", came, typed)

    return await carried_out(visit, "unit-merge", work, lambda typed: unit_page(visit, code, typed))


@router.post("/admin/units/{code}/close", operation_id="close_unit_on_page")
async def close(visit: Posted, code: Code) -> Response:
    """Closes a unit after today; with `dry_run` tells what would come of it."""

    async def work(typed: Typed) -> Response:
        at = await with_unit(visit, typed, "to")
        body = made(Closing, to=at.get("to") or None, dry_run=bool(typed.get("dry_run")))
        came = await change_routes.close(visit.request, visit.caller, code, body)
        return await _shown(visit, "closed", came, typed)

    return await carried_out(visit, "unit-close", work, lambda typed: unit_page(visit, code, typed))


@router.get("/admin/units/{code}/split", operation_id="split_unit_page")
async def split_page(visit: Signed, code: Code) -> Response:
    """The households of a grid, from which those of a new one are chosen."""
    return await _split_form(visit, code)


async def _split_form(
    visit: Visit, code: str, typed: Typed = NOTHING, outcome: Changed | None = None
) -> Response:
    found = await change_routes.unit(visit.request, visit.to("get_unit"), code)
    if not _allowed(visit, found).divide:
        raise Problem(INVALID, Text("‘{unit}’ is no grid that you may split.", unit=code))
    page = await households.households(
        visit.request, visit.to("list_households"), code, limit=_HOUSEHOLDS
    )
    return visit.page(
        "admin_split.html",
        areas=areas(visit),
        unit=code,
        found=found,
        at=f"/admin/units/{code}",
        path_up=await path_to(visit, code),
        households=page.items,
        more=page.next is not None,
        groups=PARTY_GROUPS,
        outcome=outcome,
        typed=typed,
    )


@router.post("/admin/units/{code}/split", operation_id="split_unit_on_page")
async def split(visit: Posted, code: Code) -> Response:
    """Makes a grid beside one and sends the chosen households there; with `dry_run` tells what
    would come of it.
    """

    async def work(typed: Typed) -> Response:
        body = made(
            Split,
            **typed.only("code", "name", "name_mn", "party_group"),
            households=typed.all("households"),
            dry_run=bool(typed.get("dry_run")),
        )
        came = await change_routes.split(visit.request, visit.caller, code, body)
        if came.dry_run:
            return await _split_form(visit, code, typed, came)
        return await _shown(visit, "split", came, typed)

    return await carried_out(
        visit, "unit-split", work, lambda typed: _split_form(visit, code, typed)
    )
