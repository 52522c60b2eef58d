"""Cadres, their phones and passwords: `/v1/cadres`, `/v1/devices`, and what an administrator does
with them.
"""

import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from service.accounts.answers import (
    CadreItem,
    CadrePage,
    DeviceItem,
    DevicePage,
    FirstPassword,
    RecoveryCode,
)
from service.audit.audit_log import note
from service.identity import device_queries, queries, staff_codes
from service.identity import second_factor_queries as codes
from service.identity import session_queries as sessions
from service.identity.access import Caller, Signed
from service.identity.account_routes import PURPOSE, known_of
from service.identity.one_time_codes import Kept, keep_codes, new_code
from service.identity.passwords import Passwords, refuse_weak
from service.identity.people import StaffCode
from service.identity.rights import ADMINISTERS, RECOVERED, SEES_DEVICES, scope
from service.identity.routes import Ended
from service.identity.views import View, mask
from service.kit.database import Connection
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import NOT_ALLOWED, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.field_cipher import FieldCipher
from service.kit.paging import After, Id, Limit, next_place, read_id, read_text
from service.kit.state import state_of
from service.organisation.units import UnitFilter, scope_of
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get(
    "/cadres",
    summary="Cadres of a unit",
    operation_id="list_cadres",
    responses=documented(*READING),
)
async def cadres(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    role: Annotated[
        str | None, Query(pattern=f"^({'|'.join(ROLES)})$", examples=["grid_worker"])
    ] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=60,
            pattern=r"^[^\x00]+$",
            description="Part of the name or staff code",
        ),
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> CadrePage:
    """Those with a post there at present, in order of staff code."""
    units = scope_of(caller, unit)
    place = read_text(after)
    state = state_of(request)
    async with state.database.transaction() as connection:
        rows = await queries.cadres(
            connection, caller.ranges(units), role, text, caller.now, place, limit + 1
        )
        await note(connection, request, caller, "cadres", units, len(rows[:limit]))
        cipher = await cipher_of(connection, state.settings)
    items = [_cadre(cipher, row, caller) for row in rows[:limit]]
    return CadrePage(
        items=items, next=next_place(items[-1].staff_code, "") if len(rows) > limit else None
    )


def _cadre(cipher: FieldCipher, row: Any, caller: Caller) -> CadreItem:
    """As it is listed. To a caller who only supervises the units of the posts the phone is
    masked.
    """
    posts, phone = json.loads(row["posts"]), cadre_phone(cipher, row)
    if not any(caller.view_of(post["unit"]) is View.FULL for post in posts):
        phone = mask("phone", phone)
    return CadreItem(**{**dict(row), "phone": phone, "posts": posts})


@router.put(
    "/cadres/{staff_code}/password",
    summary="Give a first password",
    operation_id="set_password",
    responses=documented(*READING, NOT_NOW),
)
async def set_password(
    request: Request, caller: Signed, staff_code: StaffCode, body: FirstPassword
) -> Ended:
    """Ends the cadre's sign-ins; the first thing that the cadre does with the new password is to
    change it.
    """
    state = state_of(request)
    _refuse_own(caller, staff_code)
    async with state.database.reading() as connection:
        await require_cadre(connection, caller, staff_code)
        known = await known_of(
            connection, state.settings, staff_code, await queries.cadre(connection, staff_code)
        )
    refuse_weak(body.password, known)
    hashed = await state.of(Passwords).hash(body.password)
    expires_at = caller.now + timedelta(hours=state.settings.first_password_hours)
    async with state.database.transaction() as connection:
        await require_cadre(connection, caller, staff_code)
        ended = await sessions.end_sessions(connection, staff_code, caller.now, "password")
        await queries.refuse_erased(connection, staff_code)
        await queries.set_password(connection, staff_code, hashed, expires_at)
        await codes.delete_codes(connection, staff_code, PURPOSE)
        await note(connection, request, caller, "password-set", [staff_code], 1)
        return Ended(ended=ended)


@router.post(
    "/cadres/{staff_code}/recovery-code",
    status_code=201,
    summary="Give a one-time code for a forgotten password",
    operation_id="make_recovery_code",
    responses=documented(*READING, NOT_NOW),
)
async def make_recovery_code(
    request: Request, caller: Signed, staff_code: StaffCode
) -> RecoveryCode:
    """To be read to the cadre, who must be known: with it they choose a password, once, before
    `expires_at`. An older code is void.
    """
    state = state_of(request)
    code = new_code()
    expires_at = caller.now + timedelta(minutes=state.settings.recovery_minutes)
    async with state.database.transaction() as connection:
        await require_recoverable(connection, caller, staff_code)
        await queries.refuse_erased(connection, staff_code)
        await keep_codes(
            connection, state.settings, Kept(staff_code, PURPOSE), [code], caller.now, expires_at
        )
        await note(connection, request, caller, "recovery-code-given", [staff_code], 1)
    return RecoveryCode(code=code, expires_at=expires_at)


async def require_recoverable(connection: Connection, caller: Caller, staff_code: str) -> None:
    """Administrators help everybody in their unit, secretaries those who do field work in their
    village.
    """
    _refuse_own(caller, staff_code)
    administered = caller.ranges(scope(caller.posts, caller.now, ADMINISTERS))
    if await queries.is_cadre_in(connection, staff_code, administered, caller.now):
        return
    await require_cadre(connection, caller, staff_code)
    posts = await queries.posts_of(connection, staff_code)
    present = [
        post for post in posts if post.valid_to is None or post.valid_to > caller.now
    ] or posts
    if any(post.role not in RECOVERED for post in present):
        raise Problem(
            NOT_ALLOWED,
            Text("To ‘{cadre}’ only an administrator may give a code.", cadre=staff_code),
        )


