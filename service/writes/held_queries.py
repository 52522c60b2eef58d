"""The SQL of held mutations: kept aside whole, found again, released or discarded."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from service.identity.queries import posts_of
from service.kit.database import Connection, Row
from service.kit.encrypted_values import (
    encrypted_detail,
    encrypted_held_body,
    held_body,
    held_detail,
    mutation_of,
)
from service.kit.errors import HELD_QUOTA, Problem
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.writes import queries
from service.writes.log_queries import held_names
from service.writes.mutations import HoldReason
from service.writes.originals import packed
from service.writes.prepared import Author, PreparedMutation, oldest_stamp
from service.writes.read_set import mailbox_of
from sync_protocol.clock import ZERO
from sync_protocol.kinds import Kind
from sync_protocol.limits import showable
from sync_protocol.messages import Mutation
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


class HeldEntry(msgspec.Struct):
    """A mutation that is held, anew or again. `seen`: the rev up to which its device can have seen
    the record, None if that is unknown.
    """

    id: str
    item: PreparedMutation
    flaw: HoldReason
    seen: int | None = None


class HeldRow(msgspec.Struct):
    """A held mutation as it is kept. One that is not `is_whole` could not be decrypted, and nobody
    can release it until it can.

    `is_copy`: as a normalised copy of what came. `seen`: see `HeldEntry`.
    """

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
    received_at: datetime
    is_whole: bool
    is_copy: bool
    seen: int | None = None


# What a row takes beside the mutation.
_ROW_BYTES = 500


async def write_held(
    connection: Connection,
    entries: Sequence[HeldEntry],
    now: datetime,
    quota_bytes: int,
    cipher: FieldCipher,
) -> None:
    """Keeps mutations aside, each a notice in its author's mailbox; raises `Problem` when a
    device's share of space is used up.
    """
    bodies = {
        entry.id: encrypted_held_body(cipher, entry.id, entry.item.mutation) for entry in entries
    }
    kept: dict[str, tuple[bytes | None, int]] = {}
    for entry in entries:
        came = entry.item.parsed.original
        original = None if came is None else packed(entry.id, came, cipher)
        kept[entry.id] = original, _ROW_BYTES + len(bodies[entry.id]) + len(original or b"")
    await _refuse_too_much(
        connection, entries, {id: size for id, (_, size) in kept.items()}, quota_bytes
    )
    by_mailbox: dict[str, list[HeldEntry]] = {}
    for entry in entries:
        by_mailbox.setdefault(mailbox_of(entry.item.author.staff_code), []).append(entry)
    for mailbox, some in by_mailbox.items():
        first = await queries.next_in_mailbox(connection, mailbox, len(some))
        await connection.executemany(
            """
            INSERT INTO held (id, device, seq, staff_code, mailbox, rev, kind, record, grid, stamp,
                offset_ms, body, reason, detail,
                              waits_for, waits_for_kind, received_at, original, size, seen, state)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                $19, $20, 'open')
            """,
            [
                (
                    entry.id,
                    entry.item.author.device,
                    entry.item.mutation.seq,
                    entry.item.author.staff_code,
                    mailbox,
                    first + index,
                    *held_names(entry.item.mutation),
                    int(entry.item.stamp, 16),
                    entry.item.author.offset_ms,
                    bodies[entry.id],
                    entry.flaw.reason,
                    encrypted_detail(cipher, entry.id, showable(entry.flaw.detail)),
                    entry.flaw.waits_for,
                    entry.flaw.waits_for_kind,
                    now,
                    *kept[entry.id],
                    entry.seen,
                )
                for index, entry in enumerate(some)
            ],
        )


async def _refuse_too_much(
    connection: Connection, entries: Sequence[HeldEntry], sizes: Mapping[str, int], quota: int
) -> None:
    coming: dict[str, int] = {}
    for entry in entries:
        coming[entry.item.author.device] = coming.get(entry.item.author.device, 0) + sizes[entry.id]
    rows = await connection.fetch(
        "SELECT device::text, sum(size)::bigint AS size FROM held WHERE state = 'open'"
        " AND device = ANY($1::uuid[]) GROUP BY device",
        list(coming),
    )
    there = {row["device"]: row["size"] for row in rows}
    for device, size in coming.items():
        if there.get(device, 0) + size > quota:
            raise Problem(
                HELD_QUOTA,
                Text(
                    "Of this device {held} bytes of mutations are held already and these would be"
                    " {size} more; {quota} may be."
                    " Nothing of this request was taken in, and the phone keeps it. Have the held"
                    " mutations of the device decided"
                    " (GET /v1/held), or send fewer at a time, then send again.",
                    held=there.get(device, 0),
                    size=size,
                    quota=quota,
                ),
                {"Retry-After": "3600"},
                held_bytes=there.get(device, 0),
                limit=quota,
            )


_HELD = """
    SELECT id::text, device::text, seq, staff_code, mailbox, kind, record, grid, stamp, offset_ms,
           body, reason, detail, state, received_at,
           original IS NOT NULL AS is_copy, seen
    FROM held
