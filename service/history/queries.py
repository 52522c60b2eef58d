"""The SQL of histories, over the mutation log and the conflicts."""

from datetime import datetime

from service.kit.bounded import bounded
from service.kit.database import Connection, Row
from sync_protocol.records import KINDS


async def grid_of(connection: Connection, kind: str, id: str) -> str | None:
    """The grid in which a record lies, deleted or not; None when there never was one."""
    grid: str | None = await connection.fetchval(
        f"SELECT grid FROM {KINDS[kind].name} WHERE id = $1", id
    )
    return grid


async def mutations(
    connection: Connection,
    kind: str,
    id: str,
    after: tuple[datetime, str, int] | None,
    limit: int,
    whole: bool = False,
) -> list[Row]:
    """The mutations of a record in the order in which they came in; `whole`: however many bytes
    they are.
    """
    sql = """
        SELECT m.received_at, m.device::text, m.seq, m.staff_code, coalesce(c.name, '') AS name,
               coalesce(d.name, '') AS device_name,
               m.kind, m.id, m.grid, m.stamp, m.offset_ms, m.body, m.outcome, m.rev, m.verdict
        FROM mutation m LEFT JOIN cadre c ON c.staff_code = m.staff_code LEFT JOIN device d
            ON d.id = m.device
        WHERE m.id = $1 AND m.kind = $2 AND
            ($3::timestamptz IS NULL OR (m.received_at, m.device, m.seq)
                > ($3, $4::uuid, $5::bigint))
        ORDER BY m.received_at, m.device, m.seq LIMIT $6
    """
    return await connection.fetch(
        sql if whole else bounded(sql),
        id,
        kind,
        *(after or (None, None, None)),
        limit,
    )