@router.delete(
    "/cadres/{staff_code}/otp",
    summary="Take a second factor away",
    operation_id="reset_otp",
    responses=documented(*READING, NOT_NOW),
)
async def reset_otp(request: Request, caller: Signed, staff_code: StaffCode) -> Ended:
    """For who has lost the phone with the authenticator app and the recovery codes. Ends the
    cadre's sign-ins.
    """
    _refuse_own(caller, staff_code)
    async with state_of(request).database.transaction() as connection:
        await require_cadre(connection, caller, staff_code)
        # First, as everywhere: it locks the account's sign-ins. Rolled back where there is no
        # second factor.
        ended = await sessions.end_sessions(connection, staff_code, caller.now, "second-factor")
        if not await codes.forget_second_factor(connection, staff_code):
            raise Problem(
                NOT_NOW,
                Text("‘{cadre}’ has no second factor; nothing was changed.", cadre=staff_code),
            )
        await note(connection, request, caller, "otp-reset", [staff_code], 1)
        return Ended(ended=ended)


@router.delete(
    "/cadres/{staff_code}/sessions",
    summary="End all sign-ins",
    operation_id="end_sessions",
    responses=documented(*READING),
)
async def end_sessions(request: Request, caller: Signed, staff_code: StaffCode) -> Ended:
    """Every token of the cadre stops being good."""
    async with state_of(request).database.transaction() as connection:
        await require_cadre(connection, caller, staff_code)
        ended = await sessions.end_sessions(connection, staff_code, caller.now, "administrator")
        if ended:
            await note(connection, request, caller, "sessions-ended", [staff_code], ended)
        return Ended(ended=ended)


async def require_cadre(connection: Connection, caller: Caller, staff_code: str) -> None:
    """Raises `Problem` unless all of a cadre's posts lie where the caller has the right of the
    route.
    """
    within = caller.ranges(caller.units())
    if not await queries.is_cadre_in(connection, staff_code, within, caller.now):
        raise Problem(
            NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
        )


def _refuse_own(caller: Caller, staff_code: str) -> None:
    """Whoever has only a stolen token must not get round the password or the second factor."""
    if staff_code == caller.staff_code:
        raise Problem(
            NOT_ALLOWED,
            "Not for your own account: change your password at POST /v1/auth/password, or ask a"
            " colleague.",
        )


@router.get(
    "/devices",
    summary="Phones and what waits on them",
    operation_id="list_devices",
    responses=documented(*READING),
)
async def devices(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str | None, Query(max_length=20, description="Of cadres with a post there or below")
    ] = None,
    staff_code: Annotated[
        str | None, Query(max_length=40, description="Of this cadre", pattern=r"^[^\x00]+$")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> DevicePage:
    """One's own phones and those of the cadres in scope; which of them have handed in everything
    before an upgrade or a transfer.
    """
    units = caller.units_or_none() if unit is None else scope_of(caller, unit)
    own = caller.staff_code if unit is None else ""
    async with state_of(request).database.transaction() as connection:
        if staff_code is not None:
            staff_code = await staff_codes.key_of(connection, staff_code)
        rows = await device_queries.devices(
            connection, caller.ranges(units), caller.now, own, staff_code, read_id(after), limit + 1
        )
        await note(
            connection, request, caller, "devices", units or [caller.staff_code], len(rows[:limit])
        )
    items = [DeviceItem(**dict(row), handed_in=_handed_in(row)) for row in rows[:limit]]
    return DevicePage(items=items, next=next_place("", items[-1].id) if len(rows) > limit else None)


def _handed_in(row: Any) -> str:
    if row["held"]:
        return "needs_you"
    if row["last_seen"] is None:
        return "unknown"
    return "waiting" if row["queued"] else "all"


@router.post(
    "/devices/{id}/revocation",
    summary="Revoke a phone",
    operation_id="revoke_device",
    responses=documented(*READING),
)
async def revoke_device(request: Request, caller: Signed, id: Id) -> DeviceItem:
    """From now on it gets no data; what it still has to hand in is taken, then it is told to delete
    its copy.
    """
    async with state_of(request).database.transaction() as connection:
        row = await device_queries.device_in(
            connection, id, caller.ranges(), caller.now, caller.staff_code
        )
        if row is None:
            shown = caller.ranges(scope(caller.posts, caller.now, SEES_DEVICES))
            if (
                await device_queries.device_in(connection, id, shown, caller.now, caller.staff_code)
                is not None
            ):
                raise Problem(
                    NOT_ALLOWED,
                    "A phone is revoked by an administrator, or by who signed in on it.",
                )
            raise Problem(NOT_FOUND, Text("There is no device {id} in your scope.", id=id))
        if row["revoked_at"] is None:
            await device_queries.revoke_device(connection, id, caller.now)
            await note(connection, request, caller, "device-revoked", [row["staff_code"], id], 1)
        found = await device_queries.device(connection, id)
    return DeviceItem(**dict(found), handed_in=_handed_in(found))
