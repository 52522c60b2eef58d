"""The SQL of the sync: counters, log, held mutations, conflicts, the epoch, the device's row."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from service.database import Connection, Row
from service.identity.queries import posts_of
from service.sync.intake import Author, Flaw, Ready
from service.vault import Vault
from sync_protocol import clock
from sync_protocol.merge import Loss
from sync_protocol.messages import Mutation, Verdict, canonical_json
from sync_protocol.periods import from_ms
from sync_protocol.records import PERSONAL


class LogRow(msgspec.Struct):
    """A line of the mutation log; `grid` is the one whose revision it took."""

    item: Ready
    verdict: Verdict
    body: str
    digest: bytes
    grid: str


class ConflictEntry(msgspec.Struct):
    """A new conflict."""

    id: str
    grid: str
    kind: str
    record: str
    rev: int
    loss: Loss


class HeldEntry(msgspec.Struct):
    """A newly held mutation."""

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


def mailbox_of(staff_code: str) -> str:
    """The feed that carries a cadre's own notices; it is counted like a grid's and no grid is called so."""
    return "@" + staff_code


# ---------------------------------------------------------------------------------------------------- counters


async def lock_counters(connection: Connection, grids: Collection[str]) -> dict[str, int]:
    """Locks the counters of those of the grids that exist, in one order for everybody, and returns their heads."""
    rows = await connection.fetch(
        "SELECT grid, rev FROM counter WHERE grid = ANY($1::text[]) ORDER BY grid FOR NO KEY UPDATE", sorted(grids)
    )
    return {row["grid"]: row["rev"] for row in rows}


async def advance_counters(connection: Connection, taken: Mapping[str, int]) -> None:
    """Moves counters on by the revisions that were taken; their rows are locked."""
    if taken:
        await connection.execute(
            "UPDATE counter SET rev = rev + t.n FROM unnest($1::text[], $2::bigint[]) AS t(grid, n) WHERE counter.grid = t.grid",
            list(taken),
            list(taken.values()),
        )


async def next_in_mailbox(connection: Connection, mailbox: str, count: int) -> int:
    """Takes `count` revisions of a mailbox and returns the first."""
    head: int = await connection.fetchval(
        "INSERT INTO counter AS c (grid, rev) VALUES ($1, $2) ON CONFLICT (grid) DO UPDATE SET rev = c.rev + excluded.rev RETURNING rev",
        mailbox,
        count,
    )
    return head - count + 1


# ------------------------------------------------------------------------------------------------------ writing


async def write_log(connection: Connection, rows: Sequence[LogRow], now: datetime, vault: Vault) -> None:
    """Keeps every mutation whole, with its outcome."""
    values = [
        (
            row.item.author.device,
            row.item.mutation.seq,
            row.item.author.staff_code,
            _printable(row.item.mutation.kind),
            _printable(row.item.mutation.id),
            _printable(row.grid),
            int(row.item.stamp, 16),
            row.item.author.offset_ms,
            row.digest,
            _sealed_body(row.item.mutation, row.body, vault),
            row.verdict.outcome,
            row.verdict.rev,
            _verdict_rest(row.verdict, row.item.mutation.kind, vault),
            row.item.origin,
        )
        for row in rows
    ]
    await connection.execute(
        """
        INSERT INTO mutation (received_at, device, seq, staff_code, kind, id, grid, stamp, offset_ms, digest, body, outcome, rev,
                              verdict, origin)
        SELECT $1::timestamptz, * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                                 $9::bigint[], $10::bytea[], $11::json[], $12::text[], $13::bigint[], $14::json[], $15::uuid[])
        """,
        now,
        *map(list, zip(*values, strict=True)),
    )


def _printable(text: str) -> str:
    """What a mutation called its kind, id or grid, fit for a text column; the body keeps it as it came."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")[:80]


def _sealed_body(mutation: Mutation, body: str, vault: Vault) -> str:
    """The canonical JSON of a mutation with the personal fields sealed."""
    if mutation.kind not in PERSONAL:
        return body
    whole = mutation.body()
    return canonical_json({**whole, "fields": vault.seal_fields(mutation.kind, mutation.fields)} if "fields" in whole else whole)


