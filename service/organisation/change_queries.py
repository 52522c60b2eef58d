"""The SQL that changes units, and finds what moves with households."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from service.kit.database import Connection, Row
from service.organisation.tree import LevelFacts
from service.writes.moving_queries import UNDER_WAY


async def lock_units(connection: Connection) -> None:
    """Lets one transaction at a time change units: each sees what the one before has done."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop units'))")


async def unit(connection: Connection, code: str) -> Row | None:
    """A unit with its names and days, locked."""
    return await connection.fetchrow(
        "SELECT code, level, parent, name, name_mn, kind, party_group, since, closed, go_live"
        " FROM unit WHERE code = $1 FOR UPDATE",
        code,
    )


async def begin_with(connection: Connection, code: str) -> list[str]:
    """Some of the units whose codes begin with this one."""
    rows = await connection.fetch(
        "SELECT code FROM unit WHERE code >= $1 AND code < $1 || ':' ORDER BY code LIMIT 3", code
    )
    return [row["code"] for row in rows]


async def add_unit(connection: Connection, values: Mapping[str, Any]) -> None:
    """Adds a unit; the counter of a grid with it."""
    names = list(values)
    places = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    await connection.execute(
        f"INSERT INTO unit ({', '.join(names)}) VALUES ({places})", *values.values()
    )
    # A grid has a feed; other units have one where indicators are reported by their level.
    await connection.execute(
        "INSERT INTO counter (grid, rev) SELECT $1, 0 WHERE $2 = 'grid' OR EXISTS ("
        " SELECT FROM vocabulary_term v WHERE v.list = 'indicator'"
        " AND v.attributes ->> 'level' = $2) ON CONFLICT (grid) DO NOTHING",
        values["code"],
        values["level"],
    )


async def set_values(connection: Connection, code: str, values: Mapping[str, Any]) -> None:
    """Sets columns of a unit."""
    names = ", ".join(f"{name} = ${place}" for place, name in enumerate(values, 2))
    await connection.execute(f"UPDATE unit SET {names} WHERE code = $1", code, *values.values())


async def keep_name(
    connection: Connection, code: str, language: str, name: str, until: date
) -> None:
    """Keeps a name that a unit had until a day; of two changes on one day the first counts."""
    await connection.execute(
        """
        INSERT INTO unit_name (unit, language, name, valid_from, valid_to)
        SELECT $1, $2, $3, coalesce((SELECT max(valid_to) FROM unit_name WHERE unit = $1
            AND language = $2), u.since, '0001-01-01'), $4 FROM unit u WHERE u.code = $1
        ON CONFLICT (unit, language, valid_to) DO NOTHING
        """,
        code,
        language,
        name,
        until,
    )


async def set_parent(connection: Connection, code: str, parent: str, day: date) -> None:
    """Puts a unit under a parent from a day on, whatever was planned for that day and later."""
    await connection.execute(
        """
        INSERT INTO unit_parent (unit, parent, valid_from)
        SELECT u.code, u.parent, '0001-01-01' FROM unit u WHERE u.code = $1
            AND NOT EXISTS (SELECT FROM unit_parent p WHERE p.unit = $1)
        """,
        code,
    )
    await connection.execute(
        "DELETE FROM unit_parent WHERE unit = $1 AND valid_from >= $2", code, day
    )
    before = await connection.fetchval(
        "UPDATE unit_parent SET valid_to = CASE WHEN parent = $3 THEN NULL ELSE $2::date END"
        " WHERE unit = $1 AND valid_from = (SELECT max(valid_from) FROM unit_parent"
        " WHERE unit = $1) RETURNING parent",
        code,
        day,
        parent,
    )
    if before != parent:
        await connection.execute(
            "INSERT INTO unit_parent (unit, parent, valid_from) VALUES ($1, $2, $3)",
            code,
            parent,
            day,
        )


