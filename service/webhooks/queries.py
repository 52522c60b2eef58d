"""The SQL of webhooks and their deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.conditions import Conditions, Range
from service.kit.database import Connection, Row

_COLUMNS = (
    "id::text, name, unit, app, events, format, host, address, secret, active, created_by,"
    " created_at, since, stopped_because, rests_until"
)
_DELIVERY = (
    "d.id::text, d.event::text, d.type, d.state, d.attempts, d.created_at, d.next_at, d.last_at,"
    " d.last_status, d.last_error"
)


class NewWebhook(NamedTuple):
    """A webhook as it is kept."""

    id: str
    name: str
    unit: str
    app: str | None
    events: list[str]
    format: str
    host: str
    address: str
    secret: str | None
    created_by: str


async def add(connection: Connection, new: NewWebhook, now: datetime) -> None:
    """Keeps a webhook."""
    await connection.execute(
        "INSERT INTO webhook (id, name, unit, app, events, format, host, address, secret,"
        " created_by, active, created_at, since)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, true, $11, $11)",
        *new,
        now,
    )


async def change(
    connection: Connection, row: Row, values: dict[str, object], now: datetime
) -> None:
    """Changes a webhook; one that is active again is not told of what was meanwhile."""
    kept = {**dict(row), **values}
    begins = kept["active"] and not row["active"]
    await connection.execute(
        "UPDATE webhook SET name = $2, events = $3, host = $4, address = $5, secret = $6,"
        " active = $7, since = $8, stopped_because = CASE WHEN $7 THEN NULL ELSE stopped_because"
        " END, rests_until = NULL WHERE id = $1",
        row["id"],
        *(kept[name] for name in ("name", "events", "host", "address", "secret", "active")),
        now if begins else row["since"],
    )


async def delete(connection: Connection, id: str) -> None:
    """Takes a webhook away, with what waits for it."""
    await connection.execute("DELETE FROM webhook_delivery WHERE webhook = $1", id)
    await connection.execute("DELETE FROM webhook WHERE id = $1", id)


async def lock(connection: Connection, id: str, ranges: Sequence[Range]) -> Row | None:
    """A webhook of these units, locked."""
    where = Conditions("unit", ranges)
    where.add("id = {}", id)
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM webhook WHERE {where.sql} FOR UPDATE", *where.values
    )


async def webhooks(
    connection: Connection, ranges: Sequence[Range], after: str | None, limit: int
) -> list[Row]:
    """Webhooks of these units in order of id, with how many deliveries wait and are dead."""
    where = Conditions("w.unit", ranges)
    if after is not None:
        where.add("w.id > {}::uuid", after)
    last = where.parameter(limit)
    return await connection.fetch(
        f"""
        SELECT {_COLUMNS}, (SELECT count(*) FROM webhook_delivery d
            WHERE d.webhook = w.id AND d.state = 'waiting') AS waiting,
            (SELECT count(*) FROM webhook_delivery d
            WHERE d.webhook = w.id AND d.state = 'dead') AS dead
        FROM webhook w WHERE {where.sql} ORDER BY w.id LIMIT {last}
        """,
        *where.values,
    )


async def active(connection: Connection) -> list[Row]:
    """All that are to be told of something, of apps that still have their account."""
    return await connection.fetch(
        f"SELECT {_COLUMNS} FROM webhook w WHERE active AND (app IS NULL OR EXISTS"
        " (SELECT FROM app_client a WHERE a.id = w.app AND a.revoked_at IS NULL)) ORDER BY id"
    )


async def is_any_active(connection: Connection) -> bool:
    """Whether anybody is to be told of anything."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM webhook WHERE active)")
    return found


# -------------------------------------------------------------------------------------- deliveries


async def add_deliveries(
    connection: Connection, rows: Sequence[tuple[str, str, str, str]], now: datetime
) -> None:
    """Lets events wait for webhooks: webhook, event, type, body; one that waits already does not
    twice.
    """
    await connection.execute(
        """
        INSERT INTO webhook_delivery
            (webhook, event, id, type, body, state, attempts, created_at, next_at)
        SELECT w, e, gen_random_uuid(), t, b, 'waiting', 0, $5, $5
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS new (w, e, t, b)
        ON CONFLICT (webhook, event) DO NOTHING
        """,
        *map(list, zip(*rows, strict=True)),
        now,
    )


