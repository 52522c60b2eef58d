"""The SQL of erasures: what is kept of a person beside the mutation log, and how far an erasure has
come."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from service.kit.database import Connection, Row
from service.organisation.trees import read_tree
from sync_protocol.kinds import Kind
from sync_protocol.periods import local_day
from sync_protocol.records import ERASED

# -------------------------------------------------------------------------------------- the erasure


async def erasure(connection: Connection, kind: str, subject: str) -> Row | None:
    """An erasure, under way or done."""
    return await connection.fetchrow(
        "SELECT kind, subject, reason, asked_by, begun_at, completed_at, done, removed"
        " FROM erasure WHERE kind = $1 AND subject = $2",
        kind,
        subject,
    )


async def begin(
    connection: Connection, kind: str, subject: str, reason: str, asked_by: str, now: datetime
) -> None:
    """Begins an erasure, or one more of the same; one that is under way goes on."""
    await connection.execute(
        """
        INSERT INTO erasure AS e (kind, subject, reason, asked_by, begun_at, done, removed)
            VALUES ($1, $2, $3, $4, $5, '[]', '{}')
        ON CONFLICT (kind, subject) DO UPDATE SET done = '[]', completed_at = NULL
            WHERE e.completed_at IS NOT NULL
        """,
        kind,
        subject,
        reason,
        asked_by,
        now,
    )


async def add_removed(
    connection: Connection, kind: str, subject: str, removed: Mapping[str, int]
) -> None:
    """Adds what a part of a step has removed."""
    row = await connection.fetchrow(
        "SELECT removed FROM erasure WHERE kind = $1 AND subject = $2 FOR UPDATE", kind, subject
    )
    assert row is not None
    total = json.loads(row["removed"])
    for what, count in removed.items():
        total[what] = total.get(what, 0) + count
    await connection.execute(
        "UPDATE erasure SET removed = $3::text::jsonb WHERE kind = $1 AND subject = $2",
        kind,
        subject,
        json.dumps(total),
    )


async def keep_step(connection: Connection, kind: str, subject: str, step: str) -> None:
    """Keeps that a step is finished."""
    await connection.execute(
        "UPDATE erasure SET done = done || to_jsonb($3::text) WHERE kind = $1 AND subject = $2",
        kind,
        subject,
        step,
    )


async def complete(connection: Connection, kind: str, subject: str, now: datetime) -> None:
    """Keeps that everything is erased."""
    await connection.execute(
        "UPDATE erasure SET completed_at = $3 WHERE kind = $1 AND subject = $2", kind, subject, now
    )


async def unfinished(connection: Connection) -> list[Row]:
    """Erasures that were interrupted."""
    return await connection.fetch(
        "SELECT kind, subject, reason, asked_by FROM erasure WHERE completed_at IS NULL"
        " ORDER BY begun_at"
    )


# -------------------------------------------------------------------------------------- the records


async def grid_of_household(connection: Connection, id: str) -> str | None:
    """Where a household lies, deleted or not."""
    grid: str | None = await connection.fetchval("SELECT grid FROM household WHERE id = $1", id)
    return grid


async def records_about(connection: Connection, household: str) -> dict[str, list[str]]:
    """The ids of the records of a household, deleted ones included: itself, its visits, the
    problems about it, their steps.

    Visits and problems may lie in any grid, for a household moves: visits are found by an index of
    their own, the problems, of which there are few, are all gone through.
    """
    visits = await connection.fetch(
        "SELECT id::text FROM visit WHERE household_id = $1 ORDER BY id", household
    )
    visit_ids = [row["id"] for row in visits]
    problems = await connection.fetch(
        "SELECT id::text FROM problem WHERE household_id = $1 OR visit_id = ANY($2::uuid[])"
        " ORDER BY id",
        household,
        visit_ids,
    )
    problem_ids = [row["id"] for row in problems]
    steps = await connection.fetch(
        "SELECT id::text FROM step WHERE problem_id = ANY($1::uuid[]) ORDER BY id", problem_ids
    )
    return {
        "household": [household],
        "visit": visit_ids,
        "problem": problem_ids,
        "step": [row["id"] for row in steps],
    }


async def lock_grids(connection: Connection, kind: str, ids: Sequence[str]) -> None:
    """Locks the grids of records, in one order for everybody."""
    await connection.execute(
        f"SELECT FROM counter WHERE grid IN (SELECT grid FROM {kind} WHERE id = ANY($1::uuid[]))"
        " ORDER BY grid FOR NO KEY UPDATE",
        ids,
    )


async def clear_beside(
    connection: Connection, kind: str, rows: Sequence[tuple[str, str | None]]
) -> None:
    """Clears what no mutation clears: the fields of newer apps; `rows`: ids with the clocks that
    stay, see `Record`."""
    await connection.executemany(
        f"UPDATE {kind} SET extra = NULL, clocks = $2::text::jsonb WHERE id = $1", rows
    )


async def clear_deleted(connection: Connection, kind: Kind, ids: Sequence[str]) -> None:
    """Clears deleted records, of which no phone has anything but the tombstone."""
    empty = {
        field.name: f"'{ERASED}'" if field.required else "NULL"
        for field in kind.fields
        if not field.kept
    }
    sets = [f'"{name}" = {value}' for name, value in empty.items()]
    await connection.execute(
        f"UPDATE {kind.name} SET {', '.join(sets)} WHERE id = ANY($1::uuid[]) AND deleted", ids
    )


async def clocks_of(connection: Connection, kind: str, ids: Sequence[str]) -> list[Row]:
    """The clocks of records, whether they have fields of newer apps, and whether they are
    deleted."""
    return await connection.fetch(
        f"SELECT id::text, deleted, extra IS NOT NULL AS has_extra, clocks FROM {kind}"
        " WHERE id = ANY($1::uuid[])",
        ids,
    )


async def receipts_of(connection: Connection, problems: Sequence[str]) -> list[str]:
    """The numbers of the receipts of requests."""
    rows = await connection.fetch(
        "SELECT number FROM receipt WHERE problem = ANY($1::uuid[])", problems
    )
    return [row["number"] for row in rows]


async def conflict_ids(connection: Connection, ids: Sequence[str]) -> list[str]:
    """The ids of the conflicts of records."""
    rows = await connection.fetch(
        "SELECT id::text FROM conflict WHERE record = ANY($1::uuid[])", ids
    )
    return [row["id"] for row in rows]


# -------------------------------------------------------------------------------- answers and seals


async def lock_answers_after(
    connection: Connection, after: tuple[str, str], limit: int
) -> list[Row]:
    """Answers kept for repeated requests, in order, locked."""
    return await connection.fetch(
        "SELECT caller, key, body FROM idempotency WHERE body IS NOT NULL"
        " AND (caller, key) > ($1, $2)"
        " ORDER BY caller, key LIMIT $3 FOR UPDATE",
        *after,
        limit,
    )


async def write_answer(connection: Connection, caller: str, key: str, body: str) -> None:
    """Writes a kept answer back."""
    await connection.execute(
        "UPDATE idempotency SET body = $3 WHERE caller = $1 AND key = $2", caller, key, body
    )


async def seals_naming(connection: Connection, problems: Sequence[str]) -> list[Row]:
    """Sealed summaries that name one of these problems, locked."""
    return await connection.fetch(
        """
        SELECT id::text, summary FROM seal WHERE EXISTS (
            SELECT FROM jsonb_array_elements(summary #> '{decisions,escalated}') AS e
                WHERE e ->> 'id' = ANY($1::text[]))
        ORDER BY id FOR UPDATE
        """,
        problems,
    )


async def write_seal(connection: Connection, id: str, summary: str) -> None:
    """Writes a sealed summary back."""
    await connection.execute("UPDATE seal SET summary = $2::text::jsonb WHERE id = $1", id, summary)


# ------------------------------------------------------------------------------------------ a cadre


async def clear_cadre(
    connection: Connection, staff_code: str, name: str, now: datetime
) -> tuple[int, int]:
    """Clears a cadre's account and ends the posts; how many accounts held anything, how many posts
    ended."""
    accounts = await connection.execute(
        "UPDATE cadre SET name = $2, phone = '', password = NULL, party_member = false,"
        " must_change = false, password_expires_at = NULL, shown_code = NULL"
        " WHERE staff_code = $1 AND (name, phone, party_member, must_change) IS DISTINCT"
        " FROM ($2, '', false, false) OR"
        " staff_code = $1 AND (password IS NOT NULL OR password_expires_at IS NOT NULL"
        " OR shown_code IS NOT NULL)",
        staff_code,
        name,
    )
    await connection.execute("DELETE FROM staff_code_alias WHERE staff_code = $1", staff_code)
    await connection.execute("DELETE FROM party_membership WHERE staff_code = $1", staff_code)
    await connection.execute(
        "UPDATE post SET title = NULL WHERE staff_code = $1 AND title IS NOT NULL", staff_code
    )
    posts = await connection.execute(
        "UPDATE post SET valid_to = $2, end_recorded_at = $2 WHERE staff_code = $1"
        " AND valid_from < $2"
        " AND (valid_to IS NULL OR valid_to > $2)",
        staff_code,
        now,
    )
    await connection.execute(
        "DELETE FROM post WHERE staff_code = $1 AND valid_from >= $2", staff_code, now
    )
    return _count(accounts), _count(posts)


async def is_last_administrator(connection: Connection, staff_code: str, now: datetime) -> bool:
    """Whether a cadre administers a unit at present that nobody else does, there or from above."""
    rows = await connection.fetch(
        "SELECT DISTINCT unit, staff_code = $1 AS own FROM post WHERE role = 'admin'"
        " AND valid_from <= $2 AND (valid_to IS NULL OR valid_to > $2)",
        staff_code,
        now,
    )
    tree, today = await read_tree(connection), local_day(now)
    others = [row["unit"] for row in rows if not row["own"]]
    return any(
        row["own"] and not any(tree.covers(other, row["unit"], today) for other in others)
        for row in rows
    )


async def delete_sign_ins(connection: Connection, staff_code: str) -> dict[str, int]:
    """Deletes what signing in has left, and what it needs."""
    found = {
        "sign-ins": "DELETE FROM refresh_token WHERE staff_code = $1",
        "sessions of browsers": "DELETE FROM page_session WHERE staff_code = $1",
        "second factors": "DELETE FROM second_factor WHERE staff_code = $1",
        "recovery codes": "DELETE FROM one_time_code WHERE staff_code = $1",
        "counted attempts": "DELETE FROM attempt WHERE strpos(lower(' ' || key || ' '), lower(' '"
        " || $1 || ' ')) > 0",
    }
    return {what: _count(await connection.execute(sql, staff_code)) for what, sql in found.items()}


async def clear_devices(connection: Connection, staff_code: str, own: str, now: datetime) -> int:
    """Clears the names of a cadre's devices and revokes them; how many were. `own`: the one of the
    writes over REST, which is no phone."""
    return _count(
        await connection.execute(
            "UPDATE device SET name = '', app_version = '', revoked_at = coalesce(revoked_at, $2)"
            " WHERE staff_code = $1"
            " AND (name <> '' OR app_version <> '' OR revoked_at IS NULL) AND id <> $3",
            staff_code,
            now,
            own,
        )
    )


def _count(status: str) -> int:
    return int(status.split()[-1])


# --------------------------------------------------------------------------------- what still holds


async def phones_of(connection: Connection, grid: str, now: datetime) -> int:
    """How many phones, not revoked, of cadres with a post for a grid have ever synced."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM device d WHERE d.platform <> 'server' AND d.revoked_at IS NULL
            AND d.last_seen IS NOT NULL AND EXISTS (
            SELECT FROM post p WHERE p.staff_code = d.staff_code AND p.valid_from <= $2
                AND (p.valid_to IS NULL OR p.valid_to > $2)
              AND p.unit = ANY($1::text[]))
        """,
        [grid, *(await read_tree(connection)).above(grid, local_day(now)), ""],
        now,
    )
    return count


async def forget_imports(connection: Connection, kind: str, subject: str) -> int:
    """Deletes the keys by which imports know a household, by which its phone is found, and what
    imports keep of it or of a person.
    """
    effects = "DELETE FROM import_effect WHERE kind = $1 AND key = $2"
    gone = 0
    for table in ("import_key", "household_phone") if kind == "household" else ():
        keys = f"DELETE FROM {table} WHERE household = $1::text::uuid"
        gone += int((await connection.execute(keys, subject)).split()[-1])
    return gone + int((await connection.execute(effects, kind, subject)).split()[-1])
