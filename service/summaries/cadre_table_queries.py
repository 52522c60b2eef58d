"""The SQL of the table of cadres: what each did, and what is overdue in their hands."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from service.identity.memberships import HOLDS_ON, is_member
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.summaries.cadre_queries import NOTHING_KEPT, Kept, Pieces, overdue, pieces
from service.summaries.queries import but_not
from sync_protocol.periods import Period, local_day

SORTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")


def _work(subtree: Subtree) -> str:
    return f"""
    SELECT cadre, sum(sign * visits)::int AS visits, sum(sign * raised)::int AS raised,
           sum(sign * resolved)::int AS resolved FROM (
        SELECT 1 AS sign, cadre, visits, raised, resolved FROM cadre_tally
            WHERE span = ANY($2::text[]) AND {subtree.under("village")}
        UNION ALL
        SELECT sign, cadre, visits, raised, resolved
            FROM unnest($3::date[], $4::date[], $5::int[]) AS d(first, last, sign)
        JOIN tally t ON t.day BETWEEN d.first AND d.last AND {subtree.under("t.grid")}
    ) AS every GROUP BY cadre
"""


def _moved_by_days(subtree: Subtree, cadres: str, first: str) -> str:
    """From the membership of the last day ($9) to that of the day of the work: of the `cadres`
    whose membership begins or ends after the `first` day.
    """
    return f"""
    UNION ALL
    SELECT c.staff_code, true, moved.member, moved.sign * t.visits, moved.sign * t.raised,
           moved.sign * t.resolved, 0
    FROM tally t JOIN cadre c ON c.staff_code = t.cadre
    CROSS JOIN LATERAL (
        SELECT {is_member("c", "t.day")} AS then, {is_member("c", "$9::date")} AS last) AS m
    CROSS JOIN LATERAL (VALUES (m.last, -1), (m.then, 1)) AS moved(member, sign)
    WHERE t.day BETWEEN {first} AND $9 AND {subtree.under("t.grid")}
      AND t.cadre = ANY({cadres}::text[])
      AND m.then <> m.last
"""


async def _changing(connection: Connection, first: date, last: date) -> list[str]:
    """The cadres whose party membership begins or ends within days, after the first of them."""
    rows = await connection.fetch(
        "SELECT DISTINCT staff_code FROM party_membership"
        " WHERE joined_on > $1 AND joined_on <= $2 OR left_on > $1 AND left_on <= $2",
        first,
        last,
    )
    return [row["staff_code"] for row in rows]


def _as_kept(period: Period, kept: Kept, late: str, put: Callable[[Any], str]) -> str:
    """From the numbers of all grids to those in which some are as they were sealed: takes away what
    stands there now and adds what was kept. `late`: what says of `case_file` that it was overdue;
    `put` takes in a parameter and says its place.
    """
    parts = []
    if not kept.is_whole:
        grids = put(list(kept.grids))
        parts = [
            f"""
            SELECT t.cadre, c.staff_code IS NOT NULL, coalesce({is_member("c", "t.day")}, false),
                   -t.visits, -t.raised, -t.resolved, 0
            FROM tally t LEFT JOIN cadre c ON c.staff_code = t.cadre
            WHERE t.day BETWEEN {put(period.first)} AND {put(period.last)}
                AND t.grid = ANY({grids}::text[])
            """,
            f"""
            SELECT f.handler_cadre, c.staff_code IS NOT NULL,
                   coalesce({is_member("c", "$9::date")}, false), 0, 0, 0, -1
            FROM case_file f LEFT JOIN cadre c ON c.staff_code = f.handler_cadre
            WHERE f.grid = ANY({grids}::text[]) AND {late}
            """,
        ]
    kinds = ("text", "bool", "int", "int", "int", "int")
    columns = zip(*kept.work, strict=True) if kept.work else [[] for _ in kinds]
    arrays = ", ".join(
        f"{put(list(column))}::{kind}[]" for column, kind in zip(columns, kinds, strict=True)
    )
    parts.append(
        f"""
        SELECT k.cadre, k.member IS NOT NULL, coalesce(k.member, false), k.visits, k.raised,
               k.resolved, k.overdue
        FROM unnest({arrays}) AS k(cadre, member, visits, raised, resolved, overdue)
        """
    )
    return "".join(f"UNION ALL {part}" for part in parts)


class Table(NamedTuple):
    """The first cadres, the sums of members and of others, and what is of no cadre's."""

    rows: list[Row]
    groups: list[dict[str, Any]]
    unassigned: dict[str, int]


class Wanted(NamedTuple):
    """Which cadres of a table: the highest by `sort`, so many at most; only party members, or only
    others; only those who held a post of one of some roles on a day of the period.
    """

    sort: str
    limit: int
    party_member: bool | None = None
    roles: Sequence[str] = ()


