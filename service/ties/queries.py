"""The SQL of ties: those that were written as records, and those that the fields `contact_member`
and `lead_member` of households say.
"""

from datetime import date
from typing import NamedTuple

from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Reach
from service.kit.database import Connection, Row
from sync_protocol.periods import Period


class Filters(NamedTuple):
    """What a list of ties is narrowed to; None narrows nothing. `day`: those that hold then."""

    cadre: str | None = None
    household: str | None = None
    kind: str | None = None
    day: date | None = None
    source: str | None = None


# A tie of a field has no days, and an id for the order alone. Where a record says the same the
# field adds nothing.
def _field(name: str, kind: str) -> str:
    return f"""
    SELECT md5(h.id::text || '{kind}')::uuid AS id, '{name}' AS source, h.grid,
           h.id AS household_id, h.{name} AS cadre, '{kind}' AS kind, NULL::text AS valid_from,
           NULL::text AS valid_to
    FROM household h WHERE h.{name} IS NOT NULL AND NOT h.deleted AND NOT EXISTS (
        SELECT FROM tie y WHERE y.household_id = h.id AND y.cadre = h.{name}
            AND y.kind = '{kind}' AND NOT y.deleted)
    """


EVERY_TIE = f"""
    SELECT y.id, 'tie' AS source, y.grid, y.household_id, y.cadre, y.kind, y.valid_from, y.valid_to
    FROM tie y WHERE NOT y.deleted
    UNION ALL {_field("contact_member", "contact")} UNION ALL {_field("lead_member", "contracted")}
"""


async def ties(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    period: Period,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Row]:
    """Ties of a reach in order of grid and id, with the visits of the cadre to the household in a
    period, and the last one of all.
    """
    where = Conditions("t.grid", reach.whole)
    if filters.cadre is not None:
        where.add("t.cadre = {}", filters.cadre)
    if filters.household is not None:
        where.add("t.household_id = {}::uuid", filters.household)
    if filters.kind is not None:
        where.add("t.kind = {}", filters.kind)
    if filters.source is not None:
        where.add("t.source = {}", filters.source)
    if filters.day is not None:
        where.add(
            "(t.valid_from IS NULL OR t.valid_from <= {0}) AND (t.valid_to IS NULL OR"
            " t.valid_to > {0})",
            filters.day.isoformat(),
        )
    if after is not None:
        where.add("(t.grid, t.id) > ({}, {}::uuid)", *after)
    begins, ends = where.parameter(period.begins), where.parameter(period.ends)
    last = where.parameter(limit)
    return await connection.fetch(
        bounded(f"""
        SELECT t.id::text, t.source, t.grid, t.household_id::text, h.head_name, t.cadre,
               coalesce(c.shown_code, t.cadre) AS shown_code, coalesce(c.name, '') AS name, t.kind,
               t.valid_from, t.valid_to, v.visits, v.last_visit
        FROM ({EVERY_TIE}) AS t LEFT JOIN household h ON h.id = t.household_id
        LEFT JOIN cadre c ON c.staff_code = t.cadre
        LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE x.visited_at >= {begins} AND x.visited_at < {ends})::int
                       AS visits, max(x.visited_at) AS last_visit
            FROM visit x WHERE x.household_id = t.household_id AND x.created_by = t.cadre
                AND NOT x.deleted) AS v ON true
        WHERE {where.sql} ORDER BY t.grid, t.id LIMIT {last}
        """),
        *where.values,
    )


async def tie(connection: Connection, id: str) -> Row | None:
    """One tie as it is kept, unless it was deleted."""
    return await connection.fetchrow(
        "SELECT id::text, grid, rev, household_id::text, cadre, kind, valid_from, valid_to"
        " FROM tie WHERE id = $1::uuid AND NOT deleted",
        id,
    )


async def alike(
    connection: Connection, household: str, cadre: str, kind: str, first: str, last: str | None
) -> str | None:
    """A tie of the same kind between both that holds on one of the same days; None if there is
    none.
    """
    found: str | None = await connection.fetchval(
        "SELECT id::text FROM tie WHERE household_id = $1::uuid AND cadre = $2 AND kind = $3"
        " AND NOT deleted AND (valid_to IS NULL OR valid_to > $4)"
        " AND ($5::text IS NULL OR valid_from < $5) LIMIT 1",
        household,
        cadre,
        kind,
        first,
        last,
    )
    return found
