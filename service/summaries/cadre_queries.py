"""The SQL of what cadres did: any period, as whole months from the monthly tally and the days that
remain from the daily one.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from service.cases.models import IS_COUNTED
from service.identity.memberships import HOLDS_ON, is_member
from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.records.models import IS_PRESENT
from service.summaries.queries import IN_OPEN, but_not
from sync_protocol.periods import Period, local_day, month_around, quarter_around, week_around

SORTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")


class Pieces(NamedTuple):
    """A period as spans of `cadre_tally` and runs of days of `tally`, which are added (1) or taken
    away (-1).
    """

    spans: list[str]
    first_days: list[date]
    last_days: list[date]
    day_signs: list[int]


def pieces(subtree: Subtree, period: Period) -> Pieces:
    """Cuts a period of a unit into few pieces: whole quarters, then months, then weeks, then a part
    of a week as its days, or as the week less its other days when those are fewer.

    The spans are tallied by village, so that a single grid is counted by its days.
    """
    found = Pieces([], [], [], [])
    if subtree.height == 0:
        _days(found, period.first, period.last, 1)
        return found
    day = period.first
    while day <= period.last:
        spans = (quarter_around(day), month_around(day), week_around(day))
        whole = [span for span in spans if span.first == day and span.last <= period.last]
        around = week_around(day)
        until = min(around.last, period.last, month_around(day).last)
        if whole:
            found.spans.append(whole[0].name)
            until = whole[0].last
        elif (until - day).days < 3:
            _days(found, day, until, 1)
        else:
            found.spans.append(around.name)
            _days(found, around.first, day - timedelta(days=1), -1)
            _days(found, until + timedelta(days=1), around.last, -1)
        day = until + timedelta(days=1)
    return found


def _days(found: Pieces, first: date, last: date, sign: int) -> None:
    if first <= last:
        found.first_days.append(first)
        found.last_days.append(last)
        found.day_signs.append(sign)


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


def overdue(period: Period, now: datetime, ends: str, judged: str) -> str:
    """SQL for “was overdue at the end of a period, or is now if it has not ended”, of a row of
    `case_file`; `ends` and `judged` are the places of the period's end and of the moment as of
    which it is.
    """
    still = f"state IN {IN_OPEN}"
    if period.ends > now:
        return f"due < {judged} AND {still}"
    return (
        f"due < {judged} AND raised_at < {ends} AND ({still}"
        f" OR resolved_at >= {ends} AND {IS_COUNTED})"
    )


async def _changing(connection: Connection, first: date, last: date) -> list[str]:
    """The cadres whose party membership begins or ends within days, after the first of them."""
    rows = await connection.fetch(
        "SELECT DISTINCT staff_code FROM party_membership"
        " WHERE joined_on > $1 AND joined_on <= $2 OR left_on > $1 AND left_on <= $2",
        first,
        last,
    )
    return [row["staff_code"] for row in rows]


class Kept(NamedTuple):
    """What seals keep of what cadres did in some grids. `is_whole`: nothing else is shown."""

    grids: Sequence[str] = ()
    work: Sequence[Sequence[Any]] = ()
    hours: Mapping[str, Sequence[float]] = {}
    is_whole: bool = False


NOTHING_KEPT = Kept()


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


async def median_hours(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    staff_codes: Sequence[str],
    kept: Kept = NOTHING_KEPT,
) -> dict[str, float]:
    """Median hours from raised to resolved of what each of these cadres resolved in a unit in a
    period.
    """
    if not kept.grids:
        rows = await connection.fetch(
            f"""
            SELECT resolved_by, percentile_cont(0.5) WITHIN GROUP
                (ORDER BY date_part('epoch', resolved_at - raised_at) / 3600) AS hours
            FROM case_file
            WHERE resolved_by = ANY($2::text[]) AND resolved_at >= $3 AND resolved_at < $4
                AND {IS_COUNTED}
              AND {subtree.under("grid")} GROUP BY 1
            """,
            subtree.code,
            list(staff_codes),
            period.begins,
            period.ends,
        )
        return {row["resolved_by"]: round(row["hours"], 2) for row in rows}
    found = {code: [*kept.hours[code]] for code in staff_codes if code in kept.hours}
    if not kept.is_whole:
        for row in await hours_by_grid(connection, subtree, period):
            if row["grid"] not in kept.grids:
                found.setdefault(row["resolved_by"], []).extend(row["hours"])
    return {code: round(statistics.median(hours), 2) for code, hours in found.items()}


async def work_by_grid(
    connection: Connection, subtree: Subtree, period: Period, now: datetime
) -> list[Row]:
    """What everybody did in each grid in a period, and what is overdue in their hands, by days of
    party membership (None of who is no cadre): grid, cadre, membership, visits, raised, resolved,
    overdue.
    """
    return await connection.fetch(
        f"""
        SELECT grid, cadre, member, sum(visits)::int, sum(raised)::int, sum(resolved)::int,
               sum(overdue)::int FROM (
            SELECT t.grid, t.cadre, CASE WHEN c.staff_code IS NOT NULL
                       THEN {is_member("c", "t.day")} END AS member,
                   t.visits, t.raised, t.resolved, 0 AS overdue
            FROM tally t LEFT JOIN cadre c ON c.staff_code = t.cadre
            WHERE t.day BETWEEN $2 AND $3 AND {subtree.under("t.grid")}
            UNION ALL
            SELECT f.grid, f.handler_cadre, CASE WHEN c.staff_code IS NOT NULL
                       THEN {is_member("c", "$6::date")} END, 0, 0, 0, 1
            FROM case_file f LEFT JOIN cadre c ON c.staff_code = f.handler_cadre
            WHERE {subtree.under("f.grid")} AND $5::timestamptz IS NOT NULL
                AND {overdue(period, now, "$5", "$4")}
        ) AS every GROUP BY 1, 2, 3
        HAVING sum(visits) <> 0 OR sum(raised) <> 0 OR sum(resolved) <> 0 OR sum(overdue) <> 0
        """,
        subtree.code,
        period.first,
        period.last,
        min(period.ends, now),
        period.ends,
        min(period.last, local_day(now)),
    )


async def hours_by_grid(connection: Connection, subtree: Subtree, period: Period) -> list[Row]:
    """The hours from raised to resolved of what each cadre resolved in each grid in a period."""
    return await connection.fetch(
        f"""
        SELECT grid, resolved_by,
               array_agg(date_part('epoch', resolved_at - raised_at) / 3600) AS hours
        FROM case_file WHERE resolved_at >= $2 AND resolved_at < $3 AND {IS_COUNTED}
            AND resolved_by IS NOT NULL AND {subtree.under("grid")} GROUP BY 1, 2
        """,
        subtree.code,
        period.begins,
        period.ends,
    )


async def of_cadre(
    connection: Connection, staff_code: str, subtree: Subtree, period: Period, now: datetime
) -> Row:
    """What one cadre did in a period in a unit, and what is overdue in the
    cadre's hands.
    """
    row = await connection.fetchrow(
        f"""
        WITH work AS (
            SELECT 1 AS sign, visits, raised, resolved FROM cadre_tally
            WHERE span = ANY($2::text[]) AND cadre = $6
                AND {subtree.under("village")}
            UNION ALL
            SELECT sign, visits, raised, resolved
                FROM unnest($3::date[], $4::date[], $5::int[]) AS d(first, last, sign)
            JOIN tally t ON t.day BETWEEN d.first AND d.last AND t.cadre = $6
                AND {subtree.under("t.grid")}
        )
        SELECT coalesce(sum(sign * visits), 0)::int AS visits,
               coalesce(sum(sign * raised), 0)::int AS problems_raised,
               coalesce(sum(sign * resolved), 0)::int AS problems_resolved,
               (SELECT count(*) FROM case_file WHERE handler_cadre = $6
                    AND $8::timestamptz IS NOT NULL AND {overdue(period, now, "$8", "$7")}
                AND {subtree.under("grid")})::int AS problems_overdue
        FROM work
        """,
        subtree.code,
        *pieces(subtree, period),
        staff_code,
        min(period.ends, now),
        period.ends,
    )
    assert row is not None
    return row


async def of_cadre_in(
    connection: Connection, staff_code: str, grids: Sequence[str], period: Period, now: datetime
) -> Row:
    """The same in some grids, by their days."""
    row = await connection.fetchrow(
        f"""
        SELECT coalesce(sum(visits), 0)::int AS visits,
               coalesce(sum(raised), 0)::int AS problems_raised,
               coalesce(sum(resolved), 0)::int AS problems_resolved,
               (SELECT count(*) FROM case_file WHERE handler_cadre = $1
                    AND $6::timestamptz IS NOT NULL AND {overdue(period, now, "$6", "$5")}
                    AND grid = ANY($2::text[]))::int AS problems_overdue
        FROM tally WHERE cadre = $1 AND grid = ANY($2::text[]) AND day BETWEEN $3 AND $4
        """,
        staff_code,
        list(grids),
        period.first,
        period.last,
        min(period.ends, now),
        period.ends,
    )
    assert row is not None
    return row


async def cadre(connection: Connection, staff_code: str, day: date) -> Row | None:
    """A cadre without the secrets; whether a party member, as of a day."""
    return await connection.fetchrow(
        "SELECT c.staff_code, coalesce(c.shown_code, c.staff_code) AS shown_code, c.name, c.phone,"
        f" {is_member('c', '$2')} AS party_member FROM cadre c WHERE c.staff_code = $1",
        staff_code,
        day,
    )


async def posts(connection: Connection, staff_code: str) -> list[Row]:
    """All posts of a cadre with the names of their units, the present ones first."""
    return await connection.fetch(
        """
        SELECT p.role, p.unit, u.name AS unit_name, p.valid_from, p.valid_to FROM post p LEFT
            JOIN unit u ON u.code = p.unit
        WHERE p.staff_code = $1 ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC, p.unit
        """,
        staff_code,
    )


async def checks(connection: Connection, staff_code: str, period: Period) -> int:
    """How many problems that others had resolved a cadre verified in a period."""
    count: int = await connection.fetchval(
        "SELECT count(DISTINCT s.problem_id) FROM step s LEFT JOIN case_file c"
        " ON c.problem = s.problem_id"
        " WHERE s.created_by = $1 AND s.at >= $2 AND s.at < $3 AND s.action = 'verify'"
        " AND NOT s.deleted"
        " AND c.resolved_by IS DISTINCT FROM s.created_by",
        staff_code,
        period.begins,
        period.ends,
    )
    return count


async def tied_households(connection: Connection, staff_code: str, period: Period) -> Row:
    """A member's contact households and contracted households: how many, visited by anyone, and
    visited by the member in a period.
    """
    row = await connection.fetchrow(
        f"""
        WITH tied AS (
            SELECT h.id, h.grid, h.contact_member = $1 AS contact, h.lead_member = $1 AS lead
            FROM household h WHERE (h.contact_member = $1 OR h.lead_member = $1) AND NOT h.deleted
                AND {IS_PRESENT}
        ), seen AS (
            SELECT t.*, v.anyone, v.own FROM tied t LEFT JOIN LATERAL (
                SELECT count(*) > 0 AS anyone, count(*) FILTER (WHERE v.created_by = $1) > 0 AS own
                    FROM visit v
                WHERE v.grid = t.grid AND v.visited_at >= $2 AND v.visited_at < $3
                    AND v.household_id = t.id AND NOT v.deleted) AS v ON true
        )
        SELECT count(*) FILTER (WHERE contact)::int AS contact,
               count(*) FILTER (WHERE contact AND anyone)::int AS contact_visited,
               count(*) FILTER (WHERE contact AND own)::int AS contact_visited_by_member,
               count(*) FILTER (WHERE lead)::int AS contracted,
               count(*) FILTER (WHERE lead AND anyone)::int AS contracted_visited,
               count(*) FILTER (WHERE lead AND own)::int AS contracted_visited_by_member
        FROM seen
        """,
        staff_code,
        period.begins,
        period.ends,
    )
    assert row is not None
    return row


_TIES = {"contact": "contact_member", "lead": "lead_member"}


async def members(
    connection: Connection, subtree: Subtree, period: Period, role: str, limit: int, day: date
) -> list[Row]:
    """Each member tied to households of a unit (`role`: contact or lead): how many, and how many
    were visited in a week or month; whether a party member, as of a day. Codes that no cadre has
    are not among them, nor, as contact members, those outside the party.
    """
    name = _TIES[role]
    return await connection.fetch(
        f"""
        WITH tied AS (
            SELECT h.{name} AS staff_code, count(*)::int AS households,
                   count(*) FILTER (WHERE EXISTS
                   (SELECT FROM visited_household v WHERE v.household = h.id AND v.span = $2))::int
                       AS visited
            FROM household h WHERE {subtree.under("h.grid")} AND h.{name} IS NOT NULL
                AND NOT h.deleted AND {IS_PRESENT} GROUP BY 1
        ), known AS (
            SELECT t.*, coalesce(c.shown_code, t.staff_code) AS shown_code, c.name,
                   {is_member("c", "$4")} AS party_member
            FROM tied t JOIN cadre c ON c.staff_code = t.staff_code
        )
        SELECT * FROM known WHERE party_member OR $5
        ORDER BY visited::float8 / households, households DESC, staff_code LIMIT $3
        """,
        subtree.code,
        period.name,
        limit,
        day,
        role != "contact",
    )


async def count_ties(connection: Connection, subtree: Subtree, role: str, day: date) -> Row:
    """Of the households of a unit, by whom they are tied to (`role`: contact or lead): to nobody
    (`without_one`), to a code that no cadre has (`unknown`), to a cadre who is no party member on
    a day (`outside_party`), and how many there are (`households`).
    """
    name = _TIES[role]
    row = await connection.fetchrow(
        f"""
        WITH tied AS (
            SELECT h.{name} AS staff_code, count(*) AS households
            FROM household h WHERE {subtree.under("h.grid")} AND NOT h.deleted AND {IS_PRESENT}
            GROUP BY 1
        )
        SELECT coalesce(sum(households), 0)::int AS households,
               coalesce(sum(households) FILTER (WHERE t.staff_code IS NULL), 0)::int AS without_one,
               coalesce(sum(households) FILTER (WHERE t.staff_code IS NOT NULL
                   AND c.staff_code IS NULL), 0)::int AS unknown,
               coalesce(sum(households) FILTER (WHERE c.staff_code IS NOT NULL
                   AND NOT {is_member("c", "$2")}), 0)::int AS outside_party
        FROM tied t LEFT JOIN cadre c ON c.staff_code = t.staff_code
        """,
        subtree.code,
        day,
    )
    assert row is not None
    return row
