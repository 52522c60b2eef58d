"""The SQL of visits: lists."""

from datetime import datetime
from typing import NamedTuple

from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Reach, own_or_tied
from service.kit.database import Connection, Row
from service.records.columns import fields_json
from sync_protocol.records import VISIT


class Filters(NamedTuple):
    """What a list of visits is narrowed to; None narrows nothing."""

    household: str | None = None
    cadre: str | None = None
    duty: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def home_of(connection: Connection, household: str) -> str | None:
    """The grid in which a living household lies."""
    grid: str | None = await connection.fetchval(
        "SELECT grid FROM household WHERE id = $1::uuid AND NOT deleted", household
    )
    return grid


async def visits(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Living visits of a reach, the newest first."""
    where = Conditions.reaching("r.grid", reach, own_or_tied("r", "{0}", "{1}"))
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
    if after is not None:
        where.add("(r.visited_at, r.id) < ({}, {}::uuid)", *after)
    last = where.parameter(limit)
    return await connection.fetch(
        bounded(f"""
        SELECT r.id::text, r.grid, r.rev, r.visited_at, r.created_by,
               coalesce(c.name, '') AS author, r.received_at, r.offset_ms,
               h.head_name, h.grid AS household_grid, h.id::text AS household,
               {fields_json(VISIT, "r")} AS fields
        FROM visit r LEFT JOIN cadre c ON c.staff_code = r.created_by LEFT JOIN household h
            ON h.id = r.household_id
        WHERE {where.sql} ORDER BY r.visited_at DESC, r.id DESC LIMIT {last}
        """),
        *where.values,
    )
