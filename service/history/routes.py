"""`GET /v1/history/{kind}/{id}`: from the mutation log, which keeps everything that anybody
wrote.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.history import queries
from service.identity.access import Signed
from service.identity.views import View, redact, redact_value
from service.kit.bounded import PAGE_BYTES, cut
from service.kit.database import Connection, Row
from service.kit.encrypted_values import Body, log_row, verdict_rest
from service.kit.encryption_queries import cipher_of
from service.kit.errors import INVALID, NOT_FOUND, READING, Problem, documented
from service.kit.field_cipher import FieldCipher
from service.kit.paging import After, Id, Limit, next_place, read_moment, read_place
from service.kit.state import state_of
from service.writes.log_queries import read_bodies
from service.writes.merge_rule_texts import shown_rule
from sync_protocol.clock import stamp_ms
from sync_protocol.messages import shown_json
from sync_protocol.periods import from_ms
from sync_protocol.records import KINDS
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["history"])

KindName = Literal[
    "household",
    "visit",
    "problem",
    "step",
    "weekly_analysis",
    "monthly_summary",
    "tie",
    "visit_check",
    "indicator_value",
]


_BODIES_AT_ONCE = 10


class LostValue(BaseModel):
    """A value that lost to another: both are kept for ever, and under /v1/conflicts."""

    field: str
    kept: Any
    lost: Any
    rule: str


class HistoryEntry(BaseModel):
    """A mutation of the record: the fields that it set, and what of it or before it lost.
    `undecryptable`: the server lacks its key.
    """

    at: datetime = Field(description="When it was written, by the corrected clock")
    received_at: datetime
    staff_code: str
    name: str
    device: str
    device_name: str
    seq: int
    op: str
    grid: str = Field(description="The grid in which it was written, or to which it moved")
    former_grid: str | None = Field(
        None, description="The grid that the record was to leave by it, where it moved"
    )
    fields: dict[str, Any]
    outcome: str
    rev: int | None
    clock_offset_ms: int
    reason: str | None = Field(None, description="Why it is held, if it is")
    lost: list[LostValue]
    undecryptable: bool = False
    erased: bool = Field(
        False, description="Whether its fields went with the erasure of a person's data"
    )


class HistoryPage(BaseModel):
    """A page of a record's history in the order in which it came in."""

    items: list[HistoryEntry]
    next: str | None


@router.get(
    "/history/{kind}/{id}",
    summary="Who changed what",
    operation_id="record_history",
    responses=documented(*READING),
)
async def history(
    request: Request,
    caller: Signed,
    kind: Annotated[KindName, Path()],
    id: Id,
    limit: Limit = 100,
    after: After = None,
) -> HistoryPage:
    """Every mutation of a record, whole, with its author, device and time, and every value that
    lost.
    """
    place = _read(after)
    state = state_of(request)
    async with state.database.transaction() as connection:
        grid = await queries.grid_of(connection, kind, id)
        if grid is None or not caller.reaches(grid):
            raise Problem(
                NOT_FOUND,
                Text("There is no {kind} {id} in your scope.", kind=KINDS[kind].word, id=id),
            )
        rows, more = cut(await queries.mutations(connection, kind, id, place, limit + 1), limit)
        cipher = await cipher_of(connection, state.settings)
        bodies = await _bodies(connection, cipher, rows)
        more = more or len(bodies) < len(rows)
        rows = rows[: len(bodies)]
        await note(connection, request, caller, "history", [f"{kind} {id}"], len(rows))
    view = caller.shown_of(grid)
    items = [change(row, body, kind, cipher, view) for row, body in zip(rows, bodies, strict=True)]
    last = rows[-1] if more else None
    return HistoryPage(
        items=items,
        next=next_place(f"{last['received_at'].isoformat()} {last['seq']}", last["device"])
        if last
        else None,
    )


def _read(after: str | None) -> tuple[datetime, str, int] | None:
    place = read_place(after)
    if place is None:
        return None
    moment, _, seq = place[0].partition(" ")
    if not (seq.isascii() and seq.isdigit() and len(seq) < 19):
        raise Problem(INVALID, "after is no ‘next’ of a page; leave it out to begin.")
    return read_moment(moment), place[1], int(seq)


async def _bodies(connection: Connection, cipher: FieldCipher, rows: Sequence[Row]) -> list[Body]:
    """The bodies of the first rows, about as many as a page may hold; at least one."""
    found: list[Body] = []
    size = 0
    for begin in range(0, len(rows), _BODIES_AT_ONCE):
        found += (
            some := await read_bodies(connection, cipher, rows[begin : begin + _BODIES_AT_ONCE])
        )
        size += sum(len(body.text.encode()) for body in some)
        if size > PAGE_BYTES:
            break
    return found


def change(row: Any, stored: Body, kind: str, cipher: FieldCipher, view: View) -> HistoryEntry:
    """A line of the mutation log as a view shows it."""
    body = shown_json(stored.text)
    rest = verdict_rest(
        cipher, kind, log_row(row["device"], row["seq"], row["received_at"]), row["verdict"]
    )
    rest = shown_json(json.dumps(rest))
    fields = body.get("fields") or {}
    lost = []
    for item in rest.get("conflicts") or ():
        pair = {
            name: redact_value(kind, item["field"], item.get(name), view)
            for name in ("kept", "lost")
        }
        lost.append(LostValue(field=item["field"], rule=shown_rule(item["rule"]), **pair))
    former = body.get("base_grid")
    return HistoryEntry(
        at=from_ms(stamp_ms(f"{row['stamp']:016x}")),
        received_at=row["received_at"],
        staff_code=row["staff_code"],
        name=row["name"],
        device=row["device"],
        device_name=row["device_name"],
        seq=row["seq"],
        op=body.get("op", "put"),
        grid=row["grid"],
        former_grid=former if former != row["grid"] else None,
        fields=redact(kind, fields, view),
        outcome=row["outcome"],
        rev=row["rev"],
        clock_offset_ms=row["offset_ms"],
        reason=rest.get("reason"),
        lost=lost,
        undecryptable=not stored.is_whole,
        erased=body.get("erased") is True,
    )
