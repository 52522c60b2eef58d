"""Apps of the REST API and their secrets: `/admin/apps`, for who administers the whole city."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from service.accounts import app_accounts
from service.accounts.app_accounts import CLIENT_ID, AppSecret, NewApp
from service.pages.areas import areas
from service.pages.cadre_admin import units_near
from service.pages.forms import NOTHING, Typed, carried_out, made
from service.pages.names import names_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.unit_choice import with_unit
from sync_protocol.texts import Text

router: APIRouter = pages_router()

_ROWS = 100
App = Annotated[str, Path(pattern=CLIENT_ID)]

# What an app may do, in the order of the form.
SCOPES: Mapping[str, Text] = {
    "articles:read": Text("Read published articles"),
    "articles:write": Text("Write, publish and withdraw articles"),
    "requests:write": Text("Hand in herders' requests, and ask how they stand"),
    "villages:read": Text("Villages, and whom to call there"),
    "statistics:read": Text("Numbers without personal data"),
}
DONE: Mapping[str, Text] = {
    "ended": Text("The app has ended: its secret and its tokens are void."),
}


@router.get("/admin/apps", operation_id="apps_page")
async def apps_page(
    visit: Signed,
    done: Annotated[str, Query(max_length=40)] = "",
    after: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The apps, and the form for another."""
    return await _page(visit, after=after or None, notice=DONE.get(done))


async def _page(
    visit: Visit, typed: Typed = NOTHING, after: str | None = None, **told: Any
) -> Response:
    caller = visit.to("list_apps")
    found = await app_accounts.list_apps(visit.request, caller, _ROWS, after)
    top = caller.units()[0]
    return visit.page(
        "admin_apps.html",
        areas=areas(visit),
        items=found.items,
        next=found.next,
        after=after,
        names=await names_of(visit, [one.unit for one in found.items]),
        scopes=SCOPES,
        top=top,
        near=await units_near(visit, top),
        typed=typed,
        **{"notice": None, "given": None} | told,
    )


@router.post("/admin/apps", operation_id="create_app_on_page")
async def create_app(visit: Posted) -> Response:
    """Makes an account, and shows its secret once."""

    async def work(typed: Typed) -> Response:
        at = await with_unit(visit, typed, "unit")
        body = made(
            NewApp, **at.only("client_id", "name", "unit"), scopes=sorted({*at.all("scopes")})
        )
        given = await app_accounts.create_app(visit.request, visit.caller, body)
        return await _given(visit, given)

    return await carried_out(visit, "app-create", work, lambda typed: _page(visit, typed))


@router.post("/admin/apps/{client_id}/secret", operation_id="renew_app_secret_on_page")
async def renew_secret(visit: Posted, client_id: App) -> Response:
    """Gives an app another secret, and shows it once."""

    async def work(typed: Typed) -> Response:
        given = await app_accounts.renew_secret(visit.request, visit.caller, client_id)
        return await _given(visit, given)

    return await carried_out(
        visit, f"app-secret {client_id}", work, lambda typed: _page(visit, typed)
    )


@router.post("/admin/apps/{client_id}/end", operation_id="end_app_on_page")
async def end_app(visit: Posted, client_id: App) -> Response:
    """Ends an app's account."""

    async def work(typed: Typed) -> Response:
        await app_accounts.end_app(visit.request, visit.caller, client_id)
        return visit.go("/admin/apps", done="ended")

    return await carried_out(visit, f"app-end {client_id}", work, lambda typed: _page(visit, typed))


async def _given(visit: Visit, given: AppSecret) -> Response:
    return await _page(visit, given=given)
