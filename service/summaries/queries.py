"""The SQL of the summaries: each function one query over the tallies and cases of a unit and a period."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from service.database import Connection, Row
from service.records.columns import fields_json
from service.units import UNDER
from sync_protocol.lifecycle import OPEN
from sync_protocol.periods import Period
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import DUTIES

IN_OPEN = "(" + ", ".join(f"'{state}'" for state in sorted(OPEN)) + ")"
COUNTED = "state NOT IN ('rejected', 'joined')"


async def children(connection: Connection, code: str) -> list[Row]:
    """The units right below a unit."""
    return await connection.fetch("SELECT code, level, name FROM unit WHERE parent = $1 ORDER BY code", code)


async def counts(connection: Connection, code: str, spans: Sequence[str], width: int) -> list[Row]:
    """What was done in weeks or months, per span and unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT span, left(grid, $3) AS code, sum(visits)::int AS visits, sum(households)::int AS households_visited,
               sum(contacts)::int AS contacts_visited, sum(raised)::int AS raised, sum(resolved)::int AS resolved, sum(late)::int AS late
        FROM grid_tally WHERE span = ANY($2::text[]) AND duty = '' AND {UNDER.format("grid")} GROUP BY 1, 2
        """,
        code,
        list(spans),
        width,
    )


async def duties(connection: Connection, code: str, period: Period) -> list[Row]:
    """Visits, problems raised and resolved of a week or month per duty; a visit counts under each of its duties."""
    return await connection.fetch(
        f"""
        SELECT duty, sum(visits)::int AS visits, sum(raised)::int AS problems_raised, sum(resolved)::int AS problems_resolved
        FROM grid_tally WHERE span = $2 AND duty = ANY($3::text[]) AND {UNDER.format("grid")} GROUP BY 1
        """,
        code,
        period.name,
        list(DUTIES),
    )


async def households(connection: Connection, code: str, width: int) -> list[Row]:
    """Households and contact households at present, per unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT left(grid, $2) AS code, sum(households)::int AS households, sum(contacts)::int AS contacts
        FROM household_tally WHERE {UNDER.format("grid")} GROUP BY 1
        """,
        code,
        width,
    )


async def standing(connection: Connection, code: str, periods: Sequence[Period], now: datetime, width: int) -> list[Row]:
    """Problems open and overdue at the end of periods (or now, if earlier), per period and unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT p.span, left(c.grid, $5) AS code, count(*)::int AS open, count(*) FILTER (WHERE c.due < p.judged)::int AS overdue
        FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS p(span, at, judged)
        JOIN case_file c ON c.open_during @> p.at AND {UNDER.format("c.grid")} GROUP BY 1, 2
        """,
        code,
        [period.name for period in periods],
        [period.ends - timedelta(microseconds=1) for period in periods],
        [min(period.ends, now) for period in periods],
        width,
    )


async def severities(connection: Connection, code: str, period: Period, now: datetime) -> list[Row]:
    """Problems raised in a period, and open and overdue at its end, per severity."""
    return await connection.fetch(
        f"""
        SELECT severity, sum(raised)::int AS raised, sum(open)::int AS open, sum(overdue)::int AS overdue FROM (
            SELECT severity, count(*) AS raised, 0 AS open, 0 AS overdue FROM case_file
            WHERE raised_at >= $2 AND raised_at < $3 AND {COUNTED} AND {UNDER.format("grid")} GROUP BY 1
            UNION ALL
            SELECT severity, 0, count(*), count(*) FILTER (WHERE due < $5) FROM case_file
            WHERE open_during @> $4::timestamptz AND {UNDER.format("grid")} GROUP BY 1) AS every
        GROUP BY 1
        """,
        code,
        period.begins,
        period.ends,
        period.ends - timedelta(microseconds=1),
        min(period.ends, now),
    )


async def median_hours(connection: Connection, code: str, period: Period, width: int) -> list[Row]:
    """Median hours from raised to resolved of the problems resolved in a period: of all, and per unit whose code has `width` digits."""
    by_unit = width > len(code)
    return await connection.fetch(
        f"""
        SELECT {"left(grid, $4)" if by_unit else "NULL"} AS code,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file WHERE resolved_at >= $2 AND resolved_at < $3 AND {COUNTED} AND {UNDER.format("grid")}
        {"GROUP BY GROUPING SETS ((left(grid, $4)), ())" if by_unit else ""}
        """,
        code,
        period.begins,
        period.ends,
        *([width] if by_unit else []),
    )


async def decisions(connection: Connection, code: str) -> Row:
    """What waits for a decision in a unit now: open problems that were escalated, open conflicts, held mutations."""
    row = await connection.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM case_file WHERE {UNDER.format("grid")} AND state IN {IN_OPEN} AND escalated > 0)::int AS escalated,
               (SELECT count(*) FROM conflict WHERE {UNDER.format("grid")} AND resolved_at IS NULL)::int AS conflicts,
               (SELECT count(*) FROM held WHERE {UNDER.format("grid")} AND state = 'open')::int AS held
        """,
        code,
    )
    assert row is not None
    return row


