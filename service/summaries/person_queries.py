"""The SQL of a cadre's own page: work, posts, checks, households."""

from collections.abc import Sequence
from datetime import date, datetime

from service.identity.memberships import is_member
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from service.records.models import IS_PRESENT
from service.summaries.cadre_queries import overdue, pieces
from sync_protocol.periods import Period


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
