"""The SQL of imports: their rows, files and effects; what their rows are compared with; the keys of
households.
"""

import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from service.imports.checking import Change, Post
from service.imports.keys import StoredKey
from service.imports.units import WITHIN, Unit, spans_of, unit_of
from service.kit.database import Connection, Database, Row
from service.kit.encrypted_values import encrypted_phone
from service.kit.encryption import FieldCipher
from service.kit.sql import NULL_CELL, Copy, array, copy, copy_field, text_array
from service.organisation.trees import current_tree
from sync_protocol.ids import NAMESPACE

# ----------------------------------------------------------------------------------------- imports

_IMPORT = (
    "SELECT id::text, at, asked_by, units, options, state, stage, done, total, report, begun_at,"
    " ended_at FROM roster_import"
)
UNFINISHED = ("waiting", "checking", "applying", "undoing")


@asynccontextmanager
async def alone_with(database: Database, id: str) -> AsyncIterator[bool]:
    """Whether nobody else carries out this import just now; nobody begins to before the end. The
    lock goes with the process, however that ends.
    """
    key = f"gridloop import {id}"
    # Of another pool than that of the work, so that the two never wait for each other.
    async with database.analysing() as connection:
        free: bool = await connection.fetchval(
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key
        )
        try:
            yield free
        finally:
            if free:
                await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", key)


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


async def one_import(connection: Connection, id: str, locked: bool = False) -> Row | None:
    """An import."""
    return await connection.fetchrow(
        f"{_IMPORT} WHERE id = $1{' FOR UPDATE' if locked else ''}", id
    )