async def escalated(connection: Connection, code: str, limit: int) -> list[Row]:
    """Open problems of a unit that were escalated, those that wait the longest first."""
    return await connection.fetch(
        f"""
        SELECT c.problem::text AS id, c.grid, p.title, c.severity, c.handler_unit, c.raised_at, c.due
        FROM case_file c JOIN problem p ON p.id = c.problem
        WHERE {UNDER.format("c.grid")} AND c.state IN {IN_OPEN} AND c.escalated > 0 ORDER BY c.raised_at, c.problem LIMIT $2
        """,
        code,
        limit,
    )


# --------------------------------------------------------------------------------------------------------- seals


async def seal_in_force(connection: Connection, code: str, span: str, lock: bool = False) -> Row | None:
    """The seal of a unit's week or month."""
    return await connection.fetchrow(
        "SELECT id, summary, sealed_by, sealed_at FROM seal WHERE unit = $1 AND span = $2 AND NOT lifted" + (" FOR UPDATE" if lock else ""),
        code,
        span,
    )


async def seal(connection: Connection, code: str, span: str, summary: dict[str, Any], by: str, now: datetime) -> bool:
    """Seals a unit's week or month; False when it is sealed already."""
    status = await connection.execute(
        """
        INSERT INTO seal (id, unit, span, summary, sealed_by, sealed_at, lifted)
        VALUES (gen_random_uuid(), $1, $2, $3::jsonb, $4, $5, false) ON CONFLICT (unit, span) WHERE NOT lifted DO NOTHING
        """,
        code,
        span,
        json.dumps(summary),
        by,
        now,
    )
    return status.endswith(" 1")


async def lift_seal(connection: Connection, id: Any, by: str, now: datetime, why: str) -> None:
    """Unseals; the row stays and says who, when and why."""
    await connection.execute(
        "UPDATE seal SET lifted = true, lifted_by = $2, lifted_at = $3, lifted_why = $4 WHERE id = $1",
        id,
        by,
        now,
        why,
    )


async def seals(connection: Connection, code: str, span: str) -> list[Row]:
    """Every seal that a unit's week or month ever had, the newest first."""
    return await connection.fetch(
        "SELECT sealed_by, sealed_at, lifted, lifted_by, lifted_at, lifted_why FROM seal WHERE unit = $1 AND span = $2"
        " ORDER BY sealed_at DESC",
        code,
        span,
    )


# --------------------------------------------------------------------------------------------------------- texts


async def texts(connection: Connection, kind: str, name: str, units: list[str], after: str, limit: int) -> list[Row]:
    """The texts of a week or month of these units."""
    key = "week" if kind == "weekly_analysis" else "month"
    return await connection.fetch(
        f"""
        SELECT r.id::text, r.grid, coalesce(u.name, '') AS grid_name, r.created_by, coalesce(c.name, '') AS author, r.by, r.received_at,
               {fields_json(KINDS[kind], "r")} AS fields
        FROM {kind} r LEFT JOIN unit u ON u.code = r.grid LEFT JOIN cadre c ON c.staff_code = r.created_by
        WHERE r.{key} = $2 AND EXISTS (SELECT FROM unnest($1::text[]) AS s(code) WHERE r.grid >= s.code AND r.grid < s.code || ':')
          AND NOT r.deleted AND r.grid > $3 ORDER BY r.grid LIMIT $4
        """,
        units,
        name,
        after,
        limit,
    )
