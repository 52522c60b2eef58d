"""Setting up one's own second factor: a secret for an authenticator app, then a code of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import Response

from service.identity import otp_routes
from service.identity.otp_routes import OtpCode, OtpStart
from service.kit.errors import (
    INVALID,
    NOT_NOW,
    OTP_NEEDED,
    PASSWORD_EXPIRED,
    SIGN_IN_FAILED,
    TOO_MANY,
    Problem,
)
from service.pages.page import Posted, Signed, Visit, pages_router

router: APIRouter = pages_router()
_SHOWN_IN_FORM = (INVALID, NOT_NOW, OTP_NEEDED, PASSWORD_EXPIRED, SIGN_IN_FAILED, TOO_MANY)


@router.get("/second-factor", operation_id="second_factor_page")
async def second_factor_page(visit: Signed) -> Response:
    """Asks for the password first."""
    return _page(visit)


@router.post("/second-factor", operation_id="begin_second_factor")
async def begin(visit: Posted, password: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Shows the secret, which is good once a code of it was typed."""
    try:
        made = await otp_routes.start(visit.request, visit.caller, OtpStart(password=password))
    except Problem as problem:
        return _refused(visit, problem)
    return _page(visit, secret=made.secret, uri=made.uri)


@router.post("/second-factor/code", operation_id="confirm_second_factor")
async def confirm(
    visit: Posted,
    otp: Annotated[str, Form(max_length=20)] = "",
    secret: Annotated[str, Form(max_length=100, pattern="^[A-Z2-7]*$")] = "",
    uri: Annotated[str, Form(max_length=500, pattern="^(otpauth://.*)?$")] = "",
) -> Response:
    """From now on signing in asks for a code; shows the recovery codes, once."""
    try:
        if len(otp.strip()) < 6 or not otp.isascii():
            raise Problem(INVALID, "A code has six digits; type the one that the app shows.")
        body = OtpCode.model_construct(otp=otp.strip())
        made = await otp_routes.confirm(visit.request, visit.caller, body)
    except Problem as problem:
        return _refused(visit, problem, secret=secret, uri=uri)
    return _page(visit, recovery_codes=made.recovery_codes)


def _refused(visit: Visit, problem: Problem, **values: Any) -> Response:
    if problem.type not in _SHOWN_IN_FORM:
        raise problem
    return _page(visit, problem.type.status, message=problem.detail, **values)


def _page(visit: Visit, status: int = 200, **values: Any) -> Response:
    nothing: dict[str, Any] = {
        "message": None,
        "secret": "",
        "uri": "",
        "recovery_codes": (),
        "is_set_up": visit.caller.has_second_factor,
    }
    return visit.page("second_factor.html", status, **nothing | values)
