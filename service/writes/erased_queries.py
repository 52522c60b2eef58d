"""The SQL of what is erased of the mutation log, held mutations and conflicts; and which records
were erased."""

from collections.abc import Collection, Sequence
from datetime import datetime

from service.kit.database import Connection, Row

# Where a line of the mutation log stands: device, seq, when it came in.
LineKey = tuple[str, int, datetime]
FIRST_ID = "00000000-0000-0000-0000-000000000000"


async def note_erased(connection: Connection, kind: str, ids: Sequence[str], now: datetime) -> None:
    """Keeps that records were erased, as the revision at which they stand."""
    await connection.execute(
        f"INSERT INTO erased_record AS e (id, kind, grid, rev, at) SELECT id, '{kind}', grid, rev,"
        " $2"
        f" FROM {kind} WHERE id = ANY($1::uuid[])"
        " ON CONFLICT (id, kind) DO UPDATE"
        " SET grid = excluded.grid, rev = excluded.rev, at = excluded.at",
        ids,
        now,
    )


async def erased_among(connection: Connection, kind: str, ids: Sequence[str]) -> set[str]:
    """Those of the records that were erased before."""
    rows = await connection.fetch(
        "SELECT id::text FROM erased_record WHERE kind = $1 AND id = ANY($2::uuid[])", kind, ids
    )
    return {row["id"] for row in rows}


# --------------------------------------------------------------------------------- the mutation log


async def lines_of(connection: Connection, kind: str, ids: Sequence[str]) -> list[Row]:
    """The lines of records, locked, with the bodies of those that hold them themselves."""
    return await connection.fetch(
        "SELECT device::text, seq, received_at, kind, id, grid, outcome, verdict, body"
        " FROM mutation WHERE kind = $1 AND id = ANY($2::text[])"
        " ORDER BY device, received_at, seq FOR NO KEY UPDATE",
        kind,
        ids,
    )


async def lines_of_held(connection: Connection, ids: Collection[str]) -> list[Row]:
    """The lines of held mutations, as they came and as they were tried again, locked."""
    return await connection.fetch(
        """
        SELECT m.device::text, m.seq, m.received_at, m.kind, m.id, m.grid, m.outcome, m.verdict,
               m.body FROM mutation m
        WHERE (m.device, m.seq) IN (SELECT h.device, h.seq FROM held h WHERE h.id = ANY($1::uuid[]))
          AND (m.origin = ANY($1::uuid[])
               OR m.origin IS NULL AND EXISTS
                   (SELECT FROM held h WHERE h.id = ANY($1::uuid[]) AND h.device = m.device
                       AND h.seq = m.seq
                                               AND h.received_at = m.received_at))
        ORDER BY m.device, m.received_at, m.seq FOR NO KEY UPDATE
        """,
        list(ids),
    )


async def lock_blocks_of(connection: Connection, keys: Sequence[LineKey]) -> list[Row]:
    """The blocks with the bodies of these lines, locked."""
    return await connection.fetch(
        """
        SELECT b.device::text, b.received_at, b.first_seq, b.last_seq, b.located, b.body
            FROM mutation_body b
        WHERE (b.device, b.received_at, b.first_seq) IN (
            SELECT x.device, x.received_at, x.first_seq
            FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS k(device, seq, at)
            JOIN mutation_body x ON x.device = k.device AND x.received_at = k.at
                AND k.seq BETWEEN x.first_seq AND x.last_seq)
        ORDER BY b.device, b.received_at, b.first_seq FOR NO KEY UPDATE OF b
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )


async def write_lines(
    connection: Connection, rows: Sequence[tuple[str, int, datetime, str | None, str | None]]
) -> None:
    """Writes verdicts and bodies of lines back; their digests stay, so that a repeated mutation is
    still known."""
    await connection.executemany(
        "UPDATE mutation SET verdict = $4::text::json, body = $5 WHERE device = $1::uuid"
        " AND seq = $2 AND received_at = $3",
        rows,
    )


# ----------------------------------------------------------------------------------- held mutations


_HELD = """
    SELECT id::text, device::text, seq, staff_code, mailbox, kind, record, grid, reason, detail,
           state, received_at, body, original,
           decision
    FROM held
"""


async def lock_held_after(connection: Connection, after: str, limit: int) -> list[Row]:
    """Held mutations, decided or not, in order of id, locked."""
    return await connection.fetch(
        _HELD + " WHERE id > $1::uuid ORDER BY id LIMIT $2 FOR UPDATE", after, limit
    )


async def lock_held_row(connection: Connection, id: str) -> Row | None:
    """One held mutation, locked."""
    return await connection.fetchrow(_HELD + " WHERE id = $1 FOR UPDATE", id)


async def write_erased_held(
    connection: Connection, id: str, body: str, detail: str, decision: str | None
) -> None:
    """Leaves of a held mutation what it was and what became of it."""
    await connection.execute(
        "UPDATE held SET body = $2, detail = $3, decision = $4, original = NULL, size = 500"
        " WHERE id = $1",
        id,
        body,
        detail,
        decision,
    )


async def close_erased_held(
    connection: Connection, id: str, rev: int, by: str, decision: str, now: datetime
) -> None:
    """Discards an open held mutation whose content was erased; its author's phone hears of it."""
    await connection.execute(
        "UPDATE held SET state = 'discarded', decided_by = $3, decision = $4, decided_at = $5, rev"
        " = $2, waits_for = NULL WHERE id = $1",
        id,
        rev,
        by,
        decision,
        now,
    )


# ---------------------------------------------------------------------------------------- conflicts


async def conflicts_of(connection: Connection, kind: str, ids: Sequence[str]) -> list[Row]:
    """The conflicts of records, locked."""
    return await connection.fetch(
        "SELECT id::text, kind, field, record::text, kept, lost, value, note, resolved_at"
        " FROM conflict"
        " WHERE kind = $1 AND record = ANY($2::uuid[]) ORDER BY id FOR UPDATE",
        kind,
        ids,
    )


async def write_erased_conflict(
    connection: Connection, id: str, values: Sequence[str | None], note: str | None
) -> None:
    """Writes the values (kept, lost, value) and the note of a conflict."""
    await connection.execute(
        "UPDATE conflict SET kept = $2::text::json, lost = $3::text::json, value"
        " = $4::text::jsonb, note = $5 WHERE id = $1",
        id,
        *values,
        note,
    )


async def settle_erased_conflict(
    connection: Connection, id: str, by: str, note: str, now: datetime
) -> None:
    """Settles an open conflict whose values were erased: there is nothing left to choose."""
    await connection.execute(
        "UPDATE conflict SET choice = 'kept', note = $3, resolved_by = $2, resolved_at = $4"
        " WHERE id = $1 AND resolved_at IS NULL",
        id,
        by,
        note,
        now,
    )
