"""What needs a decision: `/v1/conflicts` and `/v1/held`."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.trail import note
from service.database import Connection, begin_again
from service.errors import ALREADY_DECIDED, NOT_FOUND, READING, Problem, documented
from service.identity.access import Caller, Signed
from service.identity.masks import sees_contacts, veiled
from service.identity.rights import ADMINISTERS, may_settle
from service.inbox import queries
from service.inbox.decide import discard_held, release_held, settle
from service.localization import shown
from service.paging import After, Id, Limit, next_after, read_after
from service.state import state_of
from service.units import scope_of
from service.vault import Vault
from sync_protocol.messages import showable_json
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["inbox"])
Unit = Annotated[str | None, Query(max_length=20, description="That unit and all below it", examples=["150221100"])]


class ConflictOut(BaseModel):
    """A field on which two devices disagreed, with both values, authors, times and devices."""

    id: str
    grid: str
    kind: str
    record: str
    field: str
    rule: str = Field(description="The rule that chose, in words")
    rev: int
    kept: Any
    kept_by: str
    kept_device: str
    kept_at: datetime
    lost: Any
    lost_by: str
    lost_device: str
    lost_at: datetime
    created_at: datetime
    choice: str | None = None
    value: Any = None
    note: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None


class ConflictPage(BaseModel):
    """A page of conflicts."""

    items: list[ConflictOut]
    next: str | None


class HeldOut(BaseModel):
    """A mutation kept aside, whole, with the reason."""

    id: str
    device: str
    seq: int
    staff_code: str
    kind: str
    record: str
    grid: str
    reason: str
    detail: str
    state: str
    received_at: datetime
    mutation: dict[str, Any]
    waits_for: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision: str | None = None


class HeldPage(BaseModel):
    """A page of held mutations."""

    items: list[HeldOut]
    next: str | None


class Resolution(BaseModel):
    """How a conflict is settled."""

    choice: Literal["kept", "lost", "value"] = Field(examples=["lost"])
    value: Any = Field(None, description="With choice `value`: the value to set")
    note: str = Field("", max_length=1000)


class Release(BaseModel):
    """How a held mutation is released: as it is, or with corrected fields."""

    fields: dict[str, Any] | None = None
    note: str = Field("", max_length=1000)


class Discard(BaseModel):
    """Why a held mutation is discarded."""

    reason: str = Field(min_length=1, max_length=1000)


def _units(caller: Caller, unit: str | None) -> list[str]:
    """The units that a list is about; none for a cadre without a post, who still sees the own held mutations."""
    return caller.units_or_none() if unit is None else scope_of(caller, unit)


def _decides(caller: Caller, grid: str) -> bool:
    """Who decides between two values must see them whole."""
    return sees_contacts(caller) or may_settle(caller.posts, grid, caller.now)


def _conflict(row: Any, vault: Vault, caller: Caller) -> ConflictOut:
    values = dict(row)
    for name in ("kept", "lost", "value"):
        value = json.loads(showable_json(vault.open_json(values[name]))) if values[name] is not None else None
        values[name] = value if _decides(caller, row["grid"]) else veiled(row["kind"], {row["field"]: value})[row["field"]]
    return ConflictOut(**values)


def _held(row: Any, vault: Vault, caller: Caller) -> HeldOut:
    values = {**row, "detail": shown(row["detail"])}
    mutation = json.loads(showable_json(vault.open_json(values.pop("body"))))
    own = row["staff_code"] == caller.staff_code
    if not (own or _decides(caller, row["grid"])) and isinstance(mutation.get("fields"), dict):
        mutation["fields"] = veiled(row["kind"], mutation["fields"])
    return HeldOut(mutation=mutation, **values)


@router.get("/conflicts", summary="Fields on which two devices disagreed", operation_id="list_conflicts", responses=documented(*READING))
async def conflicts(
    request: Request,
    caller: Signed,
    unit: Unit = None,
    state: Literal["open", "resolved"] | None = None,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    record: Annotated[str | None, Query(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] = None,
    limit: Limit = 100,
    after: After = None,
) -> ConflictPage:
    """The newest first; what lost is kept for ever."""
    units = _units(caller, unit)
    async with state_of(request).database.transaction() as connection:
        rows = await queries.conflicts(connection, units, state, kind, record, read_after(after), limit + 1)
        await note(connection, request, caller, "conflicts", units, len(rows[:limit]))
    items = [_conflict(row, state_of(request).settings.vault, caller) for row in rows[:limit]]
    return ConflictPage(items=items, next=next_after(items[-1].created_at, items[-1].id) if len(rows) > limit else None)


@router.post(
    "/conflicts/{id}/resolution",
    summary="Settle a conflict",
    operation_id="resolve_conflict",
    responses=documented(*READING, ALREADY_DECIDED),
)
async def resolution(request: Request, caller: Signed, id: Id, body: Resolution) -> ConflictOut:
    """Keeps what was kept, brings back what lost, or sets a new value; reaches all phones as a mutation."""
    state = state_of(request)
    units = caller.units()

    async def decide() -> Any:
        async with state.database.transaction() as connection:
            row = await queries.lock_conflict(connection, id, units)
            if row is None:
                raise Problem(NOT_FOUND, Text("There is no conflict {id} in your scope.", id=id))
            await settle(connection, state.settings, caller, row, body.choice, body.value, body.note)
            return await queries.lock_conflict(connection, id, units)

    return _conflict(await begin_again(decide), state.settings.vault, caller)


@router.get("/held", summary="Mutations kept aside", operation_id="list_held", responses=documented(*READING))
async def held(
    request: Request,
    caller: Signed,
    unit: Unit = None,
    state: Literal["open", "released", "discarded"] | None = "open",
    limit: Limit = 100,
    after: After = None,
) -> HeldPage:
    """Those of the units in scope, and the caller's own; the newest first."""
    units = _units(caller, unit)
    async with state_of(request).database.transaction() as connection:
        rows = await queries.held(connection, units, caller.staff_code, state, read_after(after), limit + 1)
        await note(connection, request, caller, "held", units, len(rows[:limit]))
    items = [_held(row, state_of(request).settings.vault, caller) for row in rows[:limit]]
    return HeldPage(items=items, next=next_after(items[-1].received_at, items[-1].id) if len(rows) > limit else None)


