"""The SQL of indicators: values, targets and marks."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from service.kit.bounded import bounded
from service.kit.conditions import Range, Subtree, bounds
from service.kit.database import Connection, Row


async def open_feeds(connection: Connection, level: str) -> None:
    """Gives every unit of a level a feed, in which its values lie."""
    await connection.execute(
        "INSERT INTO counter (grid, rev) SELECT code, 0 FROM unit WHERE level = $1"
        " ON CONFLICT (grid) DO NOTHING",
        level,
    )


async def values(
    connection: Connection, subtree: Subtree, indicators: Sequence[str], periods: Sequence[str]
) -> list[Row]:
    """The values of indicators in periods and the units of a subtree, in order of unit."""
    return await connection.fetch(
        f"""
        SELECT v.indicator, v.period, v.grid AS unit, v.value, v.source,
               coalesce(v.evidence, '{{}}') AS evidence, v.note, v.by,
               coalesce(c.name, v.by) AS name, v.stamp, v.received_at
        FROM indicator_value v LEFT JOIN cadre c ON c.staff_code = v.by
        WHERE {subtree.under("v.grid")} AND v.indicator = ANY($2::text[])
            AND v.period = ANY($3::text[]) AND NOT v.deleted ORDER BY v.grid
        """,
        subtree.code,
        list(indicators),
        list(periods),
    )


async def reporting_units(connection: Connection, subtree: Subtree, level: str) -> list[Row]:
    """The units of a level in a subtree that are open, in order of code."""
    return await connection.fetch(
        "SELECT code, level, name, since, closed FROM unit"
        f" WHERE {subtree.under('code')} AND level = $2 ORDER BY code",
        subtree.code,
        level,
    )


async def targets(
    connection: Connection, subtree: Subtree, indicators: Sequence[str], period: str
) -> dict[tuple[str, str], float]:
    """The targets of units in a subtree, by indicator and unit."""
    rows = await connection.fetch(
        "SELECT indicator, unit, target FROM indicator_target"
        f" WHERE {subtree.under('unit')} AND indicator = ANY($2::text[]) AND period = $3",
        subtree.code,
        list(indicators),
        period,
    )
    return {(row["indicator"], row["unit"]): row["target"] for row in rows}


async def put_target(
    connection: Connection,
    indicator: str,
    period: str,
    unit: str,
    target: float | None,
    by: str,
    now: datetime,
) -> None:
    """Sets what a unit is to reach; None: what the indicator says for all."""
    if target is None:
        await connection.execute(
            "DELETE FROM indicator_target WHERE indicator = $1 AND period = $2 AND unit = $3",
            indicator,
            period,
            unit,
        )
        return
    await connection.execute(
        "INSERT INTO indicator_target (indicator, period, unit, target, set_by, set_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (indicator, period, unit) DO UPDATE"
        " SET target = excluded.target, set_by = excluded.set_by, set_at = excluded.set_at",
        indicator,
        period,
        unit,
        target,
        by,
        now,
    )


async def value_rev(connection: Connection, id: str) -> int:
    """The revision of a value; 0 where it is not here."""
    rev: int | None = await connection.fetchval(
        "SELECT rev FROM indicator_value WHERE id = $1::uuid", id
    )
    return rev or 0


async def put_mark(
    connection: Connection, values: Mapping[str, Any], by: str, now: datetime
) -> None:
    """Writes a mark of a unit, in the place of one that begins on the same day."""
    await connection.execute(
        "INSERT INTO unit_mark (unit, mark, valid_from, valid_to, note, plan, set_by, set_at)"
        " VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8)"
        " ON CONFLICT (unit, mark, valid_from) DO UPDATE SET valid_to = excluded.valid_to,"
        " note = excluded.note, plan = excluded.plan, set_by = excluded.set_by,"
        " set_at = excluded.set_at",
        values["unit"],
        values["mark"],
        values["valid_from"],
        values["valid_to"],
        values["note"],
        json.dumps(values["plan"], ensure_ascii=False),
        by,
        now,
    )


async def marks(
    connection: Connection,
    within: Sequence[Range],
    mark: str | None,
    day: date | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Row]:
    """The marks of units in some ranges that hold on a day, all if None, in order of unit."""
    return await connection.fetch(
        bounded("""
        SELECT m.unit, u.name AS unit_name, u.level, m.mark, m.valid_from, m.valid_to, m.note,
               m.plan::text, m.set_by, m.set_at,
               md5(m.mark || m.valid_from::text)::uuid::text AS id
        FROM unit_mark m JOIN unit u ON u.code = m.unit
        JOIN unnest($1::text[], $2::text[]) AS r(low, high)
            ON m.unit >= r.low AND m.unit < r.high
        WHERE ($3::text IS NULL OR m.mark = $3)
            AND ($4::date IS NULL
                OR m.valid_from <= $4 AND (m.valid_to IS NULL OR m.valid_to > $4))
            AND ($5::text IS NULL
                OR (m.unit, md5(m.mark || m.valid_from::text)::uuid) > ($5, $6::uuid))
        ORDER BY m.unit, md5(m.mark || m.valid_from::text)::uuid LIMIT $7
        """),
        *bounds(within),
        mark,
        day,
        *(after or (None, None)),
        limit,
    )


async def count_marks(connection: Connection, within: Sequence[Range], day: date) -> dict[str, int]:
    """How many units in some ranges have each mark on a day."""
    rows = await connection.fetch(
        """
        SELECT m.mark, count(DISTINCT m.unit)::int AS units FROM unit_mark m
        JOIN unnest($1::text[], $2::text[]) AS r(low, high)
            ON m.unit >= r.low AND m.unit < r.high
        WHERE m.valid_from <= $3 AND (m.valid_to IS NULL OR m.valid_to > $3) GROUP BY 1
        """,
        *bounds(within),
        day,
    )
    return {row["mark"]: row["units"] for row in rows}
