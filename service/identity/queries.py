"""The SQL of identity: cadres, posts, devices, refresh tokens, signing keys."""

from datetime import datetime

from service.database import Connection, Row
from service.identity.rights import PostHeld


async def cadre(connection: Connection, staff_code: str) -> Row | None:
    """A cadre by staff code."""
    return await connection.fetchrow(
        "SELECT staff_code, name, phone, party_member, password, demo FROM cadre WHERE staff_code = $1", staff_code
    )


async def posts_of(connection: Connection, staff_code: str) -> list[PostHeld]:
    """All posts that a cadre has or had."""
    rows = await connection.fetch("SELECT role, unit, valid_from, valid_to FROM post WHERE staff_code = $1", staff_code)
    return [PostHeld(*row) for row in rows]


async def read_device(connection: Connection, device: str) -> Row | None:
    """A device's row."""
    return await connection.fetchrow(
        "SELECT staff_code, acked_seq, last_stamp, revoked_at, queued, last_seen FROM device WHERE id = $1", device
    )


async def bind_device(
    connection: Connection, device: str, staff_code: str, name: str, platform: str, app_version: str, now: datetime
) -> str:
    """Makes or renews a device's row and returns whose device it is."""
    owner: str = await connection.fetchval(
        """
        INSERT INTO device AS d (id, staff_code, name, platform, app_version, acked_seq, last_stamp, queued, clock_offset_ms, created_at)
        VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, $6)
        ON CONFLICT (id) DO UPDATE SET
            name = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.name ELSE d.name END,
            platform = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.platform ELSE d.platform END,
            app_version = CASE WHEN d.staff_code = excluded.staff_code THEN excluded.app_version ELSE d.app_version END
        RETURNING staff_code
        """,
        device,
        staff_code,
        name,
        platform,
        app_version,
        now,
    )
    return owner


async def add_refresh_token(
    connection: Connection, hash: str, family: str, staff_code: str, device: str | None, expires_at: datetime
) -> None:
    """Keeps a new refresh token."""
    await connection.execute(
        "INSERT INTO refresh_token (hash, family, staff_code, device, expires_at) VALUES ($1, $2, $3, $4, $5)",
        hash,
        family,
        staff_code,
        device,
        expires_at,
    )


async def lock_refresh_token(connection: Connection, hash: str) -> Row | None:
    """A refresh token, locked."""
    return await connection.fetchrow(
        "SELECT hash, family::text, staff_code, device::text, expires_at, used_at, revoked_at FROM refresh_token"
        " WHERE hash = $1 FOR UPDATE",
        hash,
    )


async def use_refresh_token(connection: Connection, hash: str, now: datetime) -> None:
    """Marks a refresh token as used up."""
    await connection.execute("UPDATE refresh_token SET used_at = $2 WHERE hash = $1", hash, now)


async def revoke_family(connection: Connection, family: str, now: datetime) -> None:
    """Revokes every token that grew from one sign-in."""
    await connection.execute("UPDATE refresh_token SET revoked_at = $2 WHERE family = $1 AND revoked_at IS NULL", family, now)


async def signing_keys(connection: Connection) -> list[Row]:
    """The keys that may have signed a token still alive, the newest first."""
    return await connection.fetch(
        "SELECT kid, private_pem, public_pem FROM signing_key WHERE retired_at IS NULL ORDER BY created_at DESC, kid"
    )


async def add_signing_key(connection: Connection, kid: str, private_pem: str, public_pem: str, first: bool) -> None:
    """Keeps a key pair; with `first`, only if there is none yet, whoever comes first."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop signing key'))")
    await connection.execute(
        "INSERT INTO signing_key (kid, private_pem, public_pem, created_at) SELECT $1, $2, $3, now()"
        " WHERE NOT ($4 AND EXISTS (SELECT FROM signing_key))",
        kid,
        private_pem,
        public_pem,
        first,
    )