async def waiting_webhooks(connection: Connection, now: datetime) -> list[str]:
    """The webhooks for which something is due that do not rest."""
    rows = await connection.fetch(
        "SELECT w.id::text FROM webhook w WHERE w.active"
        " AND (w.rests_until IS NULL OR w.rests_until <= $1) AND EXISTS (SELECT FROM"
        " webhook_delivery d WHERE d.webhook = w.id AND d.state = 'waiting' AND d.next_at <= $1)",
        now,
    )
    return [row["id"] for row in rows]


async def next_due(connection: Connection, webhook: str, now: datetime) -> Row | None:
    """The next delivery of a webhook that is due, the oldest first, with where it goes; None when
    there is none any more.
    """
    return await connection.fetchrow(
        "SELECT d.id::text, d.event::text, d.type, d.body, d.attempts, d.created_at, w.id::text AS"
        " webhook, w.format, w.address, w.secret FROM webhook_delivery d JOIN webhook w"
        " ON w.id = d.webhook WHERE d.webhook = $1 AND w.active AND d.state = 'waiting'"
        " AND d.next_at <= $2 ORDER BY d.next_at, d.created_at, d.id LIMIT 1",
        webhook,
        now,
    )


async def note_delivered(connection: Connection, id: str, status: int, now: datetime) -> None:
    """A delivery was taken in."""
    await connection.execute(
        "UPDATE webhook_delivery SET state = 'delivered', attempts = attempts + 1, last_at = $3,"
        " last_status = $2, last_error = NULL WHERE id = $1",
        id,
        status,
        now,
    )


async def note_failed(
    connection: Connection,
    id: str,
    status: int | None,
    error: str,
    now: datetime,
    next_at: datetime | None,
) -> None:
    """A delivery failed: it waits until a moment, or is dead."""
    await connection.execute(
        "UPDATE webhook_delivery SET state = CASE WHEN $5::timestamptz IS NULL THEN 'dead'"
        " ELSE 'waiting' END, attempts = attempts + 1, last_at = $4, last_status = $2,"
        " last_error = $3, next_at = coalesce($5, next_at) WHERE id = $1",
        id,
        status,
        error,
        now,
        next_at,
    )


async def rest(connection: Connection, webhook: str, until: datetime | None) -> None:
    """Nothing is sent to a webhook before a moment."""
    await connection.execute("UPDATE webhook SET rests_until = $2 WHERE id = $1", webhook, until)


async def stop(connection: Connection, webhook: str, why: str) -> None:
    """A receiver wants nothing any more."""
    await connection.execute(
        "UPDATE webhook SET active = false, stopped_because = $2 WHERE id = $1", webhook, why
    )


async def deliveries(
    connection: Connection,
    webhook: str,
    state: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
    event: str | None = None,
) -> list[Row]:
    """The deliveries of a webhook, the newest first, or that of one event."""
    moment, id = after or (None, None)
    return await connection.fetch(
        f"SELECT {_DELIVERY} FROM webhook_delivery d WHERE d.webhook = $1"
        " AND ($2::text IS NULL OR d.state = $2)"
        " AND ($3::timestamptz IS NULL OR (d.created_at, d.id) < ($3, $4::uuid))"
        " AND ($6::uuid IS NULL OR d.event = $6)"
        " ORDER BY d.created_at DESC, d.id DESC LIMIT $5",
        webhook,
        state,
        moment,
        id,
        limit,
        event,
    )


async def replay(connection: Connection, webhook: str, id: str | None, now: datetime) -> int:
    """Lets a delivery wait anew, or all that are dead; how many."""
    done = await connection.execute(
        "UPDATE webhook_delivery SET state = 'waiting', attempts = 0, next_at = $3"
        " WHERE webhook = $1"
        " AND CASE WHEN $2::uuid IS NULL THEN state = 'dead' ELSE id = $2 END",
        webhook,
        id,
        now,
    )
    await rest(connection, webhook, None)
    return int(done.split()[-1])