"""


def held_row(row: Row, cipher: FieldCipher) -> HeldRow:
    """A row of `held`, with the mutation read back from its body."""
    body = held_body(cipher, row["id"], row["body"], row["kind"], row["record"], row["grid"])
    return HeldRow(
        row["id"],
        row["device"],
        row["seq"],
        row["staff_code"],
        row["mailbox"],
        row["grid"],
        f"{row['stamp']:016x}",
        row["offset_ms"],
        mutation_of(body.text, row["seq"]),
        row["reason"],
        held_detail(cipher, row["id"], row["detail"]),
        row["state"],
        row["received_at"],
        body.is_whole,
        row["is_copy"],
        row["seen"],
    )


class Search(msgspec.Struct):
    """A search for held mutations to release: at most `limit` at once. `passed_over`: those found
    so far that cannot be decrypted.
    """

    limit: int | None = None
    passed_over: set[str] = msgspec.field(default_factory=set)


async def _lock_open(
    connection: Connection, cipher: FieldCipher, search: Search, condition: str, *values: object
) -> list[HeldRow]:
    """Open held mutations under a condition on $3 and on, locked, in the order in which they were
    written.

    About those that somebody else has locked a person is deciding just now.
    """
    while True:
        rows = await connection.fetch(
            f"{_HELD} WHERE state = 'open' AND id <> ALL($2::uuid[]) AND ({condition})"
            " ORDER BY stamp, device, seq LIMIT $1"
            " FOR UPDATE SKIP LOCKED",
            search.limit,
            list(search.passed_over),
            *values,
        )
        found = [held_row(row, cipher) for row in rows]
        whole = [row for row in found if row.is_whole]
        if whole or not found:
            return whole
        search.passed_over.update(row.id for row in found)


async def lock_waiting_for(
    connection: Connection, ids: Collection[str], cipher: FieldCipher
) -> list[HeldRow]:
    """The open held mutations that wait for one of these records, locked."""
    return await _lock_open(connection, cipher, Search(), "waits_for = ANY($3::uuid[])", list(ids))


def _is_there(kind: Kind) -> str:
    """Whether there is what a held mutation waits for: a record of this kind."""
    return (
        f"waits_for_kind = '{kind.name}' AND EXISTS (SELECT FROM {kind.name} WHERE id = waits_for)"
    )


def _is_there_v1(kind: Kind) -> str:
    """The same for one of this kind that a process of the previous release held: its body says what
    it waits for.
    """
    ways = [("record = waits_for::text", kind.name)]
    ways += [
        (f"body -> 'fields' ->> '{field}' = waits_for::text", refers)
        for field, refers in kind.references
    ]
    found = (
        f"{names} AND EXISTS (SELECT FROM {table} WHERE id = waits_for)" for names, table in ways
    )
    return (
        f"waits_for_kind IS NULL AND json_typeof(body) = 'object' AND kind = '{kind.name}'"
        f" AND ({' OR '.join(found)})"
    )


_WAYS = [*map(_is_there, KINDS.values()), *map(_is_there_v1, KINDS.values())]
_OVERDUE = f"waits_for IS NOT NULL AND ({' OR '.join(_WAYS)})"


async def lock_overdue(
    connection: Connection, search: Search, cipher: FieldCipher
) -> list[HeldRow]:
    """Open held mutations that wait for a record which is here, locked."""
    return await _lock_open(connection, cipher, search, _OVERDUE)


async def lock_open_of_kinds(
    connection: Connection, reason: str, kinds: Collection[str], search: Search, cipher: FieldCipher
) -> list[HeldRow]:
    """Open held mutations of these kinds with that reason, locked."""
    return await _lock_open(
        connection, cipher, search, "reason = $3 AND kind = ANY($4::text[])", reason, list(kinds)
    )


async def lock_held(connection: Connection, held_id: str, cipher: FieldCipher) -> HeldRow | None:
    """A held mutation, locked."""
    row = await connection.fetchrow(_HELD + " WHERE id = $1 FOR UPDATE", held_id)
    return held_row(row, cipher) if row else None


async def hold_again(
    connection: Connection, entries: Sequence[HeldEntry], cipher: FieldCipher
) -> None:
    """Held mutations were tried and still have a flaw, perhaps another one; from now on they wait
    for what would mend that.
    """
    for entry in entries:
        mailbox = await connection.fetchval("SELECT mailbox FROM held WHERE id = $1", entry.id)
        rev = await queries.next_in_mailbox(connection, mailbox, 1)
        await connection.execute(
            "UPDATE held SET reason = $2, detail = $3, waits_for = $4, waits_for_kind = $5, rev"
            " = $6 WHERE id = $1",
            entry.id,
            entry.flaw.reason,
            encrypted_detail(cipher, entry.id, showable(entry.flaw.detail)),
            entry.flaw.waits_for,
            entry.flaw.waits_for_kind,
            rev,
        )


async def waiting_move(connection: Connection, device: str, record: str, to: str) -> Row | None:
    """What a device has asked for and waits: that a record moves to a grid; its id and why it is
    held.
    """
    return await connection.fetchrow(
        "SELECT id::text, detail FROM held WHERE device = $1::uuid AND state = 'open'"
        " AND record = $2 AND grid = $3 AND reason = 'needs-acceptance'"
        " ORDER BY received_at LIMIT 1",
        device,
        record,
        to,
    )


async def close_held(
    connection: Connection,
    row: HeldRow,
    state: str,
    decided_by: str | None,
    decision: str | None,
    now: datetime,
) -> None:
    """A held mutation was released or discarded; its author's phone hears of it."""
    rev = await queries.next_in_mailbox(connection, row.mailbox, 1)
    await connection.execute(
        "UPDATE held SET state = $2, decided_by = $3, decision = $4, decided_at = $5, rev = $6"
        " WHERE id = $1",
        row.id,
        state,
        decided_by,
        decision,
        now,
        rev,
    )


async def author_of(connection: Connection, row: HeldRow, settings: Settings) -> Author:
    """The author of a held mutation, with the posts that the cadre has or had."""
    server = await queries.server_state(connection)
    device = await connection.fetchrow(
        "SELECT revoked_at, created_at FROM device WHERE id = $1", row.device
    )
    return Author(
        device=row.device,
        staff_code=row.staff_code,
        posts=await posts_of(connection, row.staff_code),
        offset_ms=row.offset_ms,
        epoch=str(server["epoch"]),
        revoked_at=device["revoked_at"] if device else None,
        registered_at=device["created_at"] if device else None,
        oldest_stamp=oldest_stamp(device["created_at"], settings) if device else ZERO,
    )
