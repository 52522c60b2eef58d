"""The SQL of seals: what closes a week or month, and what it keeps of each grid."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from sync_protocol.periods import Period


async def seal_in_force(
    connection: Connection, code: str, span: str, lock: bool = False
) -> Row | None:
    """The seal of a unit's week or month."""
    return await connection.fetchrow(
        "SELECT id, summary, sealed_by, sealed_at FROM seal WHERE unit = $1 AND span = $2"
        " AND NOT lifted" + (" FOR UPDATE" if lock else ""),
        code,
        span,
    )


async def seals_around(
    connection: Connection, subtree: Subtree, above: Sequence[str], spans: Sequence[str]
) -> list[Row]:
    """The seals in force that touch a unit in some weeks or months, the oldest first: its own with
    the summary, those of the units above it, and those of units below; `is_whole`: the numbers of
    every grid were kept.
    """
    return await connection.fetch(
        f"""
        SELECT s.id, s.unit, s.span, s.sealed_by, s.sealed_at,
               CASE WHEN s.unit = $1 THEN s.summary::text END AS summary,
               EXISTS (SELECT FROM sealed_grid g WHERE g.seal = s.id) AS is_whole
        FROM seal s WHERE s.span = ANY($2::text[]) AND NOT s.lifted
            AND (s.unit = ANY($3::text[]) OR {subtree.under("s.unit")})
        ORDER BY s.sealed_at, s.unit
        """,
        subtree.code,
        list(spans),
        list(above),
    )


async def seals_within(
    connection: Connection, subtree: Subtree, above: Sequence[str], spans: Sequence[str]
) -> list[Row]:
    """The seals in force of some weeks and months that touch a unit: its own, those of units above
    and below it.
    """
    return await connection.fetch(
        f"""
        SELECT s.span AS period, s.unit, s.sealed_by AS by, s.sealed_at AS at
        FROM seal s WHERE s.span = ANY($2::text[]) AND NOT s.lifted
            AND (s.unit = ANY($3::text[]) OR {subtree.under("s.unit")})
        ORDER BY s.span, s.unit
        """,
        subtree.code,
        list(spans),
        list(above),
    )


async def sealed_grids(connection: Connection, subtree: Subtree, seals: Sequence[Any]) -> list[Row]:
    """What these seals keep of each grid of a unit; of a grid they all keep the same."""
    return await connection.fetch(
        f"""
        SELECT DISTINCT ON (grid) grid, kept::text FROM sealed_grid
        WHERE seal = ANY($2::uuid[]) AND {subtree.under("grid")} ORDER BY grid, seal
        """,
        subtree.code,
        list(seals),
    )


async def sealed_grids_of_cadre(
    connection: Connection, subtree: Subtree, span: str, staff_code: str, period: Period
) -> list[Row]:
    """What seals of a week or month keep of the grids of a unit in which somebody worked, or had
    something in hand, then or as it stands now.
    """
    return await connection.fetch(
        f"""
        SELECT DISTINCT ON (g.grid) g.grid, g.kept::text
        FROM seal s JOIN sealed_grid g ON g.seal = s.id AND {subtree.under("g.grid")}
        WHERE s.span = $2 AND NOT s.lifted AND (
            g.kept -> 'work' @> jsonb_build_array(jsonb_build_array($3::text))
            OR EXISTS (SELECT FROM tally t WHERE t.cadre = $3 AND t.grid = g.grid
                AND t.day BETWEEN $4 AND $5)
            OR EXISTS (SELECT FROM case_file c WHERE c.handler_cadre = $3 AND c.grid = g.grid))
        ORDER BY g.grid, g.seal
        """,
        subtree.code,
        span,
        staff_code,
        period.first,
        period.last,
    )


async def all_grids(connection: Connection, subtree: Subtree) -> list[Row]:
    """Every grid of a unit, also those that are closed."""
    return await connection.fetch(
        f"SELECT code, level, name FROM unit WHERE {subtree.under('code')} AND level = 'grid'"
        " ORDER BY code",
        subtree.code,
    )


async def seal_alone(connection: Connection, span: str) -> None:
    """Waits until nobody else seals or unseals the same week or month, to the transaction's end."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('seal ' || $1, 0))", span
    )


async def seal(
    connection: Connection, code: str, span: str, summary: dict[str, Any], by: str, now: datetime
) -> Any:
    """Seals a unit's week or month; the id of the seal, None when it is sealed already."""
    return await connection.fetchval(
        """
        INSERT INTO seal (id, unit, span, summary, sealed_by, sealed_at, lifted)
        VALUES (gen_random_uuid(), $1, $2, $3::jsonb, $4, $5, false) ON CONFLICT (unit, span)
            WHERE NOT lifted DO NOTHING RETURNING id
        """,
        code,
        span,
        json.dumps(summary),
        by,
        now,
    )


async def keep_grids(connection: Connection, seal: Any, kept: Mapping[str, str]) -> None:
    """Keeps with a seal what each grid had."""
    await connection.execute(
        "INSERT INTO sealed_grid (seal, grid, kept)"
        " SELECT $1, g.grid, g.kept::jsonb FROM unnest($2::text[], $3::text[]) AS g(grid, kept)",
        seal,
        list(kept),
        list(kept.values()),
    )


async def lift_seal(connection: Connection, id: Any, by: str, now: datetime, why: str) -> None:
    """Unseals; the row stays and says who, when and why. What it kept of each grid goes."""
    await connection.execute("DELETE FROM sealed_grid WHERE seal = $1", id)
    await connection.execute(
        "UPDATE seal SET lifted = true, lifted_by = $2, lifted_at = $3, lifted_why = $4"
        " WHERE id = $1",
        id,
        by,
        now,
        why,
    )


async def seals(connection: Connection, code: str, span: str) -> list[Row]:
    """Every seal that a unit's week or month ever had, the newest first."""
    return await connection.fetch(
        "SELECT sealed_by, sealed_at, lifted, lifted_by, lifted_at, lifted_why FROM seal"
        " WHERE unit = $1 AND span = $2"
        " ORDER BY sealed_at DESC",
        code,
        span,
    )
