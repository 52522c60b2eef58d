"""The SQL of visits: lists."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Range, Reach, contains, own_or_tied
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from sync_protocol.periods import month_around
from sync_protocol.records import VISIT


class Filters(NamedTuple):
    """What a list of visits is narrowed to; None narrows nothing."""

    household: str | None = None
    cadre: str | None = None
    duty: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


async def home_of(connection: Connection, household: str) -> str | None:
    """The grid in which a living household lies."""
    grid: str | None = await connection.fetchval(
        "SELECT grid FROM household WHERE id = $1::uuid AND NOT deleted", household
    )
    return grid


class Stay(NamedTuple):
    """A month in which a cadre made visits in a village, and how many."""

    village: str
    month: str
    visits: int


async def stays(connection: Connection, cadre: str) -> list[Stay]:
    """Where and when a cadre made visits, the newest months first."""
    rows = await connection.fetch(
        "SELECT village, span, visits FROM cadre_tally WHERE cadre = $1 AND visits > 0"
        " AND span LIKE '____-__' AND span !~ '[QH]' ORDER BY span DESC, village",
        cadre,
    )
    return [Stay(*row) for row in rows]


async def last_day(connection: Connection, ranges: Sequence[Range], until: date) -> date | None:
    """The last day up to one on which somebody made a visit in some units."""
    where = Conditions("grid", ranges)
    where.add("day <= {}", until)
    day: date | None = await connection.fetchval(
        f"SELECT day FROM tally WHERE {where.sql} AND visits > 0 ORDER BY day DESC LIMIT 1",
        *where.values,
    )
    return day


async def visits(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    after: tuple[datetime, str] | None,
    limit: int,
    within: Sequence[Stay] | None = None,
) -> list[Row]:
    """Living visits of a reach, the newest first; `within`: looked for in these months of villages
    alone.
    """
    where = Conditions.reaching("r.grid", reach, own_or_tied("r", "{0}", "{1}"))
    source = "visit r"
    if within is not None:
        # Grid by grid, for the index of visits by their moment begins with it; OFFSET 0 keeps
        # PostgreSQL to that.
        spans = [month_around(date.fromisoformat(f"{stay.month}-01")) for stay in within]
        places = [
            where.parameter(values)
            for values in (
                [stay.village for stay in within],
                [span.begins for span in spans],
                [span.ends for span in spans],
            )
        ]
        source = f"""unnest({places[0]}::text[], {places[1]}::timestamptz[],
                {places[2]}::timestamptz[]) AS s(village, begins, ends)
            JOIN counter g ON g.grid >= s.village AND g.grid < s.village || ':'
            CROSS JOIN LATERAL (SELECT v.* FROM visit v WHERE v.grid = g.grid
                AND v.visited_at >= s.begins AND v.visited_at < s.ends
                AND v.created_by = {where.parameter(filters.cadre)} OFFSET 0) AS r"""
    where.add("NOT r.deleted")
    if filters.household is not None:
        where.add("r.household_id = {}::uuid", filters.household)
    if filters.cadre is not None:
        where.add("r.created_by = {}", filters.cadre)
    if filters.duty is not None:
        where.add("r.duties @> ARRAY[{}::text]", filters.duty)
    if filters.since is not None:
        where.add("r.visited_at >= {}", filters.since)
    if filters.until is not None:
        where.add("r.visited_at < {}", filters.until)
    if filters.text is not None:
        where.add("r.content ILIKE {}", contains(filters.text))
    if after is not None:
        where.add("(r.visited_at, r.id) < ({}, {}::uuid)", *after)
    last = where.parameter(limit)
    return await connection.fetch(
        bounded(f"""
        SELECT r.id::text, r.grid, r.rev, r.visited_at, r.created_by,
               coalesce(c.name, '') AS author, r.received_at, r.offset_ms,
               h.head_name, h.grid AS household_grid, h.id::text AS household,
               {fields_json(VISIT, "r")} AS fields
        FROM {source} LEFT JOIN cadre c ON c.staff_code = r.created_by LEFT JOIN household h
            ON h.id = r.household_id
        WHERE {where.sql} ORDER BY r.visited_at DESC, r.id DESC LIMIT {last}
        """),
        *where.values,
    )
