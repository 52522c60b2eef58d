"""The SQL of the summaries: each function one query over the tally, the cases and the visits of a unit and a period."""

from datetime import datetime

from service.database import Connection, Row
from sync_protocol.periods import Period

# A unit and all below it are one range of codes: ':' sorts after every digit.
UNDER = "{0} >= $1 AND {0} < $1 || ':'"
OPEN = "('raised', 'accepted', 'assigned', 'handling', 'returned', 'reopened')"


async def unit(connection: Connection, code: str) -> Row | None:
    """A unit by code."""
    return await connection.fetchrow("SELECT code, level, parent, name, party_group FROM unit WHERE code = $1", code)


async def children(connection: Connection, code: str) -> list[Row]:
    """The units right below a unit."""
    return await connection.fetch("SELECT code, level, name FROM unit WHERE parent = $1 ORDER BY code", code)


async def counts(connection: Connection, code: str, period: Period, width: int) -> list[Row]:
    """Visits, problems raised and resolved of a period, per unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT left(grid, $4) AS code, sum(visits)::int AS visits, sum(raised)::int AS raised, sum(resolved)::int AS resolved
        FROM tally WHERE {UNDER.format("grid")} AND day BETWEEN $2 AND $3 AND duty = '' GROUP BY 1
        """,
        code,
        period.first,
        period.last,
        width,
    )


async def duties(connection: Connection, code: str, period: Period) -> list[Row]:
    """Visits, problems raised and resolved of a period per duty; a visit counts under each of its duties."""
    return await connection.fetch(
        f"""
        SELECT duty, sum(visits)::int AS visits, sum(raised)::int AS problems_raised, sum(resolved)::int AS problems_resolved
        FROM tally WHERE {UNDER.format("grid")} AND day BETWEEN $2 AND $3 AND duty <> '' GROUP BY 1
        """,
        code,
        period.first,
        period.last,
    )


async def households_visited(connection: Connection, code: str, period: Period, width: int) -> list[Row]:
    """Distinct households visited in a period, per unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT left(grid, $4) AS code, count(DISTINCT household_id)::int AS visited
        FROM visit WHERE {UNDER.format("grid")} AND visited_at >= $2 AND visited_at < $3 AND NOT deleted GROUP BY 1
        """,
        code,
        period.begins,
        period.ends,
        width,
    )


async def households(connection: Connection, code: str, width: int) -> list[Row]:
    """Households at present, per unit whose code has `width` digits."""
    return await connection.fetch(
        f"SELECT left(grid, $2) AS code, count(*)::int AS households FROM household"
        f" WHERE {UNDER.format('grid')} AND NOT deleted GROUP BY 1",
        code,
        width,
    )


async def standing(connection: Connection, code: str, period: Period, at: datetime, width: int) -> list[Row]:
    """Problems open and overdue at the end of a period (or at `at`, if earlier), per unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT left(grid, $4) AS code, count(*)::int AS open, count(*) FILTER (WHERE due < $3)::int AS overdue
        FROM case_file
        WHERE {UNDER.format("grid")} AND raised_at < $2 AND state NOT IN ('rejected', 'joined')
          AND (resolved_at IS NULL OR resolved_at >= $2)
        GROUP BY 1
        """,
        code,
        period.ends,
        min(period.ends, at),
        width,
    )


async def median_hours(connection: Connection, code: str, period: Period, width: int) -> list[Row]:
    """Median hours from raised to resolved, of the problems resolved in a period, per unit whose code has `width` digits."""
    return await connection.fetch(
        f"""
        SELECT left(grid, $4) AS code,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM resolved_at - raised_at) / 3600) AS hours
        FROM case_file
        WHERE {UNDER.format("grid")} AND resolved_at >= $2 AND resolved_at < $3 AND state NOT IN ('rejected', 'joined')
        GROUP BY 1
        """,
        code,
        period.begins,
        period.ends,
        width,
    )


async def cadres(connection: Connection, code: str, period: Period, at: datetime) -> list[Row]:
    """Every cadre with work in a unit in a period, or with problems overdue in hand there at its end."""
    return await connection.fetch(
        f"""
        WITH work AS (
            SELECT cadre, sum(visits)::int AS visits, sum(raised)::int AS raised, sum(resolved)::int AS resolved
            FROM tally WHERE {UNDER.format("grid")} AND day BETWEEN $2 AND $3 AND duty = '' GROUP BY 1
        ), overdue AS (
            SELECT handler_cadre AS cadre, count(*)::int AS overdue
            FROM case_file WHERE {UNDER.format("grid")} AND state IN {OPEN} AND due < $4 AND handler_cadre IS NOT NULL GROUP BY 1
        )
        SELECT coalesce(w.cadre, o.cadre) AS staff_code, coalesce(c.name, '') AS name, coalesce(c.party_member, false) AS party_member,
               (SELECT p.unit FROM post p WHERE p.staff_code = coalesce(w.cadre, o.cadre)
                ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC, p.unit LIMIT 1) AS unit,
               coalesce(w.visits, 0) AS visits, coalesce(w.raised, 0) AS problems_raised,
               coalesce(w.resolved, 0) AS problems_resolved, coalesce(o.overdue, 0) AS problems_overdue
        FROM work w FULL JOIN overdue o ON o.cadre = w.cadre LEFT JOIN cadre c ON c.staff_code = coalesce(w.cadre, o.cadre)
        WHERE coalesce(w.visits, 0) <> 0 OR coalesce(w.raised, 0) <> 0 OR coalesce(w.resolved, 0) <> 0 OR o.overdue > 0
        """,
        code,
        period.first,
        period.last,
        min(period.ends, at),
    )


async def late_arrivals(connection: Connection, code: str, period: Period) -> int:
    """Visits and problems of a period that came in after it had ended."""
    count: int = await connection.fetchval(
        f"""
        SELECT (SELECT count(*) FROM visit WHERE {UNDER.format("grid")} AND visited_at >= $2 AND visited_at < $3
                AND received_at >= $3 AND NOT deleted)
             + (SELECT count(*) FROM problem WHERE {UNDER.format("grid")} AND raised_at >= $2 AND raised_at < $3
                AND received_at >= $3 AND NOT deleted)
        """,
        code,
        period.begins,
        period.ends,
    )
    return count


async def loop_counts(connection: Connection, code: str, period: Period, log: str) -> int:
    """How many grids of a unit have filed the analysis of a week, or the summary of a month."""
    name = "week" if log == "weekly_analysis" else "month"
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM {log} WHERE {UNDER.format('grid')} AND {name} = $2 AND NOT deleted", code, period.name
    )
    return count


async def grids(connection: Connection, code: str) -> int:
    """How many grids a unit has."""
    count: int = await connection.fetchval(f"SELECT count(*) FROM unit WHERE {UNDER.format('code')} AND level = 'grid'", code)
    return count
