"""The SQL of the summaries: each function one query over the tallies and cases of a unit and a
period.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from service.cases.models import IS_COUNTED
from service.kit.bounded import bounded
from service.kit.conditions import Breakdown, Range, Subtree, bounds
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from service.tallies.spans import period_type
from service.tallies.upserts import DUTY_COUNTS
from sync_protocol.lifecycle import DONE, OPEN
from sync_protocol.periods import Period, in_pieces, kind_of, midnight
from sync_protocol.records import KINDS
from sync_protocol.vocabulary import DUTIES

IN_OPEN = "(" + ", ".join(f"'{state}'" for state in sorted(OPEN)) + ")"

_IN_DONE = "(" + ", ".join(f"'{state}'" for state in sorted(DONE)) + ")"


def but_not(grids: Sequence[str], column: str, place: int) -> str:
    """SQL for “and not in one of these grids”, which are the parameter of a place; without any
    nothing.
    """
    return f" AND {column} <> ALL(${place}::text[])" if grids else ""


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
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    below: Breakdown,
    but: Sequence[str],
) -> list[Row]:
    """What was done in spans of the tallies, per span and unit right below; first the empty span
    with what there is at present: households and contact households, in the columns of those
    visited; and behind a minus by how much these were other at the end of a span. `but`: not in
    these grids.
    """
    return await connection.fetch(
        f"""
        SELECT span, {below.unit_of("grid", "$3")} AS code, sum(visits)::int AS visits,
               sum(households)::int AS households,
               sum(contacts)::int AS contacts, sum(raised)::int AS raised,
               sum(resolved)::int AS resolved, sum(late)::int AS late
        FROM grid_tally WHERE span = ANY($2::text[]) AND {subtree.under("grid")}
            {but_not(but, "grid", 5)} GROUP BY 1, 2
        UNION ALL
        SELECT '', {below.unit_of("grid", "$3")}, 0, sum(households)::int, sum(contacts)::int,
               0, 0, 0
        FROM household_tally WHERE {subtree.under("grid")}{but_not(but, "grid", 5)} GROUP BY 2
        UNION ALL
        SELECT '-' || p.span, {below.unit_of("grid", "$3")}, 0, -sum(households)::int,
               -sum(contacts)::int, 0, 0, 0
        FROM unnest($2::text[], $4::date[]) AS p(span, last)
        JOIN household_change c ON c.day > p.last AND {subtree.under("c.grid")}
            {but_not(but, "c.grid", 5)} GROUP BY 1, 2
        ORDER BY span
        """,
        subtree.code,
        [period.name for period in periods],
        below.width,
        [period.last for period in periods],
        *([list(but)] if but else ()),
    )


class PeriodPieces(NamedTuple):
    """A period as the tallies have it: the whole weeks and months in it by name, and the days that
    remain, as runs.
    """

    spans: list[str]
    first_days: list[date]
    last_days: list[date]

    @property
    def begins(self) -> list[datetime]:
        """The moments at which the runs of days begin."""
        return [midnight(day) for day in self.first_days]

    @property
    def ends(self) -> list[datetime]:
        """The moments at which they end."""
        return [midnight(day + timedelta(days=1)) for day in self.last_days]


def pieces_of(period: Period) -> PeriodPieces:
    """A period in as few pieces as may be."""
    found = PeriodPieces([], [], [])
    for piece in in_pieces(period):
        if kind_of(piece.name) != "day":
            found.spans.append(piece.name)
        elif found.last_days and found.last_days[-1] + timedelta(days=1) == piece.first:
            found.last_days[-1] = piece.last
        else:
            found.first_days.append(piece.first)
            found.last_days.append(piece.last)
    return found


async def counts_of_days(
    connection: Connection, subtree: Subtree, period: Period, below: Breakdown
) -> list[Row]:
    """What `counts` says of a week or month, of any period. Late is what came in after the day, of
    a day; of other periods what came in after the month of its day, or after the week where that
    is what was tallied.
    """
    some = pieces_of(period)
    unit = below.unit_of("grid", "$3")
    return await connection.fetch(
        f"""
        WITH days AS (SELECT * FROM unnest($4::date[], $5::date[], $6::timestamptz[],
                $7::timestamptz[]) AS d(first, last, begins, ends)),
        visits AS MATERIALIZED (
            SELECT v.grid, v.household_id,
                   (v.received_at >= CASE WHEN $9 THEN d.ends ELSE
                       (date_trunc('month', v.visited_at AT TIME ZONE 'Asia/Shanghai')
                           + interval '1 month') AT TIME ZONE 'Asia/Shanghai' END) AS late
            FROM days d JOIN visit v ON v.visited_at >= d.begins AND v.visited_at < d.ends
                AND {subtree.under("v.grid")} AND NOT v.deleted
        ), seen AS (
            SELECT max(grid) AS grid, household FROM (
                SELECT grid, household FROM visited_household WHERE span = ANY($2::text[])
                    AND {subtree.under("grid")}
                UNION ALL
                SELECT grid, household_id FROM visits WHERE household_id IS NOT NULL) AS every
            GROUP BY household
        )
        SELECT $8::text AS span, code, sum(visits)::int AS visits,
               sum(households)::int AS households, sum(contacts)::int AS contacts,
               sum(raised)::int AS raised, sum(resolved)::int AS resolved, sum(late)::int AS late
        FROM (
            SELECT {unit} AS code, visits, 0 AS households, 0 AS contacts, raised, resolved, late
            FROM grid_tally WHERE span = ANY($2::text[]) AND {subtree.under("grid")}
            UNION ALL
            SELECT {below.unit_of("t.grid", "$3")}, t.visits, 0, 0, t.raised, t.resolved, 0
            FROM days d JOIN tally t ON t.day BETWEEN d.first AND d.last
                AND {subtree.under("t.grid")}
            UNION ALL
            SELECT {unit}, 0, 0, 0, 0, 0, 1 FROM visits WHERE late
            UNION ALL
            SELECT {below.unit_of("c.grid", "$3")}, 0, 0, 0, 0, 0, 1
            FROM days d JOIN case_file c ON c.raised_at >= d.begins AND c.raised_at < d.ends
                AND {subtree.under("c.grid")} AND c.{IS_COUNTED}
                AND c.received_at >= CASE WHEN $9 THEN d.ends ELSE
                    (date_trunc('month', c.raised_at AT TIME ZONE 'Asia/Shanghai')
                        + interval '1 month') AT TIME ZONE 'Asia/Shanghai' END
            UNION ALL
            SELECT {below.unit_of("s.grid", "$3")}, 0, count(*), count(h.contact_member), 0, 0, 0
            FROM seen s LEFT JOIN household h ON h.id = s.household AND NOT h.deleted GROUP BY 1
        ) AS every GROUP BY code
        UNION ALL
        SELECT '', {unit}, 0, sum(households)::int, sum(contacts)::int, 0, 0, 0
        FROM household_tally WHERE {subtree.under("grid")} GROUP BY 2
        UNION ALL
        SELECT '-' || $8::text, {below.unit_of("c.grid", "$3")}, 0, -sum(households)::int,
               -sum(contacts)::int, 0, 0, 0
        FROM household_change c WHERE c.day > $10 AND {subtree.under("c.grid")} GROUP BY 2
        """,
        subtree.code,
        some.spans,
        below.width,
        some.first_days,
        some.last_days,
        some.begins,
        some.ends,
        period.name,
        kind_of(period.name) == "day",
        period.last,
    )


_DUTY_SUMS = ", ".join(f"coalesce(sum({name}), 0)::int AS {name}" for name in DUTY_COUNTS)
_DUTY_ROWS = ", ".join(
    f"('{duty}', visits_{duty}, raised_{duty}, resolved_{duty})" for duty in DUTIES
)


async def duties(
    connection: Connection, subtree: Subtree, period: Period, below: Breakdown, but: Sequence[str]
) -> list[Row]:
    """Visits, problems raised and resolved of a tallied span per unit right below and duty; a
    visit counts under each of its duties. `but`: not in these grids.
    """
    return await connection.fetch(
        f"""
        SELECT t.code, d.* FROM (SELECT {below.unit_of("grid", "$3")} AS code, {_DUTY_SUMS}
                         FROM grid_tally WHERE span = $2 AND {subtree.under("grid")}
                            {but_not(but, "grid", 4)} GROUP BY 1) AS t,
             LATERAL (VALUES {_DUTY_ROWS})
               AS d(duty, visits, problems_raised, problems_resolved)
        WHERE d.visits <> 0 OR d.problems_raised <> 0 OR d.problems_resolved <> 0
        UNION ALL
        SELECT {below.unit_of("grid", "$3")}, duty, sum(visits)::int, sum(raised)::int,
               sum(resolved)::int
        FROM duty_tally WHERE span = $2 AND {subtree.under("grid")} {but_not(but, "grid", 4)}
        GROUP BY 1, 2
        """,
        subtree.code,
        period.name,
        below.width,
        *([list(but)] if but else ()),
    )


async def duties_of_days(
    connection: Connection, subtree: Subtree, period: Period, below: Breakdown
) -> list[Row]:
    """What `duties` says of a week or month, of any period."""
    some = pieces_of(period)
    return await connection.fetch(
        f"""
        WITH days AS (SELECT * FROM unnest($4::timestamptz[], $5::timestamptz[]) AS d(begins, ends))
        SELECT code, duty, sum(visits)::int AS visits, sum(raised)::int AS problems_raised,
               sum(resolved)::int AS problems_resolved
        FROM (
            SELECT t.code, d.* FROM (SELECT {below.unit_of("grid", "$3")} AS code, {_DUTY_SUMS}
                             FROM grid_tally WHERE span = ANY($2::text[])
                                AND {subtree.under("grid")} GROUP BY 1) AS t,
                 LATERAL (VALUES {_DUTY_ROWS}) AS d(duty, visits, raised, resolved)
            UNION ALL
            SELECT {below.unit_of("grid", "$3")}, duty, visits, raised, resolved FROM duty_tally
            WHERE span = ANY($2::text[]) AND {subtree.under("grid")}
            UNION ALL
            SELECT {below.unit_of("v.grid", "$3")}, unnest(v.duties), 1, 0, 0
            FROM days d JOIN visit v ON v.visited_at >= d.begins AND v.visited_at < d.ends
                AND {subtree.under("v.grid")} AND NOT v.deleted
            UNION ALL
            SELECT {below.unit_of("c.grid", "$3")}, c.duty, 0, 1, 0
            FROM days d JOIN case_file c ON c.raised_at >= d.begins AND c.raised_at < d.ends
                AND {subtree.under("c.grid")} AND c.{IS_COUNTED}
            UNION ALL
            SELECT {below.unit_of("c.grid", "$3")}, c.duty, 0, 0, 1
            FROM days d JOIN case_file c ON c.resolved_at >= d.begins AND c.resolved_at < d.ends
                AND {subtree.under("c.grid")} AND c.{IS_COUNTED} AND c.resolved_by IS NOT NULL
        ) AS every GROUP BY 1, 2 HAVING sum(visits) + sum(raised) + sum(resolved) > 0
        """,
        subtree.code,
        some.spans,
        below.width,
        some.begins,
        some.ends,
    )


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


# Passed up, and not handed down again: the unit that has it lies above the one that problems of the
# grid come to first. $2: the position of the level of those.
_WAITS_ABOVE = """
    {0}.state IN {1} AND {0}.escalated > 0 AND EXISTS (SELECT FROM unit w JOIN level l
        ON l.slug = w.level WHERE w.code = {0}.handler_unit AND l.position < $2)
