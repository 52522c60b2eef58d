"""The SQL of devices: phones as they are listed, registered and revoked."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.identity.queries import POSTS_INSIDE, is_cadre_in
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row

_DEVICE = """
    SELECT d.id::text, d.staff_code, coalesce(c.name, '') AS cadre_name, d.name, d.platform,
           d.app_version, d.acked_seq, d.queued,
           d.clock_offset_ms, d.created_at, d.last_seen, d.revoked_at,
           (SELECT count(*) FROM held h WHERE h.device = d.id AND h.state = 'open')::int AS held
    FROM device d LEFT JOIN cadre c ON c.staff_code = d.staff_code
"""


async def device(connection: Connection, id: str) -> Row:
    """One phone as it is listed."""
    row = await connection.fetchrow(_DEVICE + " WHERE d.id = $1", id)
    assert row is not None
    return row


async def devices(
    connection: Connection,
    ranges: Sequence[Range],
    now: datetime,
    staff_code: str,
    only: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Phones of cadres with a post in these units at present (or at last), and the caller's own, in
    order of id.
    """
    return await connection.fetch(
        _DEVICE
        + f"""
        WHERE d.platform <> 'server' AND (d.staff_code = $7 OR (
            SELECT inside > 0 FROM ({POSTS_INSIDE.format(staff_code="d.staff_code")}) AS i))
          AND ($4::text IS NULL OR d.staff_code = $4) AND ($5::uuid IS NULL OR d.id > $5)
        ORDER BY d.id LIMIT $6
        """,
        *bounds(ranges),
        now,
        only,
        after,
        limit,
        staff_code,
    )


async def device_in(
    connection: Connection, device: str, ranges: Sequence[Range], now: datetime, staff_code: str
) -> Row | None:
    """One phone of a cadre who is wholly in these units (see `is_cadre_in`), or one of the caller's
    own, locked.
    """
    row = await connection.fetchrow(
        "SELECT id::text, staff_code, revoked_at FROM device WHERE id = $1"
        " AND platform <> 'server' FOR UPDATE",
        device,
    )
    if row is None or row["staff_code"] == staff_code:
        return row
    return row if await is_cadre_in(connection, row["staff_code"], ranges, now) else None


async def revoke_device(connection: Connection, device: str, now: datetime) -> None:
    """Revokes a phone and ends its sign-ins but for handing in what is left: its tokens reach the
    sync until they expire.
    """
    await connection.execute(
        "UPDATE device SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", device, now
    )


class Bound(NamedTuple):
    """Whose device it is, and since when it is registered."""

    staff_code: str
    registered_at: datetime


async def bind_device(
    connection: Connection, device: str, staff_code: str, about: tuple[str, str, str], now: datetime
) -> Bound:
    """Makes or renews a device's row; `about`: its name, platform and version of the app."""
    row = await connection.fetchrow(
        """
        INSERT INTO device AS d (id, staff_code, name, platform, app_version, acked_seq, last_stamp,
            queued, clock_offset_ms, created_at)
        VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, $6)
        ON CONFLICT (id) DO UPDATE SET
            name = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.name ELSE d.name END,
            platform = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.platform
            ELSE d.platform END,
            app_version = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.app_version
            ELSE d.app_version END
        RETURNING staff_code, created_at
        """,
        device,
        staff_code,
        *about,
        now,
    )
    assert row is not None
    return Bound(*row)


async def inherit_registration(
    connection: Connection, device: str, registered_at: datetime
) -> datetime:
    """Lets a device count as registered since its predecessor was, if that is earlier; returns
    since when.
    """
    since: datetime = await connection.fetchval(
        "UPDATE device SET created_at = least(created_at, $2) WHERE id = $1 RETURNING created_at",
        device,
        registered_at,
    )
    return since
