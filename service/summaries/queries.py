"""The SQL of the summaries: each function one query over the tallies and cases of a unit and a
period.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from service.cases.models import IS_COUNTED
from service.kit.bounded import bounded
from service.kit.conditions import Breakdown, Range, Subtree, bounds
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from service.tallies.spans import period_type
from service.tallies.upserts import DUTY_COUNTS
from sync_protocol.lifecycle import OPEN
from sync_protocol.periods import Period
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import DUTIES

IN_OPEN = "(" + ", ".join(f"'{state}'" for state in sorted(OPEN)) + ")"


async def unit_and_children(
    connection: Connection, code: str, children: Sequence[str]
) -> list[Row]:
    """A unit, and after it the `children`, in order of code; nothing when there is no such unit."""
    return await connection.fetch(
        "SELECT code, level, name FROM unit WHERE code = $1 OR code = ANY($2::text[])"
        " ORDER BY code <> $1, code",
        code,
        list(children),
    )


async def counts(
    connection: Connection, subtree: Subtree, periods: Sequence[Period], below: Breakdown
) -> list[Row]:
    """What was done in weeks or months, per span and unit right below; first the empty span with
    what there is at present: households and contact households, in the columns of those visited;
    and behind a minus by how much these were other at the end of a span.
    """
    return await connection.fetch(
        f"""
        SELECT span, {below.unit_of("grid", "$3")} AS code, sum(visits)::int AS visits,
               sum(households)::int AS households,
               sum(contacts)::int AS contacts, sum(raised)::int AS raised,
               sum(resolved)::int AS resolved, sum(late)::int AS late
        FROM grid_tally WHERE span = ANY($2::text[]) AND {subtree.under("grid")} GROUP BY 1, 2
        UNION ALL
        SELECT '', {below.unit_of("grid", "$3")}, 0, sum(households)::int, sum(contacts)::int,
               0, 0, 0
        FROM household_tally WHERE {subtree.under("grid")} GROUP BY 2
        UNION ALL
        SELECT '-' || p.span, {below.unit_of("grid", "$3")}, 0, -sum(households)::int,
               -sum(contacts)::int, 0, 0, 0
        FROM unnest($2::text[], $4::date[]) AS p(span, last)
        JOIN household_change c ON c.day > p.last AND {subtree.under("c.grid")} GROUP BY 1, 2
        ORDER BY span
        """,
        subtree.code,
        [period.name for period in periods],
        below.width,
        [period.last for period in periods],
    )


_DUTY_SUMS = ", ".join(f"coalesce(sum({name}), 0)::int AS {name}" for name in DUTY_COUNTS)
_DUTY_ROWS = ", ".join(
    f"('{duty}', visits_{duty}, raised_{duty}, resolved_{duty})" for duty in DUTIES
)


async def duties(connection: Connection, subtree: Subtree, period: Period) -> list[Row]:
    """Visits, problems raised and resolved of a week or month per duty; a visit counts under each
    of its duties.
    """
    return await connection.fetch(
        f"""
        SELECT d.* FROM (SELECT {_DUTY_SUMS}
                         FROM grid_tally WHERE span = $2 AND {subtree.under("grid")}) AS t,
             LATERAL (VALUES {_DUTY_ROWS})
               AS d(duty, visits, problems_raised, problems_resolved)
        UNION ALL
        SELECT duty, sum(visits)::int, sum(raised)::int, sum(resolved)::int FROM duty_tally
        WHERE span = $2 AND {subtree.under("grid")} GROUP BY duty
        """,
        subtree.code,
        period.name,
    )


async def standing(
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    now: datetime,
    below: Breakdown,
) -> list[Row]:
    """Problems raised in periods, and open and overdue at their end (or now, if earlier), per
    period, severity and unit right below. The periods are all weeks or all months.
    """
    if subtree.height <= 1:
        return await _standing_by_case(connection, subtree, periods, now, below)
    return await connection.fetch(
        f"""
        WITH late AS (
            SELECT {below.unit_of("grid", "$3")} AS code, severity, count(*) AS n FROM case_file
            WHERE due < $5 AND state IN {IN_OPEN} AND {subtree.under("grid")}
                AND $4::text[] <> '{{}}' GROUP BY 1, 2
        ), turned AS (
            SELECT span, {below.unit_of("village", "$3")} AS code, severity, sum(raised) AS raised,
                   sum(raised - closed) * CASE WHEN span = '' THEN 1 ELSE -1 END AS open,
                   sum(lapsed - cleared) * CASE WHEN span = '' THEN 1 ELSE -1 END AS overdue
            FROM case_tally WHERE (every = '' OR every = $7 AND span >= $6)
                AND {subtree.under("village")} GROUP BY 1, 2, 3
        )
        SELECT p.span, t.code, t.severity,
               coalesce(sum(t.raised) FILTER (WHERE t.span = p.span), 0)::int AS raised,
               coalesce(sum(t.open) FILTER (WHERE t.span <> p.span), 0)::int AS open,
               CASE WHEN p.span = ANY($4::text[])
                   THEN coalesce((SELECT n FROM late l WHERE l.code = t.code
                   AND l.severity = t.severity), 0)
                    ELSE coalesce(sum(t.overdue) FILTER (WHERE t.span <> p.span), 0) END::int
                    AS overdue
        FROM unnest($2::text[]) AS p(span) JOIN turned t ON t.span = '' OR t.span >= p.span
        GROUP BY 1, 2, 3
        """,
        subtree.code,
        [period.name for period in periods],
        below.width,
        # What falls due in the rest of a period that is not over would count as overdue already: of
        # these, the cases themselves are asked.
        [period.name for period in periods if period.ends > now],
        now,
        min(period.name for period in periods),
        period_type(periods[0].name),
    )


async def _standing_by_case(
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    now: datetime,
    below: Breakdown,
) -> list[Row]:
    """The same from the cases themselves: of a village they are few, and the tally knows no
    grids.
    """
    return await connection.fetch(
        f"""
        SELECT p.span, {below.unit_of("c.grid", "$6")} AS code, c.severity,
               count(*) FILTER (WHERE c.raised_at >= p.begins)::int AS raised,
               count(*) FILTER (WHERE c.resolved_at IS NULL OR c.resolved_at >= p.ends)::int
               AS open,
               count(*) FILTER (WHERE (c.resolved_at IS NULL OR c.resolved_at >= p.ends)
               AND c.due < p.judged)::int AS overdue
        FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
            AS p(span, begins, ends, judged)
        JOIN case_file c ON {subtree.under("c.grid")} AND {IS_COUNTED} AND c.raised_at < p.ends
             AND (c.resolved_at IS NULL OR c.resolved_at >= $7 OR c.raised_at >= $7)
        GROUP BY 1, 2, 3
        """,
        subtree.code,
        [period.name for period in periods],
        [period.begins for period in periods],
        [period.ends for period in periods],
        [min(period.ends, now) for period in periods],
        below.width,
        min(period.begins for period in periods),
    )


async def median_hours(connection: Connection, subtree: Subtree, period: Period) -> float | None:
    """Median hours from raised to resolved of all problems that were resolved in a period."""
    hours: float | None = await connection.fetchval(
        f"""
        SELECT percentile_cont(0.5) WITHIN GROUP
            (ORDER BY date_part('epoch', resolved_at - raised_at) / 3600) FROM case_file
        WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED} AND {subtree.under("grid")}
        """,
        subtree.code,
        period.begins,
        period.ends,
    )
    return hours


async def hours_to_resolve(
    connection: Connection, subtree: Subtree, period: Period, below: Breakdown
) -> dict[str, list[float]]:
    """The hours from raised to resolved of every problem that was resolved in a period, per unit
    right below.

    One way through the index gives the medians of the units and of the whole; PostgreSQL would sort
    once for each.
    """
    rows = await connection.fetch(
        f"""
        SELECT {below.unit_of("grid", "$4")} AS code,
               array_agg(date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file
        WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED} AND {subtree.under("grid")}
        GROUP BY 1
        """,
        subtree.code,
        period.begins,
        period.ends,
        below.width,
    )
    return {row["code"]: row["hours"] for row in rows}


async def decisions(connection: Connection, subtree: Subtree) -> Row:
    """What waits for a decision in a unit now: open problems that were escalated, open conflicts,
    held mutations.
    """
    row = await connection.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM case_file WHERE {subtree.under("grid")} AND state IN {IN_OPEN}
            AND escalated > 0)::int AS escalated,
               (SELECT count(*) FROM conflict WHERE {subtree.under("grid")}
                   AND resolved_at IS NULL)::int AS conflicts,
               (SELECT count(*) FROM held WHERE {subtree.under("grid")} AND state = 'open')::int
                   AS held
        """,
        subtree.code,
    )
    assert row is not None
    return row


