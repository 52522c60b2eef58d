"""`GET /v1/history/{kind}/{id}`: from the mutation log, which keeps everything that anybody wrote."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from service.audit.trail import note
from service.errors import INVALID, NOT_FOUND, READING, Problem, documented
from service.history import queries
from service.identity.access import Signed
from service.identity.masks import sees_contacts, veiled
from service.paging import After, Id, Limit, next_place, read_moment, read_place
from service.state import state_of
from service.vault import Vault
from sync_protocol.clock import stamp_ms
from sync_protocol.messages import showable_json
from sync_protocol.periods import from_ms
from sync_protocol.records import KINDS
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["history"])

KindName = Literal["household", "visit", "problem", "step", "weekly_analysis", "monthly_summary"]


class LostValue(BaseModel):
    """A value that lost to another: both are kept for ever, and under /v1/conflicts."""

    field: str
    kept: Any
    lost: Any
    rule: str


class HistoryEntry(BaseModel):
    """A mutation of the record: the fields that it set, and what of it or before it lost."""

    at: datetime = Field(description="When it was written, by the corrected clock")
    received_at: datetime
    staff_code: str
    name: str
    device: str
    device_name: str
    seq: int
    op: str
    fields: dict[str, Any]
    outcome: str
    rev: int | None
    clock_offset_ms: int
    reason: str | None = Field(None, description="Why it is held, if it is")
    lost: list[LostValue]


class HistoryPage(BaseModel):
    """A page of a record's history in the order in which it came in."""

    items: list[HistoryEntry]
    next: str | None


@router.get("/history/{kind}/{id}", summary="Who changed what", operation_id="record_history", responses=documented(*READING))
async def history(
    request: Request,
    caller: Signed,
    kind: Annotated[KindName, Path()],
    id: Id,
    limit: Limit = 100,
    after: After = None,
) -> HistoryPage:
    """Every mutation of a record, whole, with its author, device and time, and every value that lost."""
    place = _read(after)
    state = state_of(request)
    async with state.database.transaction() as connection:
        grid = await queries.grid_of(connection, kind, id)
        if grid is None or not caller.reaches(grid):
            raise Problem(NOT_FOUND, Text("There is no {kind} {id} in your scope.", kind=KINDS[kind].word, id=id))
        rows = await queries.mutations(connection, kind, id, place, limit + 1)
        await note(connection, request, caller, "history", [f"{kind} {id}"], len(rows[:limit]))
    plain = sees_contacts(caller)
    items = [change(row, kind, state.settings.vault, plain) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return HistoryPage(items=items, next=next_place(f"{last['received_at'].isoformat()} {last['seq']}", last["device"]) if last else None)


def _read(after: str | None) -> tuple[datetime, str, int] | None:
    place = read_place(after)
    if place is None:
        return None
    moment, _, seq = place[0].partition(" ")
    if not (seq.isascii() and seq.isdigit() and len(seq) < 19):
        raise Problem(INVALID, "after is no ‘next’ of a page; leave it out to begin.")
    return read_moment(moment), place[1], int(seq)


def change(row: Any, kind: str, vault: Vault, plain: bool) -> HistoryEntry:
    """A line of the mutation log as it is shown."""
    body = json.loads(showable_json(vault.open_json(row["body"])))
    rest = json.loads(showable_json(vault.open_json(row["verdict"]))) if row["verdict"] else {}
    fields = body.get("fields") or {}
    lost = []
    for item in rest.get("conflicts") or ():
        pair = {
            name: item.get(name) if plain else veiled(kind, {item["field"]: item.get(name)})[item["field"]] for name in ("kept", "lost")
        }
        lost.append(LostValue(field=item["field"], rule=item["rule"], **pair))
    return HistoryEntry(
        at=from_ms(stamp_ms(f"{row['stamp']:016x}")),
        received_at=row["received_at"],
        staff_code=row["staff_code"],
        name=row["name"],
        device=row["device"],
        device_name=row["device_name"],
        seq=row["seq"],
        op=body.get("op", "put"),
        fields=fields if plain else veiled(kind, fields),
        outcome=row["outcome"],
        rev=row["rev"],
        clock_offset_ms=row["offset_ms"],
        reason=rest.get("reason"),
        lost=lost,
    )
