"""The SQL of held mutations: kept aside whole, found again, released or discarded."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from service.database import Connection, Row
from service.identity.queries import posts_of
from service.sync import queries
from service.sync.intake import Author, Flaw, Ready
from service.sync.look import mailbox_of
from service.sync.queries import printable, sealed_body
from service.vault import Vault
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS, Kind
from sync_protocol.texts import stored


class HeldEntry(msgspec.Struct):
    """A mutation that is held, anew or again."""

    id: str
    item: Ready
    flaw: Flaw


class HeldRow(msgspec.Struct):
    """A held mutation as it is kept."""

    id: str
    device: str
    seq: int
    staff_code: str
    mailbox: str
    grid: str
    stamp: str
    offset_ms: int
    mutation: Mutation
    reason: str
    detail: str
    state: str


async def write_held(connection: Connection, entries: Sequence[HeldEntry], now: datetime, vault: Vault) -> None:
    """Keeps mutations aside, each a notice in its author's mailbox."""
    by_mailbox: dict[str, list[HeldEntry]] = {}
    for entry in entries:
        by_mailbox.setdefault(mailbox_of(entry.item.author.staff_code), []).append(entry)
    for mailbox, some in by_mailbox.items():
        first = await queries.next_in_mailbox(connection, mailbox, len(some))
        await connection.executemany(
            """
            INSERT INTO held (id, device, seq, staff_code, mailbox, rev, kind, record, grid, stamp, offset_ms, body, reason, detail,
                              waits_for, received_at, state)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'open')
            """,
            [
                (
                    entry.id,
                    entry.item.author.device,
                    entry.item.mutation.seq,
                    entry.item.author.staff_code,
                    mailbox,
                    first + index,
                    printable(entry.item.mutation.kind),
                    printable(entry.item.mutation.id),
                    printable(entry.item.mutation.grid),
                    int(entry.item.stamp, 16),
                    entry.item.author.offset_ms,
                    sealed_body(entry.item.mutation, vault).decode(),
                    entry.flaw.reason,
                    _printable_detail(entry.flaw.detail),
                    entry.flaw.waits_for,
                    now,
                )
                for index, entry in enumerate(some)
            ],
        )


def _printable_detail(text: str) -> str:
    return stored(text).encode("utf-8", "replace").decode().replace("\0", "�")


_HELD = """
    SELECT id::text, device::text, seq, staff_code, mailbox, grid, stamp, offset_ms, body, reason, detail, state FROM held
"""


def held_row(row: Row, vault: Vault) -> HeldRow:
    """A row of `held`, with the mutation read back from its body."""
    body = json.loads(vault.open_json(row["body"]))
    mutation = msgspec.convert({**body, "seq": row["seq"]}, Mutation)
    return HeldRow(
        row["id"],
        row["device"],
        row["seq"],
        row["staff_code"],
        row["mailbox"],
        row["grid"],
        f"{row['stamp']:016x}",
        row["offset_ms"],
        mutation,
        row["reason"],
        row["detail"],
        row["state"],
    )


async def _lock_open(connection: Connection, vault: Vault, limit: int | None, condition: str, *values: object) -> list[HeldRow]:
    """Open held mutations under a condition on $2 and on, locked, in the order in which they were written.

    About those that somebody else has locked a person is deciding just now.
    """
    rows = await connection.fetch(
        f"{_HELD} WHERE state = 'open' AND ({condition}) ORDER BY stamp, device, seq LIMIT $1 FOR UPDATE SKIP LOCKED", limit, *values
    )
    return [held_row(row, vault) for row in rows]


async def lock_waiting_for(connection: Connection, ids: Collection[str], vault: Vault) -> list[HeldRow]:
    """The open held mutations that wait for one of these records, locked."""
    return await _lock_open(connection, vault, None, "waits_for = ANY($2::uuid[])", list(ids))


def _is_there(kind: Kind) -> str:
    """Whether there is what a held mutation of this kind waits for: its own record, or that which one of its fields names."""
    ways = [("record = waits_for::text", kind.name)]
    ways += [(f"body -> 'fields' ->> '{field}' = waits_for::text", refers) for field, refers in kind.references]
    found = (f"{names} AND EXISTS (SELECT FROM {table} WHERE id = waits_for)" for names, table in ways)
    return f"kind = '{kind.name}' AND ({' OR '.join(found)})"


_OVERDUE = f"waits_for IS NOT NULL AND ({' OR '.join(map(_is_there, KINDS.values()))})"


async def lock_overdue(connection: Connection, limit: int, vault: Vault) -> list[HeldRow]:
    """Open held mutations that wait for a record which is here, locked."""
    return await _lock_open(connection, vault, limit, _OVERDUE)


async def lock_open_of_kinds(connection: Connection, reason: str, kinds: Collection[str], limit: int, vault: Vault) -> list[HeldRow]:
    """Open held mutations of these kinds with that reason, locked."""
    return await _lock_open(connection, vault, limit, "reason = $2 AND kind = ANY($3::text[])", reason, list(kinds))


async def lock_held(connection: Connection, held_id: str, vault: Vault) -> HeldRow | None:
    """A held mutation, locked."""
    row = await connection.fetchrow(_HELD + " WHERE id = $1 FOR UPDATE", held_id)
    return held_row(row, vault) if row else None


async def hold_again(connection: Connection, entries: Sequence[HeldEntry]) -> None:
    """Held mutations were tried and still have a flaw, perhaps another one; from now on they wait for what would mend that."""
    for entry in entries:
        rev = await queries.next_in_mailbox(connection, mailbox_of(entry.item.author.staff_code), 1)
        await connection.execute(
            "UPDATE held SET reason = $2, detail = $3, waits_for = $4, rev = $5 WHERE id = $1",
            entry.id,
            entry.flaw.reason,
            _printable_detail(entry.flaw.detail),
            entry.flaw.waits_for,
            rev,
        )


async def close_held(connection: Connection, row: HeldRow, state: str, decided_by: str | None, decision: str | None, now: datetime) -> None:
    """A held mutation was released or discarded; its author's phone hears of it."""
    rev = await queries.next_in_mailbox(connection, row.mailbox, 1)
    await connection.execute(
        "UPDATE held SET state = $2, decided_by = $3, decision = $4, decided_at = $5, rev = $6 WHERE id = $1",
        row.id,
        state,
        decided_by,
        decision,
        now,
        rev,
    )


async def author_of(connection: Connection, row: HeldRow) -> Author:
    """The author of a held mutation, with the posts that the cadre has or had."""
    server = await queries.server_state(connection)
    revoked_at = await connection.fetchval("SELECT revoked_at FROM device WHERE id = $1", row.device)
    return Author(
        device=row.device,
        staff_code=row.staff_code,
        posts=await posts_of(connection, row.staff_code),
        offset_ms=row.offset_ms,
        epoch=str(server["epoch"]),
        revoked_at=revoked_at,
    )
