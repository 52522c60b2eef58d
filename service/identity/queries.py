"""The SQL of identity: cadres, posts, devices, refresh tokens, signing keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.conditions import Conditions, contains
from service.database import Connection, Row
from service.identity.rights import PostHeld


async def cadre(connection: Connection, staff_code: str) -> Row | None:
    """A cadre by staff code."""
    return await connection.fetchrow(
        "SELECT staff_code, name, phone, party_member, password, demo, must_change FROM cadre WHERE staff_code = $1", staff_code
    )


async def posts_of(connection: Connection, staff_code: str) -> list[PostHeld]:
    """All posts that a cadre has or had."""
    rows = await connection.fetch("SELECT role, unit, valid_from, valid_to, end_recorded_at FROM post WHERE staff_code = $1", staff_code)
    return [PostHeld(*row) for row in rows]


class Session(NamedTuple):
    """What decides whether a token is still good: posts, the device's revocation, whether the sign-in has ended, a password to change."""

    posts: list[PostHeld]
    revoked_at: datetime | None
    ended: bool
    must_change: bool


async def session(connection: Connection, staff_code: str, device: str | None, session: str | None) -> Session:
    """Everything that a request's token is checked against, in one look."""
    rows = await connection.fetch(
        """
        SELECT p.role, p.unit, p.valid_from, p.valid_to, d.revoked_at, coalesce(c.must_change, false) AS must_change,
               -- A sign-in that the server does not know was lost with its last hours (promise 9): its token is genuine all the same.
               coalesce((SELECT bool_and(r.revoked_at IS NOT NULL) FROM refresh_token r WHERE r.family = $3::uuid), false) AS ended
        FROM (SELECT $1::text AS staff_code) AS me LEFT JOIN cadre c ON c.staff_code = me.staff_code
        LEFT JOIN device d ON d.id = $2::uuid LEFT JOIN post p ON p.staff_code = me.staff_code
        """,
        staff_code,
        device,
        session,
    )
    posts = [PostHeld(row["role"], row["unit"], row["valid_from"], row["valid_to"]) for row in rows if row["role"] is not None]
    return Session(posts, rows[0]["revoked_at"], rows[0]["ended"], rows[0]["must_change"])


async def set_password(connection: Connection, staff_code: str, hashed: str, must_change: bool) -> bool:
    """Gives a cadre a password; False when there is no such cadre."""
    status = await connection.execute(
        "UPDATE cadre SET password = $2, must_change = $3, demo = false WHERE staff_code = $1", staff_code, hashed, must_change
    )
    return status.endswith(" 1")


async def end_sessions(connection: Connection, staff_code: str, now: datetime, but: str | None = None) -> int:
    """Ends the sign-ins of a cadre, all or all but one; returns how many were under way."""
    count: int = await connection.fetchval(
        """
        WITH ended AS (
            UPDATE refresh_token SET revoked_at = $2
            WHERE staff_code = $1 AND revoked_at IS NULL AND ($3::uuid IS NULL OR family <> $3) RETURNING family
        )
        SELECT count(DISTINCT family) FROM ended
        """,
        staff_code,
        now,
        but,
    )
    return count


_DEVICE = """
    SELECT d.id::text, d.staff_code, coalesce(c.name, '') AS cadre_name, d.name, d.platform, d.app_version, d.acked_seq, d.queued,
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
    connection: Connection, units: Sequence[str], staff_code: str, only: str | None, after: str | None, limit: int
) -> list[Row]:
    """Phones of cadres with a post in these units, and the caller's own, in order of id."""
    return await connection.fetch(
        _DEVICE
        + """
        WHERE d.platform <> 'server' AND (d.staff_code = $2 OR EXISTS (
            SELECT FROM post p JOIN unnest($1::text[]) AS u(code) ON p.unit >= u.code AND p.unit < u.code || ':'
            WHERE p.staff_code = d.staff_code))
          AND ($3::text IS NULL OR d.staff_code = $3) AND ($4::uuid IS NULL OR d.id > $4)
        ORDER BY d.id LIMIT $5
        """,
        list(units),
        staff_code,
        only,
        after,
        limit,
    )


async def device_in(connection: Connection, device: str, units: Sequence[str], staff_code: str) -> Row | None:
    """One phone of a cadre with a post in these units, or one of the caller's own, locked."""
    return await connection.fetchrow(
        """
        SELECT d.id::text, d.staff_code, d.revoked_at FROM device d
        WHERE d.id = $1 AND d.platform <> 'server' AND (d.staff_code = $3 OR EXISTS (
            SELECT FROM post p JOIN unnest($2::text[]) AS u(code) ON p.unit >= u.code AND p.unit < u.code || ':'
            WHERE p.staff_code = d.staff_code)) FOR UPDATE OF d
        """,
        device,
        list(units),
        staff_code,
    )


