"""Passwords of others: a one-time code, a first password, the second factor, sign-ins; and slips
with one-time codes for everybody who has no password yet, `/admin/slips`.
"""

import asyncio
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from service.accounts import routes as accounts
from service.accounts.answers import FirstPassword
from service.accounts.slip_pages import font_here, write_pages
from service.accounts.slips import give_codes, write_slips
from service.audit.audit_log import note
from service.http.temporary_files import PDF, XLSX, answered, file_to_answer
from service.kit.errors import NOT_NOW, Problem
from service.organisation.units import in_scope
from service.pages.areas import areas
from service.pages.cadre_admin import Code, cadre_page, key_of
from service.pages.forms import NOTHING, Typed, carried_out, made
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.units import path_to

router: APIRouter = pages_router()

_DAYS = 14
_MOST_DAYS = 60
_TYPES = {"pdf": PDF, "xlsx": XLSX}
Unit = Annotated[str, Query(max_length=20, pattern=r"^\d*$")]


@router.post("/admin/cadres/{staff_code}/code", operation_id="recovery_code_on_page")
async def recovery_code(visit: Posted, staff_code: Code) -> Response:
    """Gives a one-time code, and shows it once."""

    async def work(typed: Typed) -> Response:
        given = await accounts.make_recovery_code(visit.request, visit.caller, code)
        return await cadre_page(visit, code, given=given)

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, "recovery-code", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.post("/admin/cadres/{staff_code}/password", operation_id="first_password_on_page")
async def first_password(visit: Posted, staff_code: Code) -> Response:
    """Gives a first password, which the cadre changes at the first sign-in."""

    async def work(typed: Typed) -> Response:
        body = made(FirstPassword, password=(typed.fields.get("password") or ("",))[0])
        await accounts.set_password(visit.request, visit.caller, code, body)
        return visit.go(f"/admin/cadres/{code}", done="password")

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, "first-password", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.post("/admin/cadres/{staff_code}/otp", operation_id="reset_otp_on_page")
async def reset_otp(visit: Posted, staff_code: Code) -> Response:
    """Takes a second factor away."""

    async def work(typed: Typed) -> Response:
        await accounts.reset_otp(visit.request, visit.caller, code)
        return visit.go(f"/admin/cadres/{code}", done="otp")

    code = await key_of(visit, staff_code)
    return await carried_out(visit, "otp-reset", work, lambda typed: cadre_page(visit, code, typed))


@router.post("/admin/cadres/{staff_code}/sessions", operation_id="end_sessions_on_page")
async def end_sessions(visit: Posted, staff_code: Code) -> Response:
    """Ends every sign-in of a cadre."""

    async def work(typed: Typed) -> Response:
        await accounts.end_sessions(visit.request, visit.caller, code)
        return visit.go(f"/admin/cadres/{code}", done="sessions")

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, "sessions-end", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.get("/admin/slips", operation_id="slips_page")
async def slips_page(visit: Signed, unit: Unit = "") -> Response:
    """The form for slips."""
    return await _slips_form(visit, unit)


async def _slips_form(visit: Visit, unit: str, typed: Typed = NOTHING) -> Response:
    unit = unit or min(visit.caller.units(), key=len)
    in_scope(visit.caller, unit)
    return visit.page(
        "admin_slips.html",
        areas=areas(visit),
        unit=unit,
        path_up=await path_to(visit, unit),
        days=_DAYS,
        most_days=_MOST_DAYS,
        typed=typed,
    )


@router.post("/admin/slips", operation_id="slips_file")
async def slips_file(
    visit: Posted,
    unit: Annotated[str, Form(max_length=20, pattern=r"^\d+$")],
    kind: Annotated[Literal["pdf", "xlsx"], Form()] = "pdf",
    days: Annotated[int, Form(ge=1, le=_MOST_DAYS)] = _DAYS,
) -> Response:
    """Gives one-time codes, and answers the file with the slips. Earlier codes are void."""

    async def work(typed: Typed) -> Response:
        caller, state = visit.caller, visit.state
        in_scope(caller, unit)
        expires_at = caller.now + timedelta(days=days)
        slips = await give_codes(
            state.database, state.settings, unit, caller.now, expires_at, caller.ranges()
        )
        if not slips:
            raise Problem(NOT_NOW, "Everybody here has a password; no slip is needed.")
        async with state.database.transaction() as connection:
            await note(connection, visit.request, caller, "slips-given", [unit], len(slips))
        async with file_to_answer("slips", f".{kind}") as path:
            if kind == "pdf":
                await asyncio.to_thread(write_pages, path, slips, expires_at, font_here())
            else:
                await asyncio.to_thread(write_slips, path, slips, expires_at)
        name = f"slips-{caller.today.isoformat()}.{kind}"
        return answered(path, _TYPES[kind], name, headers={"Cache-Control": "no-store"})

    return await carried_out(visit, "slips", work, lambda typed: _slips_form(visit, unit, typed))
