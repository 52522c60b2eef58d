"""The SQL of how problems stand at the end of a period, and how long they took."""

from collections.abc import Sequence
from datetime import datetime

from service.cases.models import IS_COUNTED
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.summaries.queries import IN_OPEN, but_not
from service.tallies.spans import period_type
from sync_protocol.lifecycle import DONE
from sync_protocol.periods import Period

_IN_DONE = "(" + ", ".join(f"'{state}'" for state in sorted(DONE)) + ")"


async def standing_of_days(
    connection: Connection, subtree: Subtree, period: Period, now: datetime, below: Breakdown
) -> list[Row]:
    """What `standing` says of weeks or months, of any period."""
    return await connection.fetch(
        f"""
        SELECT $2::text AS span, code, severity, sum(raised)::int AS raised,
               sum(open)::int AS open, sum(overdue)::int AS overdue, sum(done)::int AS done
        FROM (
            SELECT {below.unit_of("c.grid", "$6")} AS code, c.severity, 1 AS raised, 0 AS open,
                   0 AS overdue, (c.state IN {_IN_DONE})::int AS done
            FROM case_file c WHERE {subtree.under("c.grid")} AND c.{IS_COUNTED}
                AND c.raised_at >= $3 AND c.raised_at < $4
            UNION ALL
            SELECT {below.unit_of("c.grid", "$6")}, c.severity, 0, 1, (c.due < $5)::int, 0
            FROM case_file c WHERE {subtree.under("c.grid")} AND c.{IS_COUNTED}
                AND c.raised_at < $4 AND (c.state IN {IN_OPEN} OR c.resolved_at >= $4)
        ) AS every GROUP BY 2, 3
        """,
        subtree.code,
        period.name,
        period.begins,
        period.ends,
        min(period.ends, now),
        below.width,
    )


async def standing(
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    now: datetime,
    below: Breakdown,
    but: Sequence[str],
    by_grid: bool = False,
) -> list[Row]:
    """Problems raised in periods, how many of these are resolved by now (`done`), and open and
    overdue at their end (or now, if earlier), per period, severity and unit right below. The
    periods are of one kind. `but`: not in these grids; `by_grid`: the units right below are grids.
    """
    if subtree.height <= 1 or but or by_grid:
        return await _standing_by_case(connection, subtree, periods, now, below, but)
    return await connection.fetch(
        f"""
        WITH late AS (
            SELECT {below.unit_of("grid", "$3")} AS code, severity, count(*) AS n FROM case_file
            WHERE due < $5 AND state IN {IN_OPEN} AND {subtree.under("grid")}
                AND $4::text[] <> '{{}}' GROUP BY 1, 2
        ), turned AS (
            SELECT span, {below.unit_of("village", "$3")} AS code, severity, sum(raised) AS raised,
                   sum(done) AS done,
                   sum(raised - closed) * CASE WHEN span = '' THEN 1 ELSE -1 END AS open,
                   sum(lapsed - cleared) * CASE WHEN span = '' THEN 1 ELSE -1 END AS overdue
            FROM case_tally WHERE (every = '' OR every = $7 AND span >= $6)
                AND {subtree.under("village")} GROUP BY 1, 2, 3
        )
        SELECT p.span, t.code, t.severity,
               coalesce(sum(t.raised) FILTER (WHERE t.span = p.span), 0)::int AS raised,
               coalesce(sum(t.done) FILTER (WHERE t.span = p.span), 0)::int AS done,
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
    but: Sequence[str],
) -> list[Row]:
    """The same from the cases themselves: of a village they are few, and the tally knows no
    grids.
    """
    return await connection.fetch(
        f"""
        SELECT p.span, {below.unit_of("c.grid", "$6")} AS code, c.severity,
               count(*) FILTER (WHERE c.raised_at >= p.begins)::int AS raised,
               count(*) FILTER (WHERE c.raised_at >= p.begins AND c.state IN {_IN_DONE})::int
               AS done,
               count(*) FILTER (WHERE c.resolved_at IS NULL OR c.resolved_at >= p.ends)::int
               AS open,
               count(*) FILTER (WHERE (c.resolved_at IS NULL OR c.resolved_at >= p.ends)
               AND c.due < p.judged)::int AS overdue
        FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
            AS p(span, begins, ends, judged)
        JOIN case_file c ON {subtree.under("c.grid")} AND {IS_COUNTED} AND c.raised_at < p.ends
             AND (c.resolved_at IS NULL OR c.resolved_at >= $7 OR c.raised_at >= $7)
             {but_not(but, "c.grid", 8)}
        GROUP BY 1, 2, 3
        """,
        subtree.code,
        [period.name for period in periods],
        [period.begins for period in periods],
        [period.ends for period in periods],
        [min(period.ends, now) for period in periods],
        below.width,
        min(period.begins for period in periods),
        *([list(but)] if but else ()),
    )


async def hours_to_resolve(
    connection: Connection, subtree: Subtree, period: Period, below: Breakdown, but: Sequence[str]
) -> dict[str, list[float]]:
    """The hours from raised to resolved of every problem that was resolved in a period, per unit
    right below; `but`: not in these grids.

    One way through the index gives the medians of the units and of the whole; PostgreSQL would sort
    once for each.
    """
    rows = await connection.fetch(
        f"""
        SELECT {below.unit_of("grid", "$4")} AS code,
               array_agg(date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file
        WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED} AND {subtree.under("grid")}
            {but_not(but, "grid", 5)}
        GROUP BY 1
        """,
        subtree.code,
        period.begins,
        period.ends,
        below.width,
        *([list(but)] if but else ()),
    )
    return {row["code"]: row["hours"] for row in rows}
