"""The SQL of households: lists with the last visit."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Reach, Subtree, holds_on, tied_to
from service.kit.database import Connection, Row


class Filters(NamedTuple):
    """What a list of households is narrowed to. `special`: with any tag; `silent_since`: not
    visited on or after that day; `state`: None for any.
    """

    special: bool | None = None
    tag: str | None = None
    contact_member: str | None = None
    lead_member: str | None = None
    silent_since: date | None = None
    state: str | None = "present"


# The newest week in which a household was visited is a row of its own; the day is then one look
# into that week of its grid.
_LAST = """
    LEFT JOIN LATERAL (
        SELECT max(x.visited_at) AS at FROM (
            SELECT v.span, v.grid FROM visited_household v
            WHERE v.household = h.id AND v.span LIKE '____-W__' ORDER BY v.span DESC LIMIT 1) AS w
        JOIN visit x ON x.grid = w.grid AND x.household_id = h.id AND NOT x.deleted
             AND x.visited_at >= (to_date(w.span, 'IYYY"-W"IW')::timestamp AT TIME ZONE
                 'Asia/Shanghai')
             AND x.visited_at < ((to_date(w.span, 'IYYY"-W"IW') + 7)::timestamp AT TIME ZONE
                 'Asia/Shanghai')
    ) AS last ON true
"""


_COLUMNS = f"""
    SELECT h.id::text, h.grid, h.rev, h.head_name, h.phone, h.address, h.members,
           coalesce(h.tags, '{{}}') AS tags, h.contact_member,
           h.lead_member, coalesce(h.state, 'present') AS state, h.state_since,
           h.merged_into::text, last.at AS last_visit
    FROM household h {_LAST}
"""


async def household(connection: Connection, id: str) -> Row | None:
    """One living household as it is listed."""
    return await connection.fetchrow(_COLUMNS + " WHERE h.id = $1 AND NOT h.deleted", id)


async def households(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Row]:
    """Living households of a reach in order of grid and id, with the moment of the last visit."""
    where = Conditions.reaching("h.grid", reach, tied_to("h", "{0}", "{1}"))
    where.add("NOT h.deleted")
    if filters.state is not None:
        where.add("coalesce(h.state, 'present') = {}", filters.state)
    if filters.special is not None:
        where.add(
            "coalesce(cardinality(h.tags), 0) > 0"
            if filters.special
            else "coalesce(cardinality(h.tags), 0) = 0"
        )
    if filters.tag is not None:
        where.add("h.tags @> ARRAY[{}::text]", filters.tag)
    if filters.contact_member is not None:
        where.add(tied_to("h", "{0}", "{1}"), filters.contact_member, reach.day)
    if filters.lead_member is not None:
        where.add(
            "(h.lead_member = {0} OR EXISTS (SELECT FROM tie y WHERE y.household_id = h.id"
            " AND y.cadre = {0} AND y.kind = 'contracted' AND " + holds_on("y", "{1}") + "))",
            filters.lead_member,
            reach.day,
        )
    if filters.silent_since is not None:
        where.add(
            "(last.at IS NULL OR last.at < ({}::date::timestamp AT TIME ZONE 'Asia/Shanghai'))",
            filters.silent_since,
        )
    if after is not None:
        where.add("(h.grid, h.id) > ({}, {}::uuid)", *after)
    last = where.parameter(limit)
    return await connection.fetch(
        bounded(f"{_COLUMNS} WHERE {where.sql} ORDER BY h.grid, h.id LIMIT {last}"), *where.values
    )


async def tied_among(
    connection: Connection, ids: Collection[str], staff_code: str, day: date
) -> set[str]:
    """Those of some households that are tied to a contact member on a day."""
    if not ids:
        return set()
    rows = await connection.fetch(
        "SELECT h.id::text FROM household h WHERE h.id = ANY($1::uuid[])"
        f" AND {tied_to('h', '$2', '$3')}",
        list(ids),
        staff_code,
        day.isoformat(),
    )
    return {row["id"] for row in rows}


async def first_ties(connection: Connection, ids: Collection[str], day: date) -> list[Row]:
    """Of some households and each kind of tie the one that holds on a day and began first."""
    return await connection.fetch(
        "SELECT DISTINCT ON (y.household_id, y.kind) y.household_id::text AS household, y.kind,"
        f" y.cadre FROM tie y WHERE y.household_id = ANY($1::uuid[]) AND {holds_on('y', '$2')}"
        " ORDER BY y.household_id, y.kind, y.valid_from, y.id",
        list(ids),
        day.isoformat(),
    )


async def lock_moves(connection: Connection, household: str) -> None:
    """Lets one transaction at a time ask for a move of a household: the second finds the first."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('gridloop moves'), hashtext($1))", household
    )


async def workers_of(connection: Connection, grid: str, now: datetime) -> list[str]:
    """The grid workers of a grid at a moment."""
    rows = await connection.fetch(
        "SELECT DISTINCT staff_code FROM post WHERE unit = $1 AND role = 'grid_worker'"
        " AND valid_from <= $2 AND (valid_to IS NULL OR valid_to > $2) ORDER BY staff_code",
        grid,
        now,
    )
    return [row["staff_code"] for row in rows]


async def alike(connection: Connection, village: Subtree, ids: Sequence[str]) -> list[Row]:
    """The living households of a village, and these."""
    return await connection.fetch(
        "SELECT id::text, grid, head_name, coalesce(state, 'present') AS state"
        f" FROM household WHERE NOT deleted AND ({village.under('grid')} OR id = ANY($2::uuid[]))",
        village.code,
        list(ids),
    )
