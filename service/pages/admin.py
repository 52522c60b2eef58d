"""Administration: `/admin` leads to its pages; seals, and the lists of units, cadres and posts are
here.
"""

from datetime import date
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.accounts import posts as posts_routes
from service.accounts import routes as accounts
from service.organisation import routes as organisation
from service.pages.areas import areas
from service.pages.page import Signed, Visit, pages_router
from service.pages.periods import last_whole
from service.pages.seals import SEALED
from service.pages.units import path_to
from service.summaries import seal_routes
from service.summaries import trend as trends
from service.vocabulary.keeping import current_reference_data
from sync_protocol.periods import around, month, week
from sync_protocol.texts import Word
from sync_protocol.vocabulary import ROLES

router: APIRouter = pages_router()

_ROWS = 100
_UNITS = 1_000
_PERIODS = 24

Unit = Annotated[str, Query(max_length=20)]
Short = Annotated[str, Query(max_length=40)]
After = Annotated[str | None, Query(max_length=500)]


@router.get("/admin", operation_id="admin_page")
async def admin_page(visit: Signed) -> Response:
    """What there is to administer."""
    return visit.page("admin.html", areas=areas(visit))


@router.get("/admin/seals", operation_id="seals_page")
async def seals_page(
    visit: Signed, unit: Unit = "", kind: Short = "week", name: Short = ""
) -> Response:
    """Which of the last periods of a unit are sealed; of one of them every seal that it had."""
    unit = unit or visit.own_unit() or ""
    of = cast(Literal["week", "month"], kind if kind in SEALED else "week")
    last = last_whole(of, visit.caller.today)
    history = (
        await seal_routes.seals(visit.request, visit.caller, SEALED[of], name, unit) if name else []
    )
    found = await trends.trend(
        visit.request, visit.to("summary_trend"), unit, of, _PERIODS, last.last
    )
    return visit.page(
        "admin_seals.html",
        areas=areas(visit),
        unit=unit,
        unit_name=found.unit.name,
        path_up=await path_to(visit, unit),
        kind=of,
        name_of_period=name,
        period=(week if of == "week" else month)(name) if name else None,
        history=history,
        rows=[
            (around(of, date.fromisoformat(last_day.last)), point.sealed)
            for point, last_day in zip(reversed(found.points), reversed(found.periods), strict=True)
        ],
    )


@router.get("/admin/units", operation_id="admin_units_page")
async def units_page(visit: Signed, unit: Unit = "") -> Response:
    """The units right below one."""
    unit = unit or visit.own_unit() or ""
    found = await organisation.units(visit.request, visit.caller, parent=unit or None, limit=_UNITS)
    levels = {
        one.slug: Word(one.name_en or one.name_zh, one.name_zh)
        for one in visit.caller.tree.levels.values()
    }
    return visit.page(
        "admin_units.html",
        areas=areas(visit),
        unit=unit or None,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        levels=levels,
        more=found.next is not None,
        may_create=bool(unit) and visit.may_at("create_unit", unit),
    )


@router.get("/admin/cadres", operation_id="admin_cadres_page")
async def cadres_page(
    visit: Signed,
    unit: Unit = "",
    role: Short = "",
    text: Annotated[str, Query(max_length=60)] = "",
    after: After = None,
) -> Response:
    """Cadres with a post in a unit at present."""
    role = role if role in ROLES else ""
    text = text.strip()
    found = await accounts.cadres(
        visit.request, visit.caller, unit or None, role or None, text or None, _ROWS, after or None
    )
    return visit.page(
        "admin_cadres.html",
        areas=areas(visit),
        unit=unit or None,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        roles=await roles_of(visit),
        role=role,
        text=text,
        after=after,
        may_hire=visit.may("hire_cadre"),
    )


@router.get("/admin/posts", operation_id="admin_posts_page")
async def posts_page(
    visit: Signed, unit: Unit = "", role: Short = "", ended: Short = "", after: After = None
) -> Response:
    """Posts of a unit at present and to come, or of all times."""
    role = role if role in ROLES else ""
    found = await posts_routes.list_posts(
        visit.request, visit.caller, unit or None, role or None, None, bool(ended), _ROWS,
        after or None,
    )  # fmt: skip
    return visit.page(
        "admin_posts.html",
        areas=areas(visit),
        unit=unit or None,
        path_up=await path_to(visit, unit) if unit else [],
        found=found,
        roles=await roles_of(visit),
        role=role,
        ended=bool(ended),
        after=after,
        now=visit.caller.now,
    )


async def roles_of(visit: Visit) -> dict[str, Word]:
    """What each role is called today."""
    async with visit.state.database.reading() as connection:
        vocabulary = (await current_reference_data(connection)).vocabulary
    labels = vocabulary.labels("role", visit.caller.today)
    return {role: _word(labels.get(role), role) for role in ROLES}


def _word(label: Any, code: str) -> Word:
    return Word(label.en or label.zh, label.zh) if label else Word(code, code)