"""


async def decisions(connection: Connection, subtree: Subtree, first_handlers: int) -> Row:
    """What waits for a decision in a unit now: open problems that were escalated and not handed
    down again, open conflicts, held mutations. `first_handlers`: the position of the level that
    problems come to first.
    """
    row = await connection.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM case_file c WHERE {subtree.under("c.grid")}
                   AND {_WAITS_ABOVE.format("c", IN_OPEN)})::int AS escalated,
               (SELECT count(*) FROM conflict WHERE {subtree.under("grid")}
                   AND resolved_at IS NULL)::int AS conflicts,
               (SELECT count(*) FROM held WHERE {subtree.under("grid")} AND state = 'open')::int
                   AS held
        """,
        subtree.code,
        first_handlers,
    )
    assert row is not None
    return row


async def escalated(
    connection: Connection, subtree: Subtree, first_handlers: int, limit: int
) -> list[Row]:
    """The problems of a unit that `decisions` counts, those that wait the longest first."""
    return await connection.fetch(
        f"""
        SELECT c.problem::text AS id, c.grid, p.title, c.severity, c.handler_unit, c.raised_at,
               c.due
        FROM case_file c JOIN problem p ON p.id = c.problem
        WHERE {subtree.under("c.grid")} AND {_WAITS_ABOVE.format("c", IN_OPEN)}
        ORDER BY c.raised_at, c.problem LIMIT $3
        """,
        subtree.code,
        first_handlers,
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