async def add_change(
    connection: Connection,
    at: datetime,
    staff_code: str,
    code: str,
    action: str,
    details: Mapping[str, Any],
) -> None:
    """Keeps in the history of a unit what was done."""
    await connection.execute(
        "INSERT INTO unit_change (id, at, staff_code, unit, action, details)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4, $5::jsonb)",
        at,
        staff_code,
        code,
        action,
        json.dumps(details, ensure_ascii=False, default=str),
    )


async def changes(connection: Connection, code: str) -> list[Row]:
    """The history of a unit, the newest first."""
    return await connection.fetch(
        "SELECT at, staff_code, action, details::text FROM unit_change WHERE unit = $1"
        " ORDER BY at DESC, id LIMIT 500",
        code,
    )


async def posts_at(connection: Connection, code: str, now: datetime) -> list[str]:
    """The cadres with a post at a unit at present, or to come."""
    rows = await connection.fetch(
        "SELECT DISTINCT staff_code FROM post WHERE unit = $1"
        " AND (valid_to IS NULL OR valid_to > $2) ORDER BY staff_code",
        code,
        now,
    )
    return [row["staff_code"] for row in rows]


# ----------------------------------------------------------------------------------- what moves


async def households_of(
    connection: Connection, grid: str, only: Sequence[str] | None
) -> list[tuple[str, int]]:
    """The living households of a grid with their revisions, all or some."""
    rows = await connection.fetch(
        "SELECT id::text, rev FROM household WHERE grid = $1 AND NOT deleted"
        " AND ($2::uuid[] IS NULL OR id = ANY($2::uuid[])) ORDER BY id",
        grid,
        None if only is None else list(only),
    )
    return [(row["id"], row["rev"]) for row in rows]


async def problems_about(
    connection: Connection, grid: str, households: Sequence[str] | None
) -> list[tuple[str, int]]:
    """The problems of a grid that have not ended with their revisions: all, or those about some
    households.
    """
    rows = await connection.fetch(
        """
        SELECT p.id::text, p.rev FROM case_file c JOIN problem p ON p.id = c.problem
        LEFT JOIN visit v ON v.id = p.visit_id
        WHERE c.grid = $1 AND c.state = ANY($3::text[]) AND NOT p.deleted
          AND ($2::uuid[] IS NULL OR p.household_id = ANY($2::uuid[])
               OR p.household_id IS NULL AND v.household_id = ANY($2::uuid[]))
        ORDER BY p.id
        """,
        grid,
        None if households is None else list(households),
        UNDER_WAY,
    )
    return [(row["id"], row["rev"]) for row in rows]


async def steps_of(connection: Connection, problems: Sequence[str]) -> list[tuple[str, int]]:
    """The steps of problems with their revisions, in the order in which they are folded."""
    rows = await connection.fetch(
        "SELECT id::text, rev FROM step WHERE problem_id = ANY($1::uuid[]) AND NOT deleted"
        " ORDER BY problem_id, stamp, id",
        list(problems),
    )
    return [(row["id"], row["rev"]) for row in rows]


async def ties_of(connection: Connection, households: Sequence[str]) -> list[tuple[str, int]]:
    """The ties of households with their revisions."""
    rows = await connection.fetch(
        "SELECT id::text, rev FROM tie WHERE household_id = ANY($1::uuid[]) AND NOT deleted"
        " ORDER BY id",
        list(households),
    )
    return [(row["id"], row["rev"]) for row in rows]


async def posts_going_on(connection: Connection, unit: str, now: datetime) -> list[Row]:
    """The posts at a unit that are held now or later, in order of person."""
    return await connection.fetch(
        "SELECT id::text, staff_code, role, valid_to FROM post WHERE unit = $1"
        " AND (valid_to IS NULL OR valid_to > $2) ORDER BY staff_code, role, id",
        unit,
        now,
    )


async def replace_levels(connection: Connection, levels: Sequence[LevelFacts]) -> None:
    """Puts other levels in the place of those that there are."""
    await connection.execute("DELETE FROM level")
    await connection.executemany(
        "INSERT INTO level (slug, position, name_zh, name_en, sees_tags)"
        " VALUES ($1, $2, $3, $4, $5)",
        [tuple(level) for level in levels],
    )
