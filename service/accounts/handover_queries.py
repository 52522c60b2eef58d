"""The SQL of what a cadre has in hand, and of households by who they are tied to."""

from collections.abc import Sequence
from typing import NamedTuple

from service.cases.models import IS_OPEN
from service.kit.conditions import Conditions, Range, bounds
from service.kit.database import Connection, Row

# What ties a household to somebody, by the words of the API.
FIELDS = {"contact": "contact_member", "lead": "lead_member"}


async def counts_in_hand(
    connection: Connection, staff_code: str, ranges: Sequence[Range]
) -> tuple[int, int]:
    """How many open problems a cadre has in hand in these units, and how many households are tied
    or contracted to them there.
    """
    row = await connection.fetchrow(
        f"""
        WITH u AS MATERIALIZED (SELECT * FROM unnest($2::text[], $3::text[]) AS t(low, high))
        SELECT (SELECT count(*) FROM case_file c WHERE c.handler_cadre = $1 AND {IS_OPEN}
                AND EXISTS (SELECT FROM u WHERE c.grid >= u.low AND c.grid < u.high))::int,
               (SELECT count(*) FROM household h WHERE NOT h.deleted
                AND (h.contact_member = $1 OR h.lead_member = $1)
                AND EXISTS (SELECT FROM u WHERE h.grid >= u.low AND h.grid < u.high))::int
        """,
        staff_code,
        *bounds(ranges),
    )
    assert row is not None
    return row[0], row[1]


async def problems_in_hand(
    connection: Connection,
    staff_code: str,
    ranges: Sequence[Range],
    limit: int,
    handled_there: bool = False,
) -> list[Row]:
    """Open problems in a cadre's hands in these units, those due first before others;
    `handled_there`: only those that a unit there has to deal with, and none above.
    """
    where = Conditions("c.grid", ranges)
    if handled_there:
        where.within("c.handler_unit", ranges)
    where.add("c.handler_cadre = {}", staff_code)
    last = where.parameter(limit)
    return await connection.fetch(
        f"""
        SELECT c.problem::text AS id, c.grid, c.state, p.title, c.duty, c.severity, c.raised_at,
               c.handler_unit, c.due
        FROM case_file c JOIN problem p ON p.id = c.problem
        WHERE {where.sql} AND c.{IS_OPEN} AND NOT p.deleted
        ORDER BY c.due NULLS LAST, c.problem LIMIT {last}
        """,
        *where.values,
    )


async def households_of(
    connection: Connection, staff_code: str, role: str, ranges: Sequence[Range], limit: int
) -> list[Row]:
    """Living households of these units that are tied to a cadre, in order of grid."""
    where = Conditions("h.grid", ranges)
    where.add(f"h.{FIELDS[role]} = {{}}", staff_code)
    last = where.parameter(limit)
    return await connection.fetch(
        f"SELECT h.id::text, h.grid, h.rev, h.head_name FROM household h WHERE {where.sql}"
        f" AND NOT h.deleted ORDER BY h.grid, h.id LIMIT {last}",
        *where.values,
    )


class Choice(NamedTuple):
    """Which households are meant: by ids, or by a filter (`held_by`: tied to this cadre at
    present).
    """

    ids: Sequence[str] | None = None
    tag: str | None = None
    without_one: bool = False
    held_by: str | None = None


async def households_to_tie(
    connection: Connection, role: str, ranges: Sequence[Range], choice: Choice, limit: int
) -> list[Row]:
    """Living households of these units that a choice takes in, each with whom it is tied to."""
    where = Conditions("h.grid", ranges)
    field = f"h.{FIELDS[role]}"
    if choice.ids is not None:
        where.add("h.id = ANY({}::uuid[])", list(choice.ids))
    if choice.tag is not None:
        where.add("h.tags @> ARRAY[{}::text]", choice.tag)
    if choice.without_one:
        where.add(f"{field} IS NULL")
    if choice.held_by is not None:
        where.add(f"{field} = {{}}", choice.held_by)
    last = where.parameter(limit)
    return await connection.fetch(
        f"SELECT h.id::text, h.grid, h.rev, {field} AS holder FROM household h WHERE {where.sql}"
        f" AND NOT h.deleted ORDER BY h.grid, h.id LIMIT {last}",
        *where.values,
    )