async def escalated(connection: Connection, subtree: Subtree, limit: int) -> list[Row]:
    """Open problems of a unit that were escalated, those that wait the longest first."""
    return await connection.fetch(
        f"""
        SELECT c.problem::text AS id, c.grid, p.title, c.severity, c.handler_unit, c.raised_at,
               c.due
        FROM case_file c JOIN problem p ON p.id = c.problem
        WHERE {subtree.under("c.grid")} AND c.state IN {IN_OPEN} AND c.escalated > 0
        ORDER BY c.raised_at, c.problem LIMIT $2
        """,
        subtree.code,
        limit,
    )


# -------------------------------------------------------------------------------------------- seals


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


async def seal(
    connection: Connection, code: str, span: str, summary: dict[str, Any], by: str, now: datetime
) -> bool:
    """Seals a unit's week or month; False when it is sealed already."""
    status = await connection.execute(
        """
        INSERT INTO seal (id, unit, span, summary, sealed_by, sealed_at, lifted)
        VALUES (gen_random_uuid(), $1, $2, $3::jsonb, $4, $5, false) ON CONFLICT (unit, span)
            WHERE NOT lifted DO NOTHING
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


# -------------------------------------------------------------------------------------------- texts


async def texts(
    connection: Connection, kind: str, name: str, ranges: Sequence[Range], after: str, limit: int
) -> list[Row]:
    """The texts of a week or month of these units."""
    key = "week" if kind == "weekly_analysis" else "month"
    return await connection.fetch(
        bounded(f"""
        SELECT r.id::text, r.grid, coalesce(u.name, '') AS grid_name, r.created_by,
               coalesce(c.name, '') AS author, r.by, r.received_at,
               {fields_json(KINDS[kind], "r")} AS fields
        FROM {kind} r LEFT JOIN unit u ON u.code = r.grid LEFT JOIN cadre c
            ON c.staff_code = r.created_by
        WHERE r.{key} = $3 AND EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS s(low, high)
            WHERE r.grid >= s.low AND r.grid < s.high)
          AND NOT r.deleted AND r.grid > $4 ORDER BY r.grid LIMIT $5
        """),
        *bounds(ranges),
        name,
        after,
        limit,
    )
