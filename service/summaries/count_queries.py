"""The SQL of what was done in a period, per unit right below and duty."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from service.cases.models import IS_COUNTED
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.summaries.queries import but_not
from service.tallies.upserts import DUTY_COUNTS
from sync_protocol.periods import Period, in_pieces, kind_of, midnight
from sync_protocol.vocabulary import DUTIES


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
