"""The SQL of imports: their rows and files, and what each did."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row
from service.kit.sql import NULL_CELL, Copy, copy, copy_field

_IMPORT = (
    "SELECT id::text, at, asked_by, units, options, state, stage, done, total, report, begun_at,"
    " ended_at FROM roster_import"
)
UNFINISHED = ("waiting", "checking", "applying", "undoing")


async def lock_imports(connection: Connection) -> None:
    """Until the transaction ends nobody else asks for an import."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop imports'))")


async def add_import(
    connection: Connection,
    id: str,
    asked_by: str,
    units: Sequence[str],
    options: Sequence[str],
    now: datetime,
) -> None:
    """Keeps that an import was asked for."""
    await connection.execute(
        "INSERT INTO roster_import (id, at, asked_by, units, options, state, stage, done, total)"
        " VALUES ($1, $2, $3, $4, $5, 'waiting', '', 0, 0)",
        id,
        now,
        asked_by,
        list(units),
        list(options),
    )


async def add_part(
    connection: Connection, id: str, number: int, part: int, name: str, body: bytes
) -> None:
    """Keeps a part of a file."""
    await connection.execute(
        "INSERT INTO roster_import_file (import, number, part, name, body)"
        " VALUES ($1, $2, $3, $4, $5)",
        id,
        number,
        part,
        name,
        body,
    )


async def files(connection: Connection, id: str) -> list[Row]:
    """The files of an import, in order: number, name."""
    return await connection.fetch(
        "SELECT number, name FROM roster_import_file WHERE import = $1 AND part = 0"
        " ORDER BY number",
        id,
    )


async def parts(connection: Connection, id: str, number: int) -> list[Row]:
    """The parts of a file, in order."""
    return await connection.fetch(
        "SELECT part, body FROM roster_import_file WHERE import = $1 AND number = $2 ORDER BY part",
        id,
        number,
    )


async def drop_files(connection: Connection, id: str) -> None:
    """The files of an import are no longer needed."""
    await connection.execute("DELETE FROM roster_import_file WHERE import = $1", id)


async def drop_old_files(connection: Connection, before: datetime) -> int:
    """The files of imports that ended before a moment, and were not applied since; how many."""
    status = await connection.execute(
        "DELETE FROM roster_import_file f USING roster_import i"
        " WHERE i.id = f.import AND i.ended_at < $1 AND i.state <> ALL($2::text[])",
        before,
        list(UNFINISHED),
    )
    return int(status.split()[-1])


async def has_files(connection: Connection, id: str) -> bool:
    """Whether the files of an import are still here."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM roster_import_file WHERE import = $1)", id
    )
    return found


async def begin_again(
    connection: Connection, id: str, asked_by: str, options: Sequence[str]
) -> None:
    """An import that wrote nothing is carried out anew, with its own files."""
    await connection.execute(
        "UPDATE roster_import SET state = 'waiting', asked_by = $2, options = $3, report = NULL,"
        " stage = '', done = 0, total = 0, ended_at = NULL WHERE id = $1",
        id,
        asked_by,
        list(options),
    )


async def one_import(connection: Connection, id: str, locked: bool = False) -> Row | None:
    """An import."""
    return await connection.fetchrow(
        f"{_IMPORT} WHERE id = $1{' FOR UPDATE' if locked else ''}", id
    )


async def imports(
    connection: Connection, ranges: Sequence[Range], after: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """Imports for units in these ranges, the newest first."""
    return await connection.fetch(
        f"{_IMPORT} i WHERE NOT EXISTS (SELECT FROM unnest(i.units) AS w(code) WHERE NOT EXISTS"
        " (SELECT FROM unnest($1::text[], $2::text[]) AS t(low, high)"
        " WHERE w.code >= t.low AND w.code < t.high))"
        " AND ($3::timestamptz IS NULL OR (i.at, i.id) < ($3, $4::uuid))"
        " ORDER BY i.at DESC, i.id DESC LIMIT $5",
        *bounds(ranges),
        after and after[0],
        after and after[1],
        limit,
    )


async def unfinished(connection: Connection) -> list[Row]:
    """Imports that have to go on, the oldest first."""
    return await connection.fetch(
        f"{_IMPORT} WHERE state = ANY($1::text[]) ORDER BY at, id", list(UNFINISHED)
    )


async def was_another_at_work(connection: Connection, id: str) -> bool:
    """Whether another import has been carried out since one began, or is being carried out."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM roster_import o JOIN roster_import i ON i.id = $1"
        " WHERE o.id <> i.id AND o.begun_at IS NOT NULL"
        " AND (o.state = ANY($2::text[]) OR o.ended_at >= i.begun_at))",
        id,
        list(UNFINISHED),
    )
    return found