async def imports(
    connection: Connection, units: Sequence[str], after: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """Imports for these units and those below, the newest first."""
    return await connection.fetch(
        f"{_IMPORT} i WHERE (SELECT bool_and({WITHIN.format('w.code')}) FROM unnest(i.units) AS"
        " w(code)) AND ($2::timestamptz IS NULL OR (i.at, i.id) < ($2, $3::uuid))"
        " ORDER BY i.at DESC, i.id DESC LIMIT $4",
        spans_of(await current_tree(connection), units),
        after and after[0],
        after and after[1],
        limit,
    )


async def unfinished(connection: Connection) -> list[Row]:
    """Imports that have to go on, the oldest first."""
    return await connection.fetch(
        f"{_IMPORT} WHERE state = ANY($1::text[]) ORDER BY at, id", list(UNFINISHED)
    )


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
    """An import is to be taken back."""
    await connection.execute(
        "UPDATE roster_import SET state = 'undoing', report = $2, ended_at = NULL WHERE id = $1",
        id,
        report,
    )


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


# ------------------------------------------------------------------------------- what is known here


async def all_units(connection: Connection) -> dict[str, Unit]:
    """Every unit, by code."""
    rows = await connection.fetch(
        "SELECT code, level, parent, name, name_mn, kind, party_group FROM unit"
    )
    return {row["code"]: unit_of(row) for row in rows}


async def people(connection: Connection, codes: Collection[str]) -> list[Row]:
    """People by staff code, and whether each was erased."""
    return await connection.fetch(
        "SELECT staff_code, name, phone, party_member, EXISTS (SELECT FROM erasure e WHERE e.kind ="
        " 'cadre' AND e.subject = c.staff_code) AS erased FROM cadre c WHERE staff_code ="
        " ANY($1::text[])",
        list(codes),
    )


async def posts(
    connection: Connection, codes: Collection[str], units: Sequence[str]
) -> dict[str, list[Post]]:
    """The posts of people, and with `units` all that lie in those, by staff code."""
    rows = await connection.fetch(
        "SELECT id::text, staff_code, role, unit, valid_from, valid_to FROM post"
        f" WHERE staff_code = ANY($2::text[]) OR {WITHIN.format('unit')} ORDER BY valid_from, id",
        spans_of(await current_tree(connection), units),
        list(codes),
    )
    found: dict[str, list[Post]] = {}
    for row in rows:
        found.setdefault(row["staff_code"], []).append(Post(*row))
    return found


async def apps(connection: Connection) -> set[str]:
    """The names of the accounts of apps."""
    return {row["id"] for row in await connection.fetch("SELECT id FROM app_client")}


async def by_indexes(
    connection: Connection, scopes: Sequence[str], indexes: Sequence[bytes]
) -> list[tuple[bytes, str]]:
    """The households of keys: blind index and id. `scopes` beside `indexes`."""
    rows = await connection.fetch(
        "SELECT k.blind, k.household::text FROM unnest($1::text[], $2::bytea[]) AS w(scope, blind)"
        " JOIN import_key k USING (scope, blind)",
        list(scopes),
        list(indexes),
    )
    return [(row["blind"], row["household"]) for row in rows]


async def keys_of(connection: Connection, households: Collection[str]) -> list[StoredKey]:
    """All keys of households."""
    rows = await connection.fetch(
        "SELECT scope, blind, household::text, content FROM import_key"
        " WHERE household = ANY($1::uuid[])",
        list(households),
    )
    return [StoredKey(*row) for row in rows]


async def numbered(connection: Connection, households: Collection[str]) -> set[str]:
    """Those of households that have a number in the city."""
    rows = await connection.fetch(
        "SELECT DISTINCT household::text FROM import_key WHERE scope = '#'"
        " AND household = ANY($1::uuid[])",
        list(households),
    )
    return {row["household"] for row in rows}


async def living_in(connection: Connection, unit: str) -> list[str]:
    """The ids of the living households of a unit."""
    rows = await connection.fetch(
        f"SELECT id::text FROM household WHERE {WITHIN.format('grid')} AND NOT deleted",
        spans_of(await current_tree(connection), [unit]),
    )
    return [row["id"] for row in rows]


async def revs_of(
    connection: Connection, households: Collection[str]
) -> dict[str, tuple[str, int]]:
    """Where households stand, and at which revision."""
    rows = await connection.fetch(
        "SELECT id::text, grid, rev FROM household WHERE id = ANY($1::uuid[])", list(households)
    )
    return {row["id"]: (row["grid"], row["rev"]) for row in rows}


async def lock_grids(connection: Connection, grids: Collection[str]) -> None:
    """Locks the counters of grids, in the order of the write path."""
    await connection.execute(
        "SELECT FROM counter WHERE grid = ANY($1::text[]) ORDER BY grid FOR UPDATE", sorted(grids)
    )


async def add_keys(connection: Connection, keys: Sequence[StoredKey]) -> None:
    """Keeps keys; one that is another's by now stays that one's."""
    await connection.execute(
        "INSERT INTO import_key (id, scope, blind, household, content)"
        " SELECT gen_random_uuid(), k.*"
        " FROM unnest($1::text::text[], $2::bytea[], $3::text::uuid[], $4::bytea[]) AS k"
        " ON CONFLICT DO NOTHING",
        text_array(key.scope for key in keys),
        [key.blind for key in keys],
        array(key.household for key in keys),
        [key.content for key in keys],
    )


async def drop_keys(connection: Connection, households: Collection[str]) -> None:
    """Forgets by what households are known again."""
    await connection.execute(
        "DELETE FROM import_key WHERE household = ANY($1::uuid[])", list(households)
    )


# ---------------------------------------------------------------------------------------- exports


async def units_in(connection: Connection, unit: str) -> AsyncIterator[Row]:
    """The units of a unit, in order of code."""
    async for row in connection.cursor(
        "SELECT code, level, parent, name, name_mn, kind, party_group FROM unit"
        f" WHERE {WITHIN.format('code')} ORDER BY code",
        spans_of(await current_tree(connection), [unit]),
    ):
        yield row


async def people_in(connection: Connection, unit: str, now: datetime) -> AsyncIterator[Row]:
    """People with a post in a unit now or later, in order of staff code, with where."""
    async for row in connection.cursor(
        "SELECT c.staff_code, c.name, c.phone, c.party_member, array_agg(DISTINCT p.unit) AS units"
        " FROM cadre c JOIN post p USING (staff_code)"
        f" WHERE {WITHIN.format('p.unit')} AND (p.valid_to IS NULL OR p.valid_to > $2)"
        " GROUP BY c.staff_code ORDER BY c.staff_code",
        spans_of(await current_tree(connection), [unit]),
        now,
    ):
        yield row


async def posts_in(connection: Connection, unit: str, now: datetime) -> AsyncIterator[Row]:
    """The posts in a unit, in order of unit, role and person, of those people who are exported or
    were there before.
    """
    async for row in connection.cursor(
        "SELECT p.staff_code, p.role, p.unit, p.valid_from, p.valid_to FROM post p"
        f" WHERE {WITHIN.format('p.unit')} AND EXISTS (SELECT FROM post q WHERE q.staff_code ="
        f" p.staff_code AND (q.valid_to IS NULL OR q.valid_to > $2) AND {WITHIN.format('q.unit')})"
        " ORDER BY p.unit, p.role, p.staff_code, p.valid_from",
        spans_of(await current_tree(connection), [unit]),
        now,
    ):
        yield row


async def households_in(connection: Connection, unit: str) -> AsyncIterator[Row]:
    """The living households of a unit, in order of grid."""
    async for row in connection.cursor(
        "SELECT id::text, grid, head_name, phone, address, members, coalesce(tags, '{}') AS tags,"
        " contact_member, lead_member, note FROM household"
        f" WHERE {WITHIN.format('grid')} AND NOT deleted ORDER BY grid, id",
        spans_of(await current_tree(connection), [unit]),
    ):
        yield row


# ----------------------------------------------------------------------------------------- effects


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
        "SELECT kind, key, grid, left_because FROM import_effect WHERE import = $1"
        " AND left_because IS NOT NULL ORDER BY kind, grid, key LIMIT $2",
        id,
        limit,
    )


