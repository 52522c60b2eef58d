"""One's own password, and the sign-ins that are under way."""

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import Response

from service.identity import account_routes
from service.identity import routes as identity
from service.identity.account_routes import PasswordChange
from service.kit.errors import INVALID, SIGN_IN_FAILED, TOO_MANY, Problem
from service.pages.page import Posted, Signed, Visit, pages_router

router: APIRouter = pages_router()
_SHOWN_IN_FORM = (INVALID, SIGN_IN_FAILED, TOO_MANY)


@router.get("/password", operation_id="password_page")
async def password_page(visit: Signed, done: str = "") -> Response:
    """Choosing another password, and signing out everywhere."""
    return await _page(visit, is_done=bool(done))


@router.post("/password", operation_id="choose_password")
async def choose_password(
    visit: Posted,
    password: Annotated[str, Form(max_length=200)] = "",
    new_password: Annotated[str, Form(max_length=200)] = "",
    repeated: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Changes it as REST does; every other sign-in ends."""
    try:
        if new_password != repeated:
            raise Problem(INVALID, "The two new passwords differ; type the same one twice.")
        body = PasswordChange(password=password, new_password=new_password)
        await account_routes.change_password(visit.request, visit.caller, body)
    except Problem as problem:
        if problem.type not in _SHOWN_IN_FORM:
            raise
        return await _page(visit, problem=problem)
    return visit.go("/password", done="1")


async def _page(visit: Visit, problem: Problem | None = None, is_done: bool = False) -> Response:
    me = await identity.me(visit.request, visit.to("who_am_i"))
    sessions = await identity.list_own(visit.request, visit.to("list_own_sessions"))
    return visit.page(
        "password.html",
        problem.type.status if problem else 200,
        message=problem.detail if problem else None,
        is_done=is_done,
        me=me,
        sessions=sessions.items,
    )