async def set_state(
    connection: Connection, id: str, state: str, now: datetime | None = None
) -> None:
    """An import goes on to another state; with `now` it has begun, or come to its end."""
    await connection.execute(
        "UPDATE roster_import SET state = $2, begun_at = coalesce(begun_at, $3),"
        " ended_at = CASE WHEN $2 = ANY($4::text[]) THEN NULL ELSE $3 END WHERE id = $1",
        id,
        state,
        now,
        list(UNFINISHED),
    )


async def begin_undo(connection: Connection, id: str, report: str) -> None:
    """An import is to be taken back, also what an earlier attempt has left."""
    await connection.execute(
        "UPDATE roster_import SET state = 'undoing', report = $2, ended_at = NULL WHERE id = $1",
        id,
        report,
    )
    await connection.execute("UPDATE import_effect SET left_because = NULL WHERE import = $1", id)


async def set_progress(connection: Connection, id: str, stage: str, done: int, total: int) -> None:
    """How far an import has come."""
    await connection.execute(
        "UPDATE roster_import SET stage = $2, done = $3, total = $4 WHERE id = $1",
        id,
        stage,
        done,
        total,
    )


async def set_report(connection: Connection, id: str, report: str) -> None:
    """Keeps what came of an import."""
    await connection.execute("UPDATE roster_import SET report = $2 WHERE id = $1", id, report)


class Effect(NamedTuple):
    """What an import did; see the table."""

    kind: str
    key: str
    what: str
    grid: str = ""
    rev: int = 0
    body: bytes | None = None


async def add_effects(connection: Connection, id: str, effects: Sequence[Effect]) -> None:
    """Keeps what an import did."""
    lines = "".join(
        f"{id}\t{e.kind}\t{copy_field(e.key)}\t{e.what}\t{e.grid}\t{e.rev}\t"
        f"{NULL_CELL if e.body is None else chr(92) * 2 + 'x' + e.body.hex()}\n"
        for e in effects
    )
    columns = ("import", "kind", "key", "what", "grid", "rev", "body")
    await copy(connection, [Copy("import_effect", columns, lines.encode())])


async def done_already(
    connection: Connection, id: str, kind: str, keys: Collection[str]
) -> set[str]:
    """Those of the keys of a kind to which an import has done something."""
    rows = await connection.fetch(
        "SELECT key FROM import_effect WHERE import = $1 AND kind = $2 AND key = ANY($3::text[])",
        id,
        kind,
        list(keys),
    )
    return {row["key"] for row in rows}


async def effects(
    connection: Connection, id: str, kind: str, after: tuple[str, str], limit: int
) -> list[Row]:
    """What an import did to one kind and was not undone, nor left, in order of grid and key."""
    return await connection.fetch(
        "SELECT kind, key, what, grid, rev, body FROM import_effect WHERE import = $1 AND kind = $2"
        " AND left_because IS NULL AND (grid, key) > ($3, $4) ORDER BY grid, key LIMIT $5",
        id,
        kind,
        *after,
        limit,
    )


async def count_effects(connection: Connection, id: str) -> int:
    """How many things an import did that stand."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM import_effect WHERE import = $1 AND left_because IS NULL", id
    )
    return count


async def undone(connection: Connection, id: str, kind: str, keys: Collection[str]) -> None:
    """What an import did to these is undone."""
    await connection.execute(
        "DELETE FROM import_effect WHERE import = $1 AND kind = $2 AND key = ANY($3::text[])",
        id,
        kind,
        list(keys),
    )


async def follow_restored(
    connection: Connection, id: str, restored: Sequence[tuple[str, str, int, int]]
) -> None:
    """Households are again as they stood in a grid at a revision, at another revision of it now:
    what other imports did to them at the first counts as done at the second.
    """
    await connection.executemany(
        "UPDATE import_effect SET rev = $5 WHERE key = $2 AND kind = 'household' AND import <> $1"
        " AND grid = $3 AND rev = $4",
        [(id, *row) for row in restored],
    )


async def leave(connection: Connection, id: str, kind: str, why: Mapping[str, str]) -> None:
    """What an import did to these stays: why, by key."""
    await connection.execute(
        "UPDATE import_effect e SET left_because = w.why FROM unnest($3::text[], $4::text[]) AS"
        " w(key, why) WHERE e.import = $1 AND e.kind = $2 AND e.key = w.key",
        id,
        kind,
        list(why),
        list(why.values()),
    )


async def left(connection: Connection, id: str, limit: int) -> list[Row]:
    """What was left when an import was undone."""
    return await connection.fetch(
        "SELECT kind, key, grid, body, left_because FROM import_effect WHERE import = $1"
        " AND left_because IS NOT NULL ORDER BY kind, grid, key LIMIT $2",
        id,
        limit,
    )
