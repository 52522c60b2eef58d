"""Cadres, their phones and passwords: `/v1/cadres`, `/v1/devices`, and what an administrator does with them."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from service.audit.trail import note
from service.database import Connection
from service.errors import INVALID, NOT_FOUND, READING, Problem, documented
from service.identity import queries
from service.identity.access import Caller, Signed
from service.identity.masks import masked, sees_contacts
from service.identity.routes import Ended, passwords, refuse_weak
from service.paging import After, Id, Limit, next_place, read_id, read_text
from service.state import state_of
from service.units import scope_of
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ROLES

router = APIRouter(prefix="/v1", tags=["accounts"])

StaffCode = Annotated[str, Path(max_length=40, pattern=r"^[^\x00-\x1f]+$", examples=["W150221100201001-1"])]


class PostItem(BaseModel):
    """A post of a cadre."""

    role: str
    unit: str
    unit_name: str | None
    valid_from: datetime
    valid_to: datetime | None


class CadreItem(BaseModel):
    """A cadre with the posts held in the units that were asked for. Without the right to it the phone is masked."""

    staff_code: str
    name: str
    phone: str
    party_member: bool
    posts: list[PostItem]


class CadrePage(BaseModel):
    """A page of cadres in order of staff code."""

    items: list[CadreItem]
    next: str | None


class DeviceItem(BaseModel):
    """A phone. `handed_in`: `all` (nothing waits on it), `waiting`, `needs_you` (held mutations wait for a decision), or `unknown`."""

    id: str
    staff_code: str
    cadre_name: str
    name: str
    platform: str
    app_version: str
    acked_seq: int
    queued: int = Field(description="Mutations that waited on the phone when it was last seen")
    held: int = Field(description="Its mutations that are held")
    handed_in: str
    clock_offset_ms: int
    created_at: datetime
    last_seen: datetime | None
    revoked_at: datetime | None


class DevicePage(BaseModel):
    """A page of phones."""

    items: list[DeviceItem]
    next: str | None


class FirstPassword(BaseModel):
    """A first password, which the cadre must change at the first sign-in."""

    password: str = Field(min_length=8, max_length=200)


class CadreCorrection(BaseModel):
    """What is to be corrected of a cadre; what is left out stays."""

    name: str | None = Field(None, min_length=1, max_length=60, pattern=r"^[^\x00]+$")
    phone: str | None = Field(None, max_length=40, pattern=r"^[^\x00]*$")
    party_member: bool | None = None


@router.get("/cadres", summary="Cadres of a unit", operation_id="list_cadres", responses=documented(*READING))
async def cadres(
    request: Request,
    caller: Signed,
    unit: Annotated[str | None, Query(max_length=20, description="That unit and all below it")] = None,
    role: Annotated[str | None, Query(pattern=f"^({'|'.join(ROLES)})$", examples=["grid_worker"])] = None,
    text: Annotated[
        str | None, Query(min_length=1, max_length=60, pattern=r"^[^\x00]+$", description="Part of the name or staff code")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> CadrePage:
    """Those with a post there at present, in order of staff code."""
    units = scope_of(caller, unit)
    place = read_text(after)
    state = state_of(request)
    async with state.database.transaction() as connection:
        rows = await queries.cadres(connection, units, role, text, caller.now, place, limit + 1)
        await note(connection, request, caller, "cadres", units, len(rows[:limit]))
    plain = sees_contacts(caller)
    items = [_cadre(row, state.settings.vault.open(row["phone"]), plain) for row in rows[:limit]]
    return CadrePage(items=items, next=next_place(items[-1].staff_code, "") if len(rows) > limit else None)


def _cadre(row: Any, phone: str, plain: bool) -> CadreItem:
    shown = phone if plain else masked(phone) or ""
    return CadreItem(**{**dict(row), "phone": shown, "posts": json.loads(row["posts"])})


@router.patch("/cadres/{staff_code}", summary="Correct a cadre", operation_id="correct_cadre", responses=documented(*READING))
async def correct_cadre(request: Request, caller: Signed, staff_code: StaffCode, body: CadreCorrection) -> CadreItem:
    """Name, phone number, membership: what is recorded of a person can be put right."""
    state = state_of(request)
    changes = body.model_dump(exclude_none=True)
    if not changes:
        raise Problem(INVALID, "Nothing is to be corrected; give name, phone or party_member.")
    if "phone" in changes:
        changes["phone"] = state.settings.vault.seal(changes["phone"])
    async with state.database.transaction() as connection:
        await _require(connection, caller, staff_code)
        await queries.correct_cadre(connection, staff_code, changes)
        await note(connection, request, caller, "cadre-corrected", [staff_code], 1)
        row = await queries.cadre_with_posts(connection, staff_code)
    return _cadre(row, state.settings.vault.open(row["phone"]), plain=True)


@router.put("/cadres/{staff_code}/password", summary="Give a first password", operation_id="set_password", responses=documented(*READING))
async def set_password(request: Request, caller: Signed, staff_code: StaffCode, body: FirstPassword) -> Ended:
    """Ends the cadre's sign-ins; the first thing that the cadre does with the new password is to change it."""
    refuse_weak(body.password, staff_code)
    hashed = await run_in_threadpool(passwords.hash, body.password)
    async with state_of(request).database.transaction() as connection:
        await _require(connection, caller, staff_code)
        await queries.set_password(connection, staff_code, hashed, must_change=True)
        await note(connection, request, caller, "password-set", [staff_code], 1)
        return Ended(ended=await queries.end_sessions(connection, staff_code, caller.now))


