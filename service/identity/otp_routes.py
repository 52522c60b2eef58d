"""One's own second factor: setting it up with an authenticator app, and new recovery codes."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.audit.sign_ins import note_act, note_failure
from service.http.strict import RequestBody
from service.identity import second_factor
from service.identity import second_factor_queries as queries
from service.identity import session_queries as sessions
from service.identity.access import Caller, Signed
from service.identity.account_routes import prove_password
from service.identity.grants import check_code
from service.kit.encryption_queries import cipher_of
from service.kit.errors import (
    INVALID,
    NOT_NOW,
    OTP_NEEDED,
    PASSWORD_EXPIRED,
    SIGN_IN_FAILED,
    SIGNED,
    TOO_MANY,
    Problem,
    documented,
)
from service.kit.state import state_of

router = APIRouter(prefix="/v1/auth/otp", tags=["identity"])


class OtpStart(RequestBody):
    """The password, so that nobody else sets up a second factor."""

    password: str = Field(max_length=200)


class OtpSecret(BaseModel):
    """What the authenticator app needs; show `uri` as a QR code, or let people type the secret."""

    secret: str
    uri: str = Field(examples=["otpauth://totp/gridloop:S1502?secret=…&issuer=gridloop"])


class OtpCode(RequestBody):
    """A code of the authenticator app, or a recovery code where there is one already."""

    otp: str = Field(min_length=6, max_length=20, pattern=r"^[0-9A-Za-z -]+$", examples=["287082"])


class RecoveryCodes(BaseModel):
    """Codes that are good once each in place of one of the app; shown once, to be written down."""

    recovery_codes: list[str]
    ended: int = Field(0, description="Other sign-ins that were ended")


_RESPONSES = documented(
    *SIGNED, SIGN_IN_FAILED, OTP_NEEDED, PASSWORD_EXPIRED, NOT_NOW, TOO_MANY, INVALID
)


@router.post("", summary="Set up a second factor", operation_id="start_otp", responses=_RESPONSES)
async def start(request: Request, caller: Signed, body: OtpStart) -> OtpSecret:
    """Gives a secret for an authenticator app; it counts once a code of it came to
    `/v1/auth/otp/confirmation`.
    """
    state = state_of(request)
    await prove_password(state, request, caller, body.password)
    secret = second_factor.new_secret()
    async with state.database.transaction() as connection:
        cipher = await cipher_of(connection, state.settings)
        kept = cipher.encrypt(second_factor.secret_place(caller.staff_code), secret)
        if not await queries.begin_enrolment(connection, caller.staff_code, kept, caller.now):
            raise Problem(
                NOT_NOW, "There is a second factor already; an administrator can take it away."
            )
        await note_act(connection, request, caller.staff_code, "otp-begun", None, caller.now)
    return OtpSecret(
        secret=secret,
        uri=second_factor.address_of(secret, caller.staff_code, state.settings.issuer),
    )


@router.post(
    "/confirmation",
    summary="Confirm the second factor",
    operation_id="confirm_otp",
    responses=_RESPONSES,
)
async def confirm(request: Request, caller: Signed, body: OtpCode) -> RecoveryCodes:
    """From now on signing in asks for a code. Ends every other sign-in, and gives recovery codes,
    which are shown once.
    """
    state = state_of(request)
    async with state.database.reading() as connection:
        found = await queries.second_factor(connection, caller.staff_code)
    if found is None or found["confirmed_at"] is not None:
        raise Problem(
            NOT_NOW, "There is no second factor to be confirmed; begin at POST /v1/auth/otp."
        )
    await _check(request, caller, body.otp)
    async with state.database.transaction() as connection:
        if not await queries.confirm(connection, caller.staff_code, caller.now):
            raise Problem(NOT_NOW, "The second factor was confirmed, or taken away, just now.")
        made = await second_factor.new_recovery_codes(
            connection, state.settings, caller.staff_code, caller.now
        )
        ended = await sessions.end_sessions(
            connection, caller.staff_code, caller.now, "second-factor", but=caller.session
        )
        await note_act(connection, request, caller.staff_code, "otp-set-up", None, caller.now)
    return RecoveryCodes(recovery_codes=made, ended=ended)


@router.post(
    "/recovery-codes",
    summary="New recovery codes",
    operation_id="renew_otp_codes",
    responses=_RESPONSES,
)
async def renew(request: Request, caller: Signed, body: OtpCode) -> RecoveryCodes:
    """In place of all that there were."""
    state = state_of(request)
    if not caller.has_second_factor:
        raise Problem(NOT_NOW, "There is no second factor; set one up at POST /v1/auth/otp.")
    await _check(request, caller, body.otp)
    async with state.database.transaction() as connection:
        made = await second_factor.new_recovery_codes(
            connection, state.settings, caller.staff_code, caller.now
        )
        await note_act(
            connection, request, caller.staff_code, "otp-codes-renewed", None, caller.now
        )
    return RecoveryCodes(recovery_codes=made)


async def _check(request: Request, caller: Caller, code: str) -> None:
    """Raises `Problem` unless the code is right; a wrong one leaves its line in the trail."""
    state = state_of(request)
    try:
        await check_code(state, caller.staff_code, code, caller.now)
    except Problem:
        await note_failure(state, request, caller.staff_code, "otp-failed", caller.now)
        raise