async def revoke_device(connection: Connection, device: str, now: datetime) -> None:
    """Revokes a phone and ends its sign-ins but for handing in what is left: its tokens reach the sync until they expire."""
    await connection.execute("UPDATE device SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", device, now)


async def cadres(
    connection: Connection, units: Sequence[str], role: str | None, text: str | None, now: datetime, after: str | None, limit: int
) -> list[Row]:
    """Cadres with a post in these units at present, in order of staff code, with their posts there."""
    where = Conditions("p.unit", units)
    where.add("p.valid_from <= {0} AND (p.valid_to IS NULL OR p.valid_to > {0})", now)
    if role is not None:
        where.add("p.role = {}", role)
    if text is not None:
        where.add("(c.name LIKE {0} OR c.staff_code LIKE {0})", contains(text))
    if after is not None:
        where.add("c.staff_code > {}", after)
    last = where.parameter(limit)
    return await connection.fetch(
        f"""
        SELECT c.staff_code, c.name, c.phone, c.party_member,
               json_agg(json_build_object('role', p.role, 'unit', p.unit, 'unit_name', u.name, 'valid_from', p.valid_from,
                                          'valid_to', p.valid_to) ORDER BY p.unit, p.role) AS posts
        FROM cadre c JOIN post p ON p.staff_code = c.staff_code LEFT JOIN unit u ON u.code = p.unit
        WHERE {where.sql} GROUP BY c.staff_code ORDER BY c.staff_code LIMIT {last}
        """,
        *where.values,
    )


async def cadre_with_posts(connection: Connection, staff_code: str) -> Row:
    """A cadre with every post, as cadres are listed."""
    row = await connection.fetchrow(
        """
        SELECT c.staff_code, c.name, c.phone, c.party_member,
               coalesce(json_agg(json_build_object('role', p.role, 'unit', p.unit, 'unit_name', u.name, 'valid_from', p.valid_from,
                                                   'valid_to', p.valid_to) ORDER BY p.valid_from) FILTER (WHERE p.id IS NOT NULL), '[]')
               AS posts
        FROM cadre c LEFT JOIN post p ON p.staff_code = c.staff_code LEFT JOIN unit u ON u.code = p.unit
        WHERE c.staff_code = $1 GROUP BY c.staff_code
        """,
        staff_code,
    )
    assert row is not None
    return row


async def is_cadre_in(connection: Connection, staff_code: str, units: Sequence[str]) -> bool:
    """Whether a cadre has or had a post in these units."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM post p JOIN unnest($2::text[]) AS u(code) ON p.unit >= u.code AND p.unit < u.code || ':'"
        " WHERE p.staff_code = $1)",
        staff_code,
        list(units),
    )
    return found


async def correct_cadre(connection: Connection, staff_code: str, changes: dict[str, object]) -> None:
    """Corrects name, phone or membership of a cadre."""
    await connection.execute(
        "UPDATE cadre SET name = coalesce($2, name), phone = coalesce($3, phone), party_member = coalesce($4, party_member)"
        " WHERE staff_code = $1",
        staff_code,
        changes.get("name"),
        changes.get("phone"),
        changes.get("party_member"),
    )


async def client(connection: Connection, id: str) -> Row | None:
    """An app's account."""
    return await connection.fetchrow("SELECT id, name, secret, scopes, unit, created_at, revoked_at FROM app_client WHERE id = $1", id)


async def add_client(connection: Connection, id: str, name: str, secret: str, scopes: Sequence[str], unit: str, now: datetime) -> None:
    """Keeps a new app's account, or gives a known one a new secret and scopes."""
    await connection.execute(
        """
        INSERT INTO app_client (id, name, secret, scopes, unit, created_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, secret = excluded.secret, scopes = excluded.scopes, unit = excluded.unit,
            revoked_at = NULL
        """,
        id,
        name,
        secret,
        list(scopes),
        unit,
        now,
    )


async def revoke_client(connection: Connection, id: str, now: datetime) -> bool:
    """Ends an app's account; False when there is none."""
    return (await connection.execute("UPDATE app_client SET revoked_at = $2 WHERE id = $1", id, now)).endswith(" 1")


async def retire_signing_keys(connection: Connection, but: str, at: datetime) -> None:
    """Lets every key but one go at a moment: until then tokens that it signed are good."""
    await connection.execute("UPDATE signing_key SET retired_at = least(coalesce(retired_at, $2), $2) WHERE kid <> $1", but, at)


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


async def signing_keys(connection: Connection, now: datetime) -> list[Row]:
    """The keys that may have signed a token still alive, the newest first."""
    return await connection.fetch(
        "SELECT kid, private_pem, public_pem FROM signing_key WHERE retired_at IS NULL OR retired_at > $1"
        " ORDER BY retired_at IS NOT NULL, created_at DESC, kid",
        now,
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