def _sealed_value(kind: str, field: str, value: Any, vault: Vault) -> Any:
    return vault.seal_fields(kind, {field: value})[field]


def _verdict_rest(verdict: Verdict, kind: str, vault: Vault) -> str | None:
    if verdict.conflicts is None and verdict.reason is None:
        return None
    conflicts = verdict.conflicts
    if conflicts and kind in PERSONAL:
        conflicts = [
            msgspec.structs.replace(
                item, kept=_sealed_value(kind, item.field, item.kept, vault), lost=_sealed_value(kind, item.field, item.lost, vault)
            )
            for item in conflicts
        ]
    return canonical_json({"conflicts": conflicts, "reason": verdict.reason, "detail": verdict.detail})


async def write_held(connection: Connection, entries: Sequence[HeldEntry], now: datetime, vault: Vault) -> None:
    """Keeps mutations aside, each a notice in its author's mailbox."""
    by_mailbox: dict[str, list[HeldEntry]] = {}
    for entry in entries:
        by_mailbox.setdefault(mailbox_of(entry.item.author.staff_code), []).append(entry)
    for mailbox, some in by_mailbox.items():
        first = await next_in_mailbox(connection, mailbox, len(some))
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
                    _printable(entry.item.mutation.kind),
                    _printable(entry.item.mutation.id),
                    _printable(entry.item.mutation.grid),
                    int(entry.item.stamp, 16),
                    entry.item.author.offset_ms,
                    _sealed_body(entry.item.mutation, canonical_json(entry.item.mutation.body()), vault),
                    entry.flaw.reason,
                    _printable_detail(entry.flaw.detail),
                    entry.flaw.waits_for,
                    now,
                )
                for index, entry in enumerate(some)
            ],
        )