# ------------------------------------------------------------------------- units, people and posts


async def write_units(connection: Connection, changes: Sequence[Change]) -> None:
    """Makes new units, and changes others; a grid gets its counter."""
    new = [change.after for change in changes if change.what == "new"]
    if new:
        columns = zip(*([row[name] for name in Unit._fields] for row in new), strict=True)
        await connection.execute(
            """
            INSERT INTO unit (code, level, parent, name, name_mn, kind, party_group)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                $6::text[], $7::text[])
            """,
            *map(list, columns),
        )
        await connection.execute(
            "INSERT INTO counter (grid, rev) SELECT code, 0 FROM unit WHERE level = 'grid'"
            " AND code = ANY($1::text[]) ON CONFLICT (grid) DO NOTHING",
            [row["code"] for row in new],
        )
    changed = [
        (change.key, *({**change.before, **change.after}[name] for name in _UNIT_VALUES))
        for change in changes
        if change.what == "changed"
    ]
    if changed:
        await connection.executemany(
            "UPDATE unit SET name = $2, name_mn = $3, kind = $4, party_group = $5 WHERE code = $1",
            changed,
        )


_UNIT_VALUES = ("name", "name_mn", "kind", "party_group")


async def write_people(
    connection: Connection, cipher: FieldCipher, changes: Sequence[Change]
) -> None:
    """Makes new people, and changes others."""
    rows = [(change.key, {**change.before, **change.after}) for change in changes]
    await connection.execute(
        """
        INSERT INTO cadre (staff_code, name, phone, party_member, demo)
        SELECT c.*, false FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[]) AS c
        ON CONFLICT (staff_code) DO UPDATE SET name = excluded.name, phone = excluded.phone,
            party_member = excluded.party_member
        """,
        [code for code, _ in rows],
        [values["name"] for _, values in rows],
        [encrypted_phone(cipher, code, values["phone"]) for code, values in rows],
        [values["party_member"] for _, values in rows],
    )


async def write_posts(
    connection: Connection,
    new: Sequence[tuple[Any, ...]],
    ended: Sequence[tuple[Any, ...]],
    now: datetime,
) -> None:
    """Gives new posts (id, staff code, role, unit, from, to), and others another end (id, to)."""
    if new:
        await connection.execute(
            """
            INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to, end_recorded_at)
            SELECT p.*, CASE WHEN p.valid_to IS NOT NULL THEN $7::timestamptz END FROM
                unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                $6::timestamptz[]) AS p(id, staff_code, role, unit, valid_from, valid_to)
            ON CONFLICT (id) DO UPDATE SET valid_to = excluded.valid_to,
                end_recorded_at = excluded.end_recorded_at
            """,
            *map(list, zip(*new, strict=True)),
            now,
        )
    if ended:
        await connection.executemany(
            "UPDATE post SET valid_to = $2, end_recorded_at = CASE WHEN $2::timestamptz IS NULL"
            " THEN NULL ELSE $3::timestamptz END WHERE id = $1",
            [(id, end, now) for id, end in ended],
        )


# --------------------------------------------------------------------------------- undoing of these