async def table(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    now: datetime,
    wanted: Wanted,
    kept: Kept = NOTHING_KEPT,
) -> Table:
    """The first rows of a unit's cadres with work in a period or problems overdue in hand, the sums
    of members and of others, and the sums of what no cadre did or has in hand.

    Whose membership begins or ends within the period has a part as a member and one as none, by
    days; what is overdue counts by the last day. With `party_member` rows and sums are of those
    parts; with `roles` of those cadres alone.
    What is overdue at the end of a period that is over counts for who has it now, or had it last.
    """
    sort = wanted.sort
    assert sort in SORTS
    last = min(period.last, local_day(now))
    changing = [] if kept.is_whole else await _changing(connection, period.first, last)
    values: list[Any] = [
        subtree.code,
        *(Pieces([], [], [], []) if kept.is_whole else pieces(subtree, period)),
        min(period.ends, now),
        wanted.limit,
        wanted.party_member,
        last,
    ]

    def put(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    late = overdue(period, now, put(period.ends) if period.ends <= now else "", "$6")
    moved = _moved_by_days(subtree, put(changing), put(period.first)) if changing else ""
    held = ""
    if wanted.roles:
        held = (
            "AND EXISTS (SELECT FROM post p WHERE p.staff_code = parts.staff_code"
            f" AND p.role = ANY({put(list(wanted.roles))}::text[])"
            f" AND p.valid_from < {put(period.ends)}"
            f" AND (p.valid_to IS NULL OR p.valid_to > {put(period.begins)}))"
        )
    as_kept = _as_kept(period, kept, late, put) if kept.grids else ""
    rows = await connection.fetch(
        f"""
        WITH work AS ({_work(subtree)}), overdue AS (
            SELECT handler_cadre AS cadre, count(*)::int AS overdue
            FROM case_file WHERE {"false AND " if kept.is_whole else ""}{subtree.under("grid")}
                AND {late} GROUP BY 1
        ), dated AS MATERIALIZED (
            SELECT m.staff_code, {HOLDS_ON.format(day="$9::date")} AS holds
            FROM party_membership m GROUP BY 1
        ), parts AS (
            SELECT coalesce(w.cadre, o.cadre) AS staff_code, c.staff_code IS NOT NULL AS known,
                   coalesce(d.holds, c.party_member, false) AS party_member,
                   coalesce(w.visits, 0) AS visits, coalesce(w.raised, 0) AS raised,
                   coalesce(w.resolved, 0) AS resolved, coalesce(o.overdue, 0) AS overdue
            FROM work w FULL JOIN overdue o ON o.cadre = w.cadre LEFT JOIN cadre c
                ON c.staff_code = coalesce(w.cadre, o.cadre)
            LEFT JOIN dated d ON d.staff_code = c.staff_code
            {moved}
            {as_kept}
        ), every AS MATERIALIZED (
            SELECT staff_code, party_member, sum(visits)::int AS visits,
                   sum(raised)::int AS problems_raised, sum(resolved)::int AS problems_resolved,
                   sum(overdue)::int AS problems_overdue
            FROM parts WHERE known {held} GROUP BY 1, 2
            HAVING sum(visits) <> 0 OR sum(raised) <> 0 OR sum(resolved) <> 0 OR sum(overdue) > 0
        ), sums AS (
            SELECT json_agg(g) AS groups FROM (
                SELECT party_member, count(*) AS cadres, sum(visits) AS visits,
                       sum(problems_raised) AS problems_raised,
                       sum(problems_resolved) AS problems_resolved,
                       sum(problems_overdue) AS problems_overdue
                FROM every WHERE $8::bool IS NULL OR party_member = $8
                GROUP BY party_member ORDER BY party_member DESC) AS g
        ), nobodys AS (
            SELECT row_to_json(n) AS unassigned FROM (
                SELECT coalesce(sum(visits), 0) AS visits,
                       coalesce(sum(raised), 0) AS problems_raised,
                       coalesce(sum(resolved), 0) AS problems_resolved,
                       coalesce(sum(overdue), 0) AS problems_overdue
                FROM parts WHERE NOT known) AS n
        ), page AS (
            SELECT staff_code, sum(visits)::int AS visits,
                   sum(problems_raised)::int AS problems_raised,
                   sum(problems_resolved)::int AS problems_resolved,
                   sum(problems_overdue)::int AS problems_overdue
            FROM every WHERE $8::bool IS NULL OR party_member = $8 GROUP BY 1
            ORDER BY {sort} DESC, staff_code LIMIT $7
        )
        SELECT page.*, coalesce(c.shown_code, page.staff_code) AS shown_code, c.name,
               coalesce($8::bool, d.holds, c.party_member) AS party_member, sums.groups,
               nobodys.unassigned,
               at.unit, at.unit_name
        FROM sums CROSS JOIN nobodys LEFT JOIN page ON true
            LEFT JOIN LATERAL (SELECT p.unit, u.name AS unit_name
                FROM post p LEFT JOIN unit u ON u.code = p.unit
                WHERE p.staff_code = page.staff_code
                ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC, p.unit LIMIT 1) AS at
                ON true
            LEFT JOIN cadre c ON c.staff_code = page.staff_code
            LEFT JOIN dated d ON d.staff_code = page.staff_code
        ORDER BY page.{sort} DESC, page.staff_code
        """,
        *values,
    )
    first = rows[0]
    return Table(
        [row for row in rows if row["staff_code"] is not None],
        json.loads(first["groups"] or "[]"),
        json.loads(first["unassigned"]),
    )


async def unassigned(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    now: datetime,
    below: Breakdown,
    but: Sequence[str],
) -> dict[str, int]:
    """How many problems of each unit right below were overdue in no cadre's hands at the end of a
    period, or are now; `but`: not in these grids.
    """
    rows = await connection.fetch(
        f"""
        SELECT {below.unit_of("f.grid", "$2")} AS code, count(*)::int AS overdue
        FROM case_file f WHERE {subtree.under("f.grid")} AND $4::timestamptz IS NOT NULL
            AND {overdue(period, now, "$4", "$3")}{but_not(but, "f.grid", 5)}
            AND NOT EXISTS (SELECT FROM cadre c WHERE c.staff_code = f.handler_cadre)
        GROUP BY 1
        """,
        subtree.code,
        below.width,
        min(period.ends, now),
        period.ends,
        *([list(but)] if but else ()),
    )
    return {row["code"]: row["overdue"] for row in rows}