def _printable_detail(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


async def write_conflicts(connection: Connection, entries: Sequence[ConflictEntry], now: datetime, vault: Vault) -> None:
    """Keeps what lost, for ever."""
    await connection.executemany(
        """
        INSERT INTO conflict (id, grid, kind, record, field, rule, rev, kept, kept_by, kept_device, kept_at,
                              lost, lost_by, lost_device, lost_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        """,
        [
            (
                entry.id,
                entry.grid,
                entry.kind,
                entry.record,
                entry.loss.field,
                entry.loss.rule,
                entry.rev,
                canonical_json(_sealed_value(entry.kind, entry.loss.field, entry.loss.kept, vault)),
                entry.loss.kept_clock.by,
                entry.loss.kept_clock.device,
                from_ms(clock.stamp_ms(entry.loss.kept_clock.stamp)),
                canonical_json(_sealed_value(entry.kind, entry.loss.field, entry.loss.lost, vault)),
                entry.loss.lost_clock.by,
                entry.loss.lost_clock.device,
                from_ms(clock.stamp_ms(entry.loss.lost_clock.stamp)),
                now,
            )
            for entry in entries
        ],
    )


async def write_departures(connection: Connection, rows: Sequence[tuple[str, int, str, str]]) -> None:
    """Notes for the feeds of grids which records have left them."""
    await connection.executemany("INSERT INTO departure (grid, rev, kind, id) VALUES ($1, $2, $3, $4)", rows)


# --------------------------------------------------------------------------------------------------------- held

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


async def waiting_for(connection: Connection, ids: Collection[str], vault: Vault) -> list[HeldRow]:
    """The open held mutations that wait for one of these records, in the order in which they were written."""
    rows = await connection.fetch(_HELD + " WHERE waits_for = ANY($1::uuid[]) AND state = 'open' ORDER BY stamp, device, seq", list(ids))
    return [held_row(row, vault) for row in rows]


async def lock_open_of_kinds(connection: Connection, reason: str, kinds: Collection[str], limit: int, vault: Vault) -> list[HeldRow]:
    """Open held mutations of these kinds with that reason, locked, in the order in which they were written."""
    rows = await connection.fetch(
        _HELD
        + " WHERE state = 'open' AND reason = $1 AND kind = ANY($2::text[]) ORDER BY stamp, device, seq LIMIT $3 FOR UPDATE SKIP LOCKED",
        reason,
        list(kinds),
        limit,
    )
    return [held_row(row, vault) for row in rows]


async def lock_held(connection: Connection, held_id: str, vault: Vault) -> HeldRow | None:
    """A held mutation, locked."""
    row = await connection.fetchrow(_HELD + " WHERE id = $1 FOR UPDATE", held_id)
    return held_row(row, vault) if row else None


async def hold_again(connection: Connection, row: HeldRow, verdict: Verdict) -> None:
    """A held mutation was tried and still has a flaw, perhaps another one."""
    rev = await next_in_mailbox(connection, row.mailbox, 1)
    await connection.execute(
        "UPDATE held SET reason = $2, detail = $3, rev = $4 WHERE id = $1", row.id, verdict.reason, verdict.detail, rev
    )


async def close_held(connection: Connection, row: HeldRow, state: str, decided_by: str | None, decision: str | None, now: datetime) -> None:
    """A held mutation was released or discarded; its author's phone hears of it."""
    rev = await next_in_mailbox(connection, row.mailbox, 1)
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
    server = await server_state(connection)
    revoked_at = await connection.fetchval("SELECT revoked_at FROM device WHERE id = $1", row.device)
    return Author(
        device=row.device,
        staff_code=row.staff_code,
        posts=await posts_of(connection, row.staff_code),
        offset_ms=row.offset_ms,
        epoch=str(server["epoch"]),
        revoked_at=revoked_at,
    )


# ----------------------------------------------------------------------------------------------- server, device


async def server_state(connection: Connection) -> Row:
    """The epoch and the cursor key."""
    row = await connection.fetchrow("SELECT epoch, epoch_at, cursor_key FROM server")
    assert row is not None
    return row


async def new_epoch(connection: Connection, current: str) -> str:
    """Takes a new epoch, unless another process just did; returns the one in force."""
    await connection.execute("UPDATE server SET epoch = gen_random_uuid(), epoch_at = now() WHERE epoch = $1::uuid", current)
    return str(await connection.fetchval("SELECT epoch::text FROM server"))


async def lock_device(connection: Connection, device: str) -> Row | None:
    """A device's row, locked for a push (promise 1)."""
    return await connection.fetchrow(
        "SELECT staff_code, acked_seq, last_stamp, revoked_at FROM device WHERE id = $1 FOR NO KEY UPDATE", device
    )


async def add_device(connection: Connection, device: str, staff_code: str, now: datetime) -> None:
    """Makes a device's row where there is none: after a restore, a genuine token proves that there was one."""
    await connection.execute(
        """
        INSERT INTO device (id, staff_code, name, platform, app_version, acked_seq, last_stamp, queued, clock_offset_ms, created_at)
        VALUES ($1, $2, '', '', '', 0, 0, 0, 0, $3) ON CONFLICT (id) DO NOTHING
        """,
        device,
        staff_code,
        now,
    )


async def acknowledge(connection: Connection, device: str, acked: int, stamp: str, offset_ms: int, queued: int, now: datetime) -> None:
    """Moves a device on after a push."""
    await connection.execute(
        "UPDATE device SET acked_seq = $2, last_stamp = $3, clock_offset_ms = $4, queued = $5, last_seen = $6 WHERE id = $1",
        device,
        acked,
        int(stamp, 16),
        offset_ms,
        queued,
        now,
    )


async def seen(connection: Connection, device: str, queued: int, offset_ms: int, now: datetime) -> None:
    """Notes that a device asked without handing in anything."""
    await connection.execute(
        "UPDATE device SET last_seen = $2, queued = $3, clock_offset_ms = $4 WHERE id = $1", device, now, queued, offset_ms
    )


async def first_outcomes(connection: Connection, device: str, first: int, last: int) -> dict[int, Row]:
    """What became of a device's mutations the first time, by seq."""
    rows = await connection.fetch(
        "SELECT seq, digest, outcome, rev, verdict FROM mutation WHERE device = $1 AND seq BETWEEN $2 AND $3 AND origin IS NULL",
        device,
        first,
        last,
    )
    return {row["seq"]: row for row in rows}
