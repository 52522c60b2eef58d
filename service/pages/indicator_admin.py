"""What is reported of units: `/admin/indicators`, the indicators and the form for one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.identity.rights import REPORTS
from service.indicators import routes as indicators
from service.indicators.answers import NewIndicator
from service.pages import indicators_view as view
from service.pages.admin import roles_of
from service.pages.areas import areas
from service.pages.forms import NOTHING, Typed, carried_out, made, number_of, short_code
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.vocabulary import DONE, may_keep
from sync_protocol.texts import Word

router: APIRouter = pages_router()


@router.get("/admin/indicators", operation_id="admin_indicators_page")
async def indicators_page(
    visit: Signed,
    code: Annotated[str, Query(max_length=40)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The indicators that hold today. `code`: that which stands in the form."""
    return await _page(visit, code, notice=DONE.get(done))


async def _page(visit: Visit, code: str = "", typed: Typed = NOTHING, **told: Any) -> Response:
    found = await indicators.list_indicators(visit.request, visit.to("list_indicators"))
    tree = visit.caller.tree
    roles = await roles_of(visit)
    return visit.page(
        "admin_indicators.html",
        areas=areas(visit),
        items=[(one, view.name_of(one)) for one in found.items],
        chosen=next((one for one in found.items if one.code == code), None),
        each=view.EACH,
        aggregates=view.AGGREGATES,
        levels={
            one.slug: Word(one.name_en or one.name_zh, one.name_zh) for one in tree.levels.values()
        },
        roles=[(role, roles[role]) for role in roles if role in REPORTS],
        role_names=roles,
        amount=view.amount,
        may_write=may_keep(visit, "put_indicator"),
        today=visit.caller.today,
        typed=typed,
        **{"notice": None} | told,
    )


@router.post("/admin/indicators", operation_id="put_indicator_on_page")
async def put_indicator(visit: Posted) -> Response:
    """Writes an indicator from a day on."""

    async def work(typed: Typed) -> Response:
        code = short_code(typed)
        body = made(
            NewIndicator,
            **typed.only("name_zh", "name_en", "measure", "period", "level", "aggregate"),
            reporters=typed.all("reporters"),
            target=number_of(typed, "target"),
            valid_from=typed.day("valid_from"),
            valid_to=typed.day("valid_to"),
        )
        await indicators.put_indicator(visit.request, visit.caller, code, body)
        return visit.go("/admin/indicators", done="written")

    return await carried_out(visit, "indicator-put", work, lambda typed: _page(visit, typed=typed))
