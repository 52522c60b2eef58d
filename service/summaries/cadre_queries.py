"""The SQL of what cadres did: any period, as whole months from the monthly tally and the days that
remain from the daily one.
"""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from service.cases.models import IS_COUNTED
from service.identity.memberships import HOLDS_ON, is_member
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from service.records.models import IS_PRESENT
from service.summaries.queries import IN_OPEN
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


# From the membership of the last day ($9) to that of the day of the work: of the cadres ($10) whose
# membership begins or ends after the first day ($11).
def _moved_by_days(subtree: Subtree) -> str:
    return f"""
    UNION ALL
    SELECT c.staff_code, moved.member, moved.sign * t.visits, moved.sign * t.raised,
           moved.sign * t.resolved, 0
    FROM tally t JOIN cadre c ON c.staff_code = t.cadre
    CROSS JOIN LATERAL (
        SELECT {is_member("c", "t.day")} AS then, {is_member("c", "$9::date")} AS last) AS m
    CROSS JOIN LATERAL (VALUES (m.last, -1), (m.then, 1)) AS moved(member, sign)
    WHERE t.day BETWEEN $11 AND $9 AND {subtree.under("t.grid")} AND t.cadre = ANY($10::text[])
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


async def table(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    now: datetime,
    sort: str,
    limit: int,
    party_member: bool | None,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The first rows of a unit's cadres with work in a period or problems overdue in hand, and the
    sums of members and of others.

    Whose membership begins or ends within the period has a part as a member and one as none, by
    days; what is overdue counts by the last day. With `party_member` the rows are those parts.
    """
    assert sort in SORTS
    last = min(period.last, local_day(now))
    changing = await _changing(connection, period.first, last)
    rows = await connection.fetch(
        f"""
        WITH work AS ({_work(subtree)}), overdue AS (
            SELECT handler_cadre AS cadre, count(*)::int AS overdue
            FROM case_file WHERE {subtree.under("grid")} AND state IN {IN_OPEN} AND due < $6
                AND handler_cadre IS NOT NULL GROUP BY 1
        ), dated AS MATERIALIZED (
            SELECT m.staff_code, {HOLDS_ON.format(day="$9::date")} AS holds
            FROM party_membership m GROUP BY 1
        ), parts AS (
            SELECT c.staff_code, coalesce(d.holds, c.party_member) AS party_member,
                   coalesce(w.visits, 0) AS visits, coalesce(w.raised, 0) AS raised,
                   coalesce(w.resolved, 0) AS resolved, coalesce(o.overdue, 0) AS overdue
            FROM work w FULL JOIN overdue o ON o.cadre = w.cadre JOIN cadre c
                ON c.staff_code = coalesce(w.cadre, o.cadre)
            LEFT JOIN dated d ON d.staff_code = c.staff_code
            {_moved_by_days(subtree) if changing else ""}
        ), every AS MATERIALIZED (
            SELECT staff_code, party_member, sum(visits)::int AS visits,
                   sum(raised)::int AS problems_raised, sum(resolved)::int AS problems_resolved,
                   sum(overdue)::int AS problems_overdue
            FROM parts GROUP BY 1, 2
            HAVING sum(visits) <> 0 OR sum(raised) <> 0 OR sum(resolved) <> 0 OR sum(overdue) > 0
        ), sums AS (
            SELECT json_agg(g) AS groups FROM (
                SELECT party_member, count(*) AS cadres, sum(visits) AS visits,
                       sum(problems_raised) AS problems_raised,
                       sum(problems_resolved) AS problems_resolved,
                       sum(problems_overdue) AS problems_overdue
                FROM every GROUP BY party_member ORDER BY party_member DESC) AS g
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
               (SELECT p.unit FROM post p WHERE p.staff_code = page.staff_code
                ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC, p.unit LIMIT 1) AS unit
        FROM sums LEFT JOIN page ON true LEFT JOIN cadre c ON c.staff_code = page.staff_code
            LEFT JOIN dated d ON d.staff_code = page.staff_code
        ORDER BY page.{sort} DESC, page.staff_code
        """,
        subtree.code,
        *pieces(subtree, period),
        min(period.ends, now),
        limit,
        party_member,
        last,
        *([changing, period.first] if changing else []),
    )
    groups = json.loads(rows[0]["groups"]) if rows and rows[0]["groups"] else []
    return [row for row in rows if row["staff_code"] is not None], groups


async def median_hours(
    connection: Connection, subtree: Subtree, period: Period, staff_codes: Sequence[str]
) -> dict[str, float]:
    """Median hours from raised to resolved of what each of these cadres resolved in a unit in a
    period.
    """
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
               (SELECT count(*) FROM case_file WHERE handler_cadre = $6 AND state IN {IN_OPEN}
                   AND due < $7
                AND {subtree.under("grid")})::int AS problems_overdue
        FROM work
        """,
        subtree.code,
        *pieces(subtree, period),
        staff_code,
        min(period.ends, now),
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


async def members(
    connection: Connection, subtree: Subtree, period: Period, role: str, limit: int, day: date
) -> list[Row]:
    """Each member tied to households of a unit (`role`: contact or lead): how many, and how many
    were visited in a week or month; whether a party member, as of a day.
    """
    name = {"contact": "contact_member", "lead": "lead_member"}[role]
    return await connection.fetch(
        f"""
        WITH tied AS (
            SELECT h.{name} AS staff_code, count(*)::int AS households,
                   count(*) FILTER (WHERE EXISTS
                   (SELECT FROM visited_household v WHERE v.household = h.id AND v.span = $2))::int
                       AS visited
            FROM household h WHERE {subtree.under("h.grid")} AND h.{name} IS NOT NULL
                AND NOT h.deleted AND {IS_PRESENT} GROUP BY 1
        )
        SELECT t.*, coalesce(c.shown_code, t.staff_code) AS shown_code,
               coalesce(c.name, '') AS name,
               coalesce({is_member("c", "$4")}, false) AS party_member
        FROM tied t LEFT JOIN cadre c ON c.staff_code = t.staff_code
        ORDER BY t.visited::float8 / t.households, t.households DESC, t.staff_code LIMIT $3
        """,
        subtree.code,
        period.name,
        limit,
        day,
    )


async def count_untied(connection: Connection, subtree: Subtree, role: str) -> int:
    """How many living households of a unit are tied to nobody (`role`: contact or lead)."""
    name = {"contact": "contact_member", "lead": "lead_member"}[role]
    count: int = await connection.fetchval(
        f"SELECT count(*)::int FROM household h WHERE {subtree.under('h.grid')}"
        f" AND h.{name} IS NULL AND NOT h.deleted AND {IS_PRESENT}",
        subtree.code,
    )
    return count
