"""One's own password: changing it, and choosing another with a one-time code when it is
forgotten.
"""

from fastapi import APIRouter, Request
from pydantic import Field

from service.audit.audit_log import address_of
from service.audit.sign_ins import failures_noted, note_act
from service.http.ids import MadeId
from service.http.strict import RequestBody
from service.identity import queries, staff_codes
from service.identity import second_factor_queries as codes
from service.identity import session_queries as sessions
from service.identity.access import Caller, Signed
from service.identity.attempts import Attempts
from service.identity.grants import origin_of
from service.identity.one_time_codes import Kept, use_code
from service.identity.passwords import RULE, Passwords, refuse_weak
from service.identity.routes import Ended
from service.kit.database import Connection, Row
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import (
    INVALID,
    PASSWORD_EXPIRED,
    SIGN_IN_FAILED,
    SIGNED,
    TOO_MANY,
    UNAVAILABLE,
    Problem,
    documented,
)
from service.kit.settings import Settings
from service.kit.state import State, state_of

router = APIRouter(tags=["identity"])

# What a one-time code for a forgotten password is kept under.
PURPOSE = "password"


class PasswordChange(RequestBody):
    """The password so far, and the new one."""

    password: str = Field(max_length=200)
    new_password: str = Field(max_length=200, description=RULE)


class Recovery(RequestBody):
    """A one-time code, and the new password that it allows to choose."""

    staff_code: str = Field(max_length=80, pattern=r"^[^\x00]*$")
    code: str = Field(
        max_length=20,
        examples=["7K3M9-Q2FXW"],
        description="Good once, until the `expires_at` that came with it",
    )
    new_password: str = Field(max_length=200, description=RULE)
    device_id: MadeId | None = Field(
        None,
        description="Of the phone, if it signed in before",
    )


@router.post(
    "/v1/auth/password",
    summary="Choose another password",
    operation_id="change_password",
    responses=documented(*SIGNED, SIGN_IN_FAILED, PASSWORD_EXPIRED, TOO_MANY, INVALID),
)
async def change_password(request: Request, caller: Signed, body: PasswordChange) -> Ended:
    """Ends every other sign-in of the cadre; this one goes on."""
    state = state_of(request)
    cadre = await prove_password(state, request, caller, body.password)
    async with state.database.reading() as connection:
        known = await known_of(connection, state.settings, caller.staff_code, cadre)
    refuse_weak(body.new_password, known)
    if body.new_password == body.password:
        raise Problem(INVALID, "The new password is the old one; choose another.")
    new = await state.of(Passwords).hash(body.new_password)
    async with state.database.transaction() as connection:
        # First, as everywhere: it locks the account's sign-ins, and two that lock in different
        # orders wait for each other.
        ended = await sessions.end_sessions(
            connection, caller.staff_code, caller.now, "password", but=caller.session
        )
        await queries.set_password(connection, caller.staff_code, new)
        await codes.delete_codes(connection, caller.staff_code, PURPOSE)
        await note_act(connection, request, caller.staff_code, "password-changed", None, caller.now)
    return Ended(ended=ended)


async def prove_password(state: State, request: Request, caller: Caller, password: str) -> Row:
    """The cadre of a caller who knows the password; raises `Problem`."""
    async with state.database.reading() as connection:
        cadre = await queries.cadre(connection, caller.staff_code)
    windows = state.of(Attempts).of_session(caller.session or caller.staff_code)
    noted = failures_noted(state, request, caller.staff_code, "password-refused", caller.now)
    async with noted, state.of(Attempts).counted(windows, caller.now):
        right, _ = await state.of(Passwords).verify(password, cadre["password"] if cadre else None)
        if cadre is None or not right:
            raise Problem(SIGN_IN_FAILED, "The password so far is not right; nothing was changed.")
    if cadre["password_expires_at"] is not None and cadre["password_expires_at"] <= caller.now:
        raise Problem(
            PASSWORD_EXPIRED, "This first password was not changed in time; ask for another."
        )
    return cadre


@router.post(
    "/v1/auth/recover",
    summary="Choose a password with a one-time code",
    operation_id="recover_password",
    responses=documented(SIGN_IN_FAILED, TOO_MANY, INVALID, UNAVAILABLE),
)
async def recover(request: Request, body: Recovery) -> Ended:
    """For a forgotten password: the code comes from the village's secretary or an administrator.
    Ends all sign-ins; sign in anew.
    """
    state = state_of(request)
    now = state.now()
    async with state.database.reading() as connection:
        staff_code = await staff_codes.key_of(connection, body.staff_code)
        origin = await origin_of(connection, staff_code, body.device_id, address_of(request))
        cadre = await queries.cadre(connection, staff_code)
        known = await known_of(connection, state.settings, staff_code, cadre)
    origin = origin._replace(account=f"recovery of {origin.account}")
    refuse_weak(body.new_password, known)
    noted = failures_noted(
        state, request, cadre["staff_code"] if cadre else None, "recovery-failed", now
    )
    async with noted, state.of(Attempts).counted(state.of(Attempts).of_cadre(origin), now):
        new = await state.of(Passwords).hash(body.new_password)
        async with state.database.transaction() as connection:
            await sessions.lock_sign_ins(connection, staff_code)
            if not await use_code(
                connection, state.settings, Kept(staff_code, PURPOSE), body.code, now
            ):
                raise Problem(
                    SIGN_IN_FAILED,
                    "No account has this staff code and one-time code, or its time is over; check"
                    " both, or ask for a new code.",
                )
            await queries.set_password(connection, staff_code, new)
            ended = await sessions.end_sessions(connection, staff_code, now, "password")
            await note_act(connection, request, staff_code, "password-recovered", None, now)
    return Ended(ended=ended)


async def known_of(
    connection: Connection, settings: Settings, staff_code: str, cadre: Row | None
) -> list[str]:
    """What anybody may know of a cadre, and no password may rest on: the staff code first."""
    if cadre is None:
        return [staff_code]
    cipher = await cipher_of(connection, settings)
    codes = await staff_codes.codes_of(connection, cadre["staff_code"])
    return [*codes, cadre["name"], cadre_phone(cipher, cadre)]
