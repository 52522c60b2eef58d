"""The SQL of visiting: the visits of cadres to the households that they are tied to, and checks of
visits.
"""

from collections.abc import Sequence
from datetime import date

from service.kit.bounded import bounded
from service.kit.conditions import Subtree
from service.kit.database import Connection, Row
from service.summaries.count_queries import pieces_of
from service.ties.queries import EVERY_TIE
from sync_protocol.periods import Period


async def ties(connection: Connection, subtree: Subtree, period: Period, day: date) -> list[Row]:
    """Per cadre and kind of tie: the households of a unit that are tied to the cadre on a day, how
    many of them the cadre visited in a period, and how often.
    """
    return await connection.fetch(
        f"""
        SELECT t.cadre, t.kind, count(*)::int AS households,
               count(*) FILTER (WHERE v.visits > 0)::int AS visited, sum(v.visits)::int AS visits
        FROM ({EVERY_TIE}) AS t CROSS JOIN LATERAL (
            SELECT count(*) AS visits FROM visit x
            WHERE x.household_id = t.household_id AND x.created_by = t.cadre AND NOT x.deleted
                AND x.visited_at >= $2 AND x.visited_at < $3) AS v
        WHERE {subtree.under("t.grid")} AND (t.valid_from IS NULL OR t.valid_from <= $4)
            AND (t.valid_to IS NULL OR t.valid_to > $4)
        GROUP BY 1, 2 ORDER BY 1, 2
        """,
        subtree.code,
        period.begins,
        period.ends,
        day.isoformat(),
    )


async def leaders(
    connection: Connection, subtree: Subtree, period: Period, roles: Sequence[str]
) -> list[Row]:
    """Who had a post with one of these roles in a unit within a period, and which."""
    return await connection.fetch(
        f"""
        SELECT DISTINCT p.staff_code AS cadre, p.role FROM post p
        WHERE {subtree.under("p.unit")} AND p.role = ANY($2::text[]) AND p.valid_from < $4
            AND (p.valid_to IS NULL OR p.valid_to > $3) ORDER BY 1, 2
        """,
        subtree.code,
        list(roles),
        period.begins,
        period.ends,
    )


async def names(connection: Connection, cadres: Sequence[str]) -> dict[str, Row]:
    """The staff codes of today and the names of cadres."""
    rows = await connection.fetch(
        "SELECT staff_code, coalesce(shown_code, staff_code) AS shown_code, name FROM cadre"
        " WHERE staff_code = ANY($1::text[])",
        list(cadres),
    )
    return {row["staff_code"]: row for row in rows}


async def visits_of(
    connection: Connection, subtree: Subtree, period: Period, cadres: Sequence[str]
) -> dict[str, int]:
    """All visits of some cadres in a unit and a period."""
    some = pieces_of(period)
    # The tally of weeks and months is by village.
    if subtree.height == 0:
        some = some._replace(spans=[], first_days=[period.first], last_days=[period.last])
    rows = await connection.fetch(
        f"""
        SELECT cadre, sum(visits)::int AS visits FROM (
            SELECT cadre, visits FROM cadre_tally WHERE span = ANY($2::text[])
                AND {subtree.under("village")} AND cadre = ANY($3::text[])
            UNION ALL
            SELECT t.cadre, t.visits FROM unnest($4::date[], $5::date[]) AS d(first, last)
            JOIN tally t ON t.day BETWEEN d.first AND d.last AND {subtree.under("t.grid")}
                AND t.cadre = ANY($3::text[])) AS every
        GROUP BY 1
        """,
        subtree.code,
        some.spans,
        list(cadres),
        some.first_days,
        some.last_days,
    )
    return {row["cadre"]: row["visits"] for row in rows}


async def checks(connection: Connection, subtree: Subtree, period: Period) -> Row:
    """How many visits of a unit that were made in a period were checked, by the newest finding of
    each.
    """
    row = await connection.fetchrow(
        f"""
        SELECT count(*)::int AS checked,
               count(*) FILTER (WHERE finding = 'seen')::int AS seen,
               count(*) FILTER (WHERE finding = 'confirmed')::int AS confirmed,
               count(*) FILTER (WHERE finding = 'not_confirmed')::int AS not_confirmed
        FROM (
            SELECT DISTINCT ON (c.visit_id) c.finding FROM visit_check c
            JOIN visit v ON v.id = c.visit_id AND NOT v.deleted
            WHERE {subtree.under("c.grid")} AND NOT c.deleted AND v.visited_at >= $2
                AND v.visited_at < $3 ORDER BY c.visit_id, c.checked_at DESC, c.id) AS newest
        """,
        subtree.code,
        period.begins,
        period.ends,
    )
    assert row is not None
    return row


async def checkers(connection: Connection, subtree: Subtree, period: Period) -> list[Row]:
    """Who checked how many visits of a unit in a period."""
    return await connection.fetch(
        f"""
        SELECT c.created_by AS cadre, count(DISTINCT c.visit_id)::int AS checks
        FROM visit_check c WHERE {subtree.under("c.grid")} AND NOT c.deleted
            AND c.checked_at >= $2 AND c.checked_at < $3 GROUP BY 1
        """,
        subtree.code,
        period.begins,
        period.ends,
    )


async def checks_of(connection: Connection, visit: str) -> list[Row]:
    """The checks of a visit, the newest first."""
    return await connection.fetch(
        bounded("""
        SELECT k.id::text, k.checked_at, k.finding, k.note, k.created_by,
               coalesce(c.name, '') AS name
        FROM visit_check k LEFT JOIN cadre c ON c.staff_code = k.created_by
        WHERE k.visit_id = $1::uuid AND NOT k.deleted ORDER BY k.checked_at DESC, k.id LIMIT 1000
        """),
        visit,
    )


async def grid_of(connection: Connection, visit: str) -> str | None:
    """The grid of a living visit."""
    grid: str | None = await connection.fetchval(
        "SELECT grid FROM visit WHERE id = $1::uuid AND NOT deleted", visit
    )
    return grid
