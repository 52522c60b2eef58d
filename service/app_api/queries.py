"""The SQL behind the app: receipts, villages with contacts."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.bounded import bounded
from service.kit.conditions import Conditions, Range
from service.kit.database import Connection, Row
from service.organisation.units import parent_on
from sync_protocol.periods import local_day


async def first_grid(connection: Connection, village: str) -> str | None:
    """The first grid of a village."""
    code: str | None = await connection.fetchval(
        "SELECT code FROM unit WHERE parent = $1 AND closed IS NULL ORDER BY code LIMIT 1", village
    )
    return code


async def add_receipt(
    connection: Connection, number: str, problem: str, client: str, now: datetime
) -> None:
    """Keeps a receipt."""
    await connection.execute(
        "INSERT INTO receipt (number, problem, client, created_at) VALUES ($1, $2, $3, $4)",
        number,
        problem,
        client,
        now,
    )


async def receipt_of(connection: Connection, problem: str, client: str) -> str | None:
    """The receipt under which a request of this app was taken in before."""
    number: str | None = await connection.fetchval(
        "SELECT number FROM receipt WHERE problem = $1 AND client = $2", problem, client
    )
    return number


# The newest text that a cadre has written for the herder; notes are for the cadres.
_REQUEST = """
    SELECT r.number AS receipt, r.problem::text, r.created_at, c.state, c.due, c.resolved_at,
           c.satisfied, c.grid, (SELECT s.answer FROM step s WHERE s.problem_id = r.problem
               AND NOT s.deleted AND s.answer IS NOT NULL ORDER BY s.stamp DESC, s.id DESC LIMIT 1)
               AS answer
    FROM receipt r JOIN case_file c ON c.problem = r.problem
"""


async def request(connection: Connection, number: str, client: str) -> Row | None:
    """How a request of this app stands."""
    return await connection.fetchrow(
        f"{_REQUEST} WHERE r.number = $1 AND r.client = $2", number, client
    )


async def requests(
    connection: Connection,
    client: str,
    states: Sequence[str] | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """The requests of this app, the newest first, all or those in some states."""
    moment, problem = after or (None, None)
    sql = (
        f"{_REQUEST} WHERE r.client = $1 AND ($2::text[] IS NULL OR c.state = ANY($2))"
        " AND ($3::timestamptz IS NULL OR (r.created_at, r.problem) < ($3, $4::uuid))"
        " ORDER BY r.created_at DESC, r.problem DESC LIMIT $5"
    )
    return await connection.fetch(
        bounded(sql),
        client,
        states,
        moment,
        problem,
        limit,
    )


async def steps(connection: Connection, problem: str) -> list[Row]:
    """What was done about a problem and what the herder was answered, without notes and names."""
    return await connection.fetch(
        "SELECT action, at, answer FROM step WHERE problem_id = $1 AND NOT deleted"
        " AND (action <> 'note' OR answer IS NOT NULL)"
        " ORDER BY stamp, id",
        problem,
    )


async def villages(
    connection: Connection,
    ranges: Sequence[Range],
    roles: Sequence[str],
    now: datetime,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Villages of these units in order of code, with the cadres who are their public contacts."""
    where = Conditions("v.code", ranges)
    where.add("v.level = 'village'")
    if after is not None:
        where.add("v.code > {}", after)
    held_now, today, wanted, last = (
        where.parameter(now),
        where.parameter(local_day(now)),
        where.parameter(list(roles)),
        where.parameter(limit),
    )
    return await connection.fetch(
        f"""
        SELECT v.code, v.name, t.name AS township, b.name AS banner,
               coalesce(json_agg(json_build_object('staff_code', c.staff_code, 'name', c.name,
               'role', p.role, 'phone', c.phone)
                                 ORDER BY array_position({wanted}::text[], p.role), c.staff_code)
                        FILTER (WHERE c.staff_code IS NOT NULL), '[]') AS contacts
        FROM unit v JOIN unit t ON t.code = {parent_on("v", today)}
        JOIN unit b ON b.code = {parent_on("t", today)}
        LEFT JOIN post p ON p.unit = v.code AND p.role = ANY({wanted}::text[])
             AND p.valid_from <= {held_now} AND (p.valid_to IS NULL OR p.valid_to > {held_now})
        LEFT JOIN cadre c ON c.staff_code = p.staff_code
        WHERE {where.sql} GROUP BY v.code, v.name, t.name, b.name ORDER BY v.code LIMIT {last}
        """,
        *where.values,
    )