@router.delete("/cadres/{staff_code}/sessions", summary="End all sign-ins", operation_id="end_sessions", responses=documented(*READING))
async def end_sessions(request: Request, caller: Signed, staff_code: StaffCode) -> Ended:
    """Every token of the cadre stops being good."""
    async with state_of(request).database.transaction() as connection:
        await _require(connection, caller, staff_code)
        await note(connection, request, caller, "sessions-ended", [staff_code], 1)
        return Ended(ended=await queries.end_sessions(connection, staff_code, caller.now))


async def _require(connection: Connection, caller: Caller, staff_code: str) -> None:
    if not await queries.is_cadre_in(connection, staff_code, caller.units()):
        raise Problem(NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code))


@router.get("/devices", summary="Phones and what waits on them", operation_id="list_devices", responses=documented(*READING))
async def devices(
    request: Request,
    caller: Signed,
    unit: Annotated[str | None, Query(max_length=20, description="Of cadres with a post there or below")] = None,
    staff_code: Annotated[str | None, Query(max_length=40, description="Of this cadre", pattern=r"^[^\x00]+$")] = None,
    limit: Limit = 100,
    after: After = None,
) -> DevicePage:
    """One's own phones and those of the cadres in scope; which of them have handed in everything before an upgrade or a transfer."""
    units = caller.units_or_none() if unit is None else scope_of(caller, unit)
    own = caller.staff_code if unit is None else ""
    async with state_of(request).database.reading() as connection:
        rows = await queries.devices(connection, units, own, staff_code, read_id(after), limit + 1)
    items = [DeviceItem(**dict(row), handed_in=_handed_in(row)) for row in rows[:limit]]
    return DevicePage(items=items, next=next_place("", items[-1].id) if len(rows) > limit else None)


def _handed_in(row: Any) -> str:
    if row["held"]:
        return "needs_you"
    if row["last_seen"] is None:
        return "unknown"
    return "waiting" if row["queued"] else "all"


@router.post("/devices/{id}/revocation", summary="Revoke a phone", operation_id="revoke_device", responses=documented(*READING))
async def revoke_device(request: Request, caller: Signed, id: Id) -> DeviceItem:
    """From now on it gets no data; what it still has to hand in is taken, then it is told to delete its copy."""
    async with state_of(request).database.transaction() as connection:
        row = await queries.device_in(connection, id, caller.units_or_none(), caller.staff_code)
        if row is None:
            raise Problem(NOT_FOUND, Text("There is no device {id} in your scope.", id=id))
        await queries.revoke_device(connection, id, caller.now)
        await note(connection, request, caller, "device-revoked", [row["staff_code"]], 1)
        found = await queries.device(connection, id)
    return DeviceItem(**dict(found), handed_in=_handed_in(found))
