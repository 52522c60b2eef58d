"""The SQL of sign-ins: refresh tokens, which families they make, and what a token is checked
against.
"""

from datetime import datetime
from typing import NamedTuple

from service.identity.rights import PostHeld
from service.kit.database import Connection, Row


class Session(NamedTuple):
    """What decides whether a token is still good.

    Posts, the device's revocation, whether the sign-in has ended, a first password to change,
    whether there is a second factor, whether this is the first use of the refresh token with which
    the access token was issued, and the version of the tree of units.
    """

    posts: list[PostHeld]
    revoked_at: datetime | None
    ended: bool
    must_change: bool
    has_second_factor: bool
    is_first_use: bool
    tree_version: str


async def session(
    connection: Connection,
    staff_code: str,
    device: str | None,
    family: str | None,
    generation: int | None,
) -> Session:
    """Everything that a request's token is checked against, in one statement.

    A sign-in that the server does not know was lost with its last hours (promise 9): its token is
    genuine all the same.
    """
    rows = await connection.fetch(
        """
        SELECT p.role, p.unit, p.valid_from, p.valid_to, d.revoked_at,
               coalesce(c.must_change, false) AS must_change,
               f.confirmed_at IS NOT NULL AS has_second_factor, r.revoked_at IS NOT NULL AS ended,
               coalesce(r.generation = $4 AND r.first_used_at IS NULL, false) AS is_first_use,
               (SELECT tree_version FROM server) AS tree_version
        FROM (SELECT $1::text AS staff_code) AS me LEFT JOIN cadre c ON c.staff_code = me.staff_code
        LEFT JOIN device d ON d.id = $2::uuid
        LEFT JOIN second_factor f ON f.staff_code = me.staff_code
        LEFT JOIN LATERAL (
            SELECT revoked_at, generation, first_used_at FROM refresh_token
            WHERE family = $3::uuid AND generation <= coalesce($4::int, 2147483647)
            ORDER BY generation DESC LIMIT 1
        ) AS r ON true
        LEFT JOIN post p ON p.staff_code = me.staff_code
        """,
        staff_code,
        device,
        family,
        generation,
    )
    posts = [
        PostHeld(row["role"], row["unit"], row["valid_from"], row["valid_to"])
        for row in rows
        if row["role"] is not None
    ]
    first = rows[0]
    return Session(
        posts,
        first["revoked_at"],
        first["ended"],
        first["must_change"],
        first["has_second_factor"],
        first["is_first_use"],
        first["tree_version"],
    )


async def note_first_use(
    connection: Connection, family: str, generation: int, now: datetime
) -> None:
    """Keeps that a refresh token has reached its phone: an access token that was issued with it was
    used.
    """
    await connection.execute(
        "UPDATE refresh_token SET first_used_at = $3 WHERE family = $1 AND generation = $2"
        " AND first_used_at IS NULL",
        family,
        generation,
        now,
    )


async def lock_sign_ins(connection: Connection, staff_code: str) -> None:
    """Lets one transaction at a time begin, renew or end sign-ins of a cadre: none is begun behind
    the back of an end.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('gridloop sign-ins'), hashtext($1))", staff_code
    )


class NewToken(NamedTuple):
    """A refresh token to be kept."""

    hash: str
    family: str
    staff_code: str
    device: str | None
    expires_at: datetime
    generation: int
    family_since: datetime
    address: str


async def add_refresh_token(connection: Connection, token: NewToken) -> None:
    """Keeps a new refresh token."""
    await connection.execute(
        """
        INSERT INTO refresh_token (hash, family, staff_code, device, expires_at, generation,
            family_since, address)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        *token,
    )


async def refresh_token(connection: Connection, hash: str) -> Row | None:
    """A refresh token with the registration time of its device, and whether the cadre still has a
    first password.
    """
    return await connection.fetchrow(
        """
        SELECT r.hash, r.family::text, r.staff_code, r.device::text, r.expires_at, r.revoked_at,
               r.generation,
               r.family_since, r.ended_by, r.address, d.created_at AS registered_at, c.must_change
        FROM refresh_token r JOIN cadre c USING (staff_code) LEFT JOIN device d ON d.id = r.device
            WHERE r.hash = $1
        """,
        hash,
    )


async def successor_of(connection: Connection, family: str, generation: int) -> Row | None:
    """The refresh token that follows on one."""
    return await connection.fetchrow(
        "SELECT hash, first_used_at FROM refresh_token WHERE family = $1 AND generation = $2",
        family,
        generation + 1,
    )


async def replace_hash(connection: Connection, old: str, new: str) -> None:
    """Gives a refresh token that was never used another text: the key that derives it has changed
    since.
    """
    await connection.execute("UPDATE refresh_token SET hash = $2 WHERE hash = $1", old, new)


async def use_refresh_token(connection: Connection, hash: str, now: datetime) -> None:
    """Keeps that a refresh token was presented."""
    await connection.execute(
        "UPDATE refresh_token SET used_at = coalesce(used_at, $2), first_used_at"
        " = coalesce(first_used_at, $2) WHERE hash = $1",
        hash,
        now,
    )


async def revoke_family(connection: Connection, family: str, now: datetime, why: str) -> None:
    """Revokes every token that grew from one sign-in."""
    await connection.execute(
        "UPDATE refresh_token SET revoked_at = $2, ended_by = $3 WHERE family = $1"
        " AND revoked_at IS NULL",
        family,
        now,
        why,
    )


async def end_sessions(
    connection: Connection, staff_code: str, now: datetime, why: str, but: str | None = None
) -> int:
    """Ends the sign-ins of a cadre, all or all but one; returns how many were under way."""
    await lock_sign_ins(connection, staff_code)
    count: int = await connection.fetchval(
        """
        WITH ended AS (
            UPDATE refresh_token SET revoked_at = $2, ended_by = $4
            WHERE staff_code = $1 AND revoked_at IS NULL AND ($3::uuid IS NULL OR family <> $3)
                RETURNING family, expires_at
        )
        SELECT count(DISTINCT family) FILTER (WHERE expires_at > $2) FROM ended
        """,
        staff_code,
        now,
        but,
        why,
    )
    return count


async def sessions_of(connection: Connection, staff_code: str, now: datetime) -> list[Row]:
    """The sign-ins of a cadre that are under way, the newest first."""
    return await connection.fetch(
        """
        SELECT r.family::text AS id, r.device::text, max(d.name) AS device_name,
               min(r.family_since) AS began_at,
               max(coalesce(r.first_used_at, r.family_since)) AS last_used_at,
               max(r.expires_at) AS expires_at,
               max(r.address) AS address
        FROM refresh_token r LEFT JOIN device d ON d.id = r.device
        WHERE r.staff_code = $1 AND r.revoked_at IS NULL AND r.expires_at > $2
        GROUP BY r.family, r.device ORDER BY 4 DESC, 1 LIMIT 500
        """,
        staff_code,
        now,
    )


async def is_known_device(connection: Connection, device: str, staff_code: str) -> bool:
    """Whether a device has signed in as this cadre before, and was not revoked."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM device WHERE id = $1 AND staff_code = $2"
        " AND revoked_at IS NULL AND platform <> 'server')",
        device,
        staff_code,
    )
    return found


async def is_known_address(connection: Connection, staff_code: str, address: str) -> bool:
    """Whether the cadre has signed in from an address before."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM refresh_token WHERE staff_code = $1 AND address = $2)",
        staff_code,
        address,
    )
    return found
