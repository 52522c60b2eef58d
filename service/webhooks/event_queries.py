"""The SQL that finds what there is to tell: behind the writes, in what they have left."""

from collections.abc import Sequence
from datetime import datetime

from service.cases.models import IS_OPEN
from service.kit.database import Connection, Row

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('gridloop webhooks'))"
_CASE = (
    "c.problem::text, c.grid, c.state, c.severity, c.duty, c.category, c.due, c.raised_at,"
    " c.resolved_at, c.escalated, c.satisfied, r.client, r.number AS receipt"
)


async def alone(connection: Connection) -> bool:
    """Whether nobody else looks for events until the transaction ends."""
    found: bool = await connection.fetchval(_LOCK)
    return found


async def begin_cursor(connection: Connection) -> None:
    """From here on what is written is looked at; what was before is not."""
    await connection.execute(
        "INSERT INTO webhook_cursor (grid, rev) SELECT grid, rev FROM counter"
        " ON CONFLICT (grid) DO UPDATE SET rev = excluded.rev"
    )


async def grown(connection: Connection, limit: int) -> list[Row]:
    """Grids in which more was written than was looked at: from which revision, up to which.

    The head of a counter is read first: what lies up to it is committed as a whole, for its row is
    locked until the transaction of each revision ends.
    """
    return await connection.fetch(
        """
        SELECT n.grid, coalesce(k.rev, 0) AS seen, n.rev AS head
        FROM counter n LEFT JOIN webhook_cursor k ON k.grid = n.grid
        WHERE n.rev > coalesce(k.rev, 0) ORDER BY n.grid LIMIT $1
        """,
        limit,
    )


async def advance(connection: Connection, grids: Sequence[str], heads: Sequence[int]) -> None:
    """What was written in these grids was looked at."""
    await connection.execute(
        "INSERT INTO webhook_cursor (grid, rev) SELECT * FROM unnest($1::text[], $2::bigint[])"
        " ON CONFLICT (grid) DO UPDATE SET rev = greatest(webhook_cursor.rev, excluded.rev)",
        list(grids),
        list(heads),
    )


async def changed_cases(
    connection: Connection, grids: Sequence[str], seen: Sequence[int], heads: Sequence[int]
) -> list[Row]:
    """The cases of problems that were written there, or had a step other than a note; the newest
    revision of each, and whether one of its steps escalated it.
    """
    return await connection.fetch(
        f"""
        WITH span AS (
            SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS s (grid, seen, head)
        ), written AS (
            SELECT p.id AS problem, p.rev, false AS escalates FROM span s
            JOIN problem p ON p.grid = s.grid AND p.rev > s.seen AND p.rev <= s.head
            UNION ALL
            SELECT t.problem_id, t.rev, t.action = 'escalate' FROM span s
            JOIN step t ON t.grid = s.grid AND t.rev > s.seen AND t.rev <= s.head
            WHERE t.action <> 'note'
        ), newest AS (
            SELECT problem, max(rev) AS rev, bool_or(escalates) AS escalates FROM written
            GROUP BY problem
        )
        SELECT {_CASE}, n.rev, n.escalates FROM newest n JOIN case_file c USING (problem)
        LEFT JOIN receipt r ON r.problem = c.problem ORDER BY c.grid, n.rev
        """,
        list(grids),
        list(seen),
        list(heads),
    )


async def overdue_cases(
    connection: Connection, after: datetime, now: datetime, limit: int
) -> list[Row]:
    """Open cases whose limit has passed since a moment and of which that was not told."""
    return await connection.fetch(
        f"""
        SELECT {_CASE} FROM case_file c LEFT JOIN receipt r ON r.problem = c.problem
        WHERE c.{IS_OPEN} AND c.due > $1 AND c.due <= $2 AND NOT EXISTS (
            SELECT FROM webhook_event e
            WHERE e.key = 'overdue ' || c.problem || ' ' || extract(epoch FROM c.due)::bigint)
        ORDER BY c.due, c.problem LIMIT $3
        """,
        after,
        now,
        limit,
    )


async def seals(connection: Connection, after: datetime, limit: int) -> list[Row]:
    """Periods that were closed since a moment, of which that was not told."""
    return await connection.fetch(
        "SELECT s.id::text, s.unit, s.span, s.sealed_at FROM seal s"
        " WHERE s.sealed_at >= $1 AND NOT s.lifted"
        " AND NOT EXISTS (SELECT FROM webhook_event e WHERE e.key = 'closed ' || s.id)"
        " ORDER BY s.sealed_at, s.id LIMIT $2",
        after,
        limit,
    )


async def articles(connection: Connection, after: datetime, limit: int) -> list[Row]:
    """Articles that were published since a moment, of which that was not told."""
    return await connection.fetch(
        "SELECT a.id::text, a.unit, a.kind, a.published_at FROM article a"
        " WHERE a.published_at >= $1 AND a.state = 'published'"
        " AND NOT EXISTS (SELECT FROM webhook_event e WHERE e.key = 'article ' || a.id)"
        " ORDER BY a.published_at, a.id LIMIT $2",
        after,
        limit,
    )


async def unit_names(connection: Connection, codes: Sequence[str]) -> dict[str, str]:
    """The names of units."""
    rows = await connection.fetch(
        "SELECT code, name FROM unit WHERE code = ANY($1::text[])", list(codes)
    )
    return {row["code"]: row["name"] for row in rows}


async def add_events(connection: Connection, rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Keeps events that are not there yet; the keys of those that were not."""
    found = await connection.fetch(
        """
        INSERT INTO webhook_event (id, key, type, unit, at, data, client, receipt)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                             $6::jsonb[], $7::text[], $8::text[])
        ON CONFLICT (key) DO NOTHING RETURNING key
        """,
        *map(list, zip(*rows, strict=True)),
    )
    return [row["key"] for row in found]


async def delete_old_events(connection: Connection, before: datetime, limit: int) -> int:
    """Deletes events from before a moment, and deliveries; how many."""
    events = await connection.execute(
        "DELETE FROM webhook_event WHERE id IN (SELECT id FROM webhook_event WHERE at < $1"
        " ORDER BY at LIMIT $2)",
        before,
        limit,
    )
    deliveries = await connection.execute(
        "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM webhook_delivery"
        " WHERE created_at < $1 LIMIT $2)",
        before,
        limit,
    )
    return int(events.split()[-1]) + int(deliveries.split()[-1])