@router.post(
    "/held/{id}/release", summary="Release a held mutation", operation_id="release_held", responses=documented(*READING, ALREADY_DECIDED)
)
async def release(request: Request, caller: Signed, id: Id, body: Release) -> dict[str, Any]:
    """Sends it through the write path again, judged at its original stamp; answers the verdict."""
    state = state_of(request)

    async def decide() -> dict[str, Any]:
        async with state.database.transaction() as connection:
            await _may_decide(connection, caller, id)
            return await release_held(connection, state.settings, caller, id, body.fields, body.note)

    return await begin_again(decide)


@router.post(
    "/held/{id}/discard", summary="Discard a held mutation", operation_id="discard_held", responses=documented(*READING, ALREADY_DECIDED)
)
async def discard(request: Request, caller: Signed, id: Id, body: Discard) -> dict[str, Any]:
    """Decides that it shall not be applied; it stays readable with the reason."""
    state = state_of(request)

    async def decide() -> dict[str, Any]:
        async with state.database.transaction() as connection:
            await _may_decide(connection, caller, id)
            return await discard_held(connection, state.settings, caller, id, body.reason)

    return await begin_again(decide)


async def _may_decide(connection: Connection, caller: Caller, id: str) -> None:
    row = await queries.grid_of_held(connection, id)
    # What names a grid that does not exist is nobody's but an administrator's.
    stray = row is not None and not row["known"] and caller.holds(ADMINISTERS)
    if row is None or not (stray or may_settle(caller.posts, row["grid"], caller.now)):
        raise Problem(NOT_FOUND, Text("There is no held mutation {id} in your scope.", id=id))