async def lock_units(connection: Connection, codes: Collection[str]) -> dict[str, Unit]:
    """Units as they are now, locked."""
    rows = await connection.fetch(
        "SELECT code, level, parent, name, name_mn, kind, party_group FROM unit"
        " WHERE code = ANY($1::text[]) ORDER BY code FOR UPDATE",
        list(codes),
    )
    return {row["code"]: unit_of(row) for row in rows}


async def units_in_use(connection: Connection, codes: Collection[str]) -> set[str]:
    """Those of units under which another lies, where somebody has a post, or records are."""
    rows = await connection.fetch(
        """
        SELECT w.code FROM unnest($1::text[]) AS w(code)
        WHERE EXISTS (SELECT FROM unit c WHERE c.parent = w.code)
            OR EXISTS (SELECT FROM post p WHERE p.unit = w.code)
            OR EXISTS (SELECT FROM household h WHERE h.grid = w.code AND NOT h.deleted)
            OR EXISTS (SELECT FROM visit v WHERE v.grid = w.code)
            OR EXISTS (SELECT FROM problem p WHERE p.grid = w.code)
            OR EXISTS (SELECT FROM weekly_analysis a WHERE a.grid = w.code)
            OR EXISTS (SELECT FROM monthly_summary m WHERE m.grid = w.code)
            OR EXISTS (SELECT FROM app_client a WHERE a.unit = w.code)
        """,
        list(codes),
    )
    return {row["code"] for row in rows}


async def drop_units(connection: Connection, codes: Collection[str]) -> None:
    """Takes units away under which there is nothing. Their counters stay: a revision is never given
    twice.
    """
    await connection.execute("DELETE FROM unit WHERE code = ANY($1::text[])", list(codes))


async def people_in_use(connection: Connection, codes: Collection[str]) -> set[str]:
    """Those of people who have a post or a password, have signed in or written something, or whom a
    household names.
    """
    rows = await connection.fetch(
        """
        SELECT w.code FROM unnest($1::text[]) AS w(code) JOIN cadre c ON c.staff_code = w.code
        WHERE c.password IS NOT NULL
            OR EXISTS (SELECT FROM post p WHERE p.staff_code = w.code)
            OR EXISTS (SELECT FROM device d WHERE d.staff_code = w.code)
            OR EXISTS (SELECT FROM household h WHERE NOT h.deleted
                AND w.code IN (h.contact_member, h.lead_member))
            OR EXISTS (SELECT FROM erasure e WHERE e.kind = 'cadre' AND e.subject = w.code)
        """,
        list(codes),
    )
    return {row["code"] for row in rows}


async def drop_people(connection: Connection, codes: Collection[str]) -> None:
    """Takes people away who have done nothing yet."""
    await connection.execute(
        "DELETE FROM one_time_code WHERE staff_code = ANY($1::text[])", list(codes)
    )
    await connection.execute("DELETE FROM cadre WHERE staff_code = ANY($1::text[])", list(codes))


async def lock_posts(connection: Connection, ids: Collection[str]) -> dict[str, Row]:
    """Posts as they are now, locked; and whether the person has written since the post began."""
    rows = await connection.fetch(
        "SELECT id::text, staff_code, valid_from, valid_to, EXISTS (SELECT FROM device d WHERE"
        " d.staff_code = p.staff_code AND d.acked_seq > 0 AND d.last_seen >= p.valid_from) AS used"
        " FROM post p WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE",
        list(ids),
    )
    return {row["id"]: row for row in rows}


async def drop_posts(connection: Connection, ids: Collection[str]) -> None:
    """Takes posts away that nobody has used."""
    await connection.execute("DELETE FROM post WHERE id = ANY($1::uuid[])", list(ids))


async def households_in_use(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of households that a visit or a problem is about."""
    rows = await connection.fetch(
        "SELECT w.id::text FROM unnest($1::uuid[]) AS w(id) WHERE EXISTS (SELECT FROM visit v WHERE"
        " v.household_id = w.id AND NOT v.deleted) OR EXISTS (SELECT FROM problem p WHERE"
        " p.household_id = w.id AND NOT p.deleted)",
        list(ids),
    )
    return {row["id"] for row in rows}


def post_id(key: str) -> str:
    """The id of a post by what it is made of, see `checking.post_key`; an id as it is."""
    return str(uuid.uuid5(NAMESPACE, key)) if key.startswith("post:") else key
