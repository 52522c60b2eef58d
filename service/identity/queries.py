"""The SQL of identity: cadres, posts, devices, refresh tokens, signing keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.identity.memberships import is_member
from service.identity.rights import PostHeld
from service.kit.conditions import Conditions, Range, bounds, contains
from service.kit.database import Connection, Row
from service.kit.errors import NOT_NOW, Problem
from service.organisation.tree import BY_CODES
from service.organisation.trees import tree_of
from sync_protocol.periods import local_day
from sync_protocol.texts import Text


async def cadre(connection: Connection, staff_code: str) -> Row | None:
    """A cadre by staff code."""
    return await connection.fetchrow(
        "SELECT staff_code, coalesce(shown_code, staff_code) AS shown_code, name, phone,"
        " party_member, password, demo, must_change, password_expires_at FROM cadre"
        " WHERE staff_code = $1",
        staff_code,
    )


async def posts_of(connection: Connection, staff_code: str) -> list[PostHeld]:
    """All posts that a cadre has or had."""
    rows = await connection.fetch(
        "SELECT role, unit, valid_from, valid_to, end_recorded_at, s.tree_version"
        " FROM post, server s WHERE staff_code = $1",
        staff_code,
    )
    tree = await tree_of(connection, rows[0]["tree_version"]) if rows else BY_CODES
    return [
        PostHeld(
            row["role"],
            row["unit"],
            row["valid_from"],
            row["valid_to"],
            row["end_recorded_at"],
            tree,
        )
        for row in rows
    ]


async def set_password(
    connection: Connection, staff_code: str, hashed: str, expires_at: datetime | None = None
) -> bool:
    """Gives a cadre a password; False when there is no such cadre. One that expires is a first
    password, to be changed.
    """
    status = await connection.execute(
        "UPDATE cadre SET password = $2, must_change = $3, password_expires_at = $4, demo = false"
        " WHERE staff_code = $1",
        staff_code,
        hashed,
        expires_at is not None,
        expires_at,
    )
    return status.endswith(" 1")


async def refuse_erased(connection: Connection, staff_code: str) -> None:
    """Raises `Problem` for a cadre who was erased, or is being erased; until the transaction ends
    no erasure goes past the account.

    Nothing is put into such an account again: it would outlive the erasure.
    """
    await connection.execute(
        "SELECT FROM cadre WHERE staff_code = $1 FOR NO KEY UPDATE", staff_code
    )
    erased = "SELECT EXISTS (SELECT FROM erasure WHERE kind = 'cadre' AND subject = $1)"
    if await connection.fetchval(erased, staff_code):
        raise Problem(
            NOT_NOW,
            Text(
                "The data of ‘{cadre}’ was erased, and the account stays empty; a person who comes"
                " back gets a new staff code.",
                cadre=staff_code,
            ),
        )


async def set_hash(connection: Connection, staff_code: str, old: str, new: str) -> None:
    """Keeps the same password under newer parameters, unless it was changed meanwhile."""
    await connection.execute(
        "UPDATE cadre SET password = $3 WHERE staff_code = $1 AND password = $2",
        staff_code,
        old,
        new,
    )


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


# Whether a cadre is in ranges of units ($1, $2) at a moment ($3): one of the posts at present or to
# come lies there, or, of a cadre without any, one of the former ones; and how many of them lie
# elsewhere.
_POSTS_INSIDE = """
    SELECT count(*) FILTER (WHERE u.low IS NOT NULL) AS inside,
           count(*) FILTER (WHERE u.low IS NULL) AS outside
    FROM (
        SELECT p.unit, (p.valid_to IS NULL OR p.valid_to > $3) AS is_present,
               bool_or((p.valid_to IS NULL OR p.valid_to > $3)) OVER () AS any_present
        FROM post p WHERE p.staff_code = {staff_code}
    ) AS q LEFT JOIN LATERAL (
        SELECT t.low FROM unnest($1::text[], $2::text[]) AS t(low, high) WHERE q.unit >= t.low
            AND q.unit < t.high LIMIT 1
    ) AS u ON true
    WHERE q.is_present OR NOT q.any_present
"""


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
            SELECT inside > 0 FROM ({_POSTS_INSIDE.format(staff_code="d.staff_code")}) AS i))
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


async def cadres(
    connection: Connection,
    ranges: Sequence[Range],
    role: str | None,
    text: str | None,
    now: datetime,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Cadres with a post in these units at present, in order of staff code, with their posts
    there.
    """
    where = Conditions("p.unit", ranges)
    where.add("p.valid_from <= {0} AND (p.valid_to IS NULL OR p.valid_to > {0})", now)
    if role is not None:
        where.add("p.role = {}", role)
    if text is not None:
        where.add(
            "(c.name LIKE {0} OR c.staff_code LIKE {0} OR EXISTS (SELECT FROM staff_code_alias a"
            " WHERE a.staff_code = c.staff_code AND a.code LIKE {0}))",
            contains(text),
        )
    if after is not None:
        where.add("c.staff_code > {}", after)
    last = where.parameter(limit)
    today = where.parameter(local_day(now))
    return await connection.fetch(
        f"""
        SELECT c.staff_code, coalesce(c.shown_code, c.staff_code) AS shown_code, c.name, c.phone,
               {is_member("c", today)} AS party_member,
               json_agg(json_build_object('id', p.id, 'role', p.role, 'title', p.title,
                   'unit', p.unit, 'unit_name', u.name, 'valid_from', p.valid_from,
                   'valid_to', p.valid_to) ORDER BY p.unit, p.role) AS posts
        FROM cadre c JOIN post p ON p.staff_code = c.staff_code LEFT JOIN unit u ON u.code = p.unit
        WHERE {where.sql} GROUP BY c.staff_code ORDER BY c.staff_code LIMIT {last}
        """,
        *where.values,
    )


async def is_cadre_in(
    connection: Connection, staff_code: str, ranges: Sequence[Range], now: datetime
) -> bool:
    """Whether every post that a cadre has at present, or is to have, lies in these units; of a
    cadre without any, every former one.

    So nobody acts on the account of somebody who stands above, or elsewhere too.
    """
    row = await connection.fetchrow(
        _POSTS_INSIDE.format(staff_code="$4"), *bounds(ranges), now, staff_code
    )
    return row is not None and row["inside"] > 0 and row["outside"] == 0


async def correct_cadre(
    connection: Connection, staff_code: str, name: str | None, phone: str | None
) -> None:
    """Corrects name or phone of a cadre; None leaves it as it is."""
    await connection.execute(
        "UPDATE cadre SET name = coalesce($2, name), phone = coalesce($3, phone)"
        " WHERE staff_code = $1",
        staff_code,
        name,
        phone,
    )


async def client(connection: Connection, id: str) -> Row | None:
    """An app's account."""
    return await connection.fetchrow(
        "SELECT id, name, secret, scopes, unit, created_at, revoked_at,"
        " (SELECT tree_version FROM server) AS tree_version FROM app_client WHERE id = $1",
        id,
    )


async def add_client(
    connection: Connection,
    id: str,
    name: str,
    secret: str,
    scopes: Sequence[str],
    unit: str,
    now: datetime,
) -> None:
    """Keeps a new app's account, or gives a known one a new secret and scopes."""
    await connection.execute(
        """
        INSERT INTO app_client (id, name, secret, scopes, unit, created_at)
            VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, secret = excluded.secret,
            scopes = excluded.scopes, unit = excluded.unit,
            revoked_at = NULL
        """,
        id,
        name,
        secret,
        list(scopes),
        unit,
        now,
    )


async def set_client_hash(connection: Connection, id: str, old: str, new: str) -> None:
    """Keeps an app's same secret under newer parameters, unless it was changed meanwhile."""
    await connection.execute(
        "UPDATE app_client SET secret = $3 WHERE id = $1 AND secret = $2", id, old, new
    )


async def revoke_client(connection: Connection, id: str, now: datetime) -> bool:
    """Ends an app's account; False when there is none, or it has ended before."""
    status = await connection.execute(
        "UPDATE app_client SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", id, now
    )
    return status.endswith(" 1")


async def retire_signing_keys(connection: Connection, but: str, at: datetime) -> None:
    """Lets every key but one go at a moment: until then tokens that it signed are good."""
    await connection.execute(
        "UPDATE signing_key SET retired_at = least(coalesce(retired_at, $2), $2) WHERE kid <> $1",
        but,
        at,
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


async def signing_keys(connection: Connection, now: datetime) -> list[Row]:
    """The keys that may have signed a token still alive, the newest first."""
    return await connection.fetch(
        "SELECT kid, private_pem, public_pem FROM signing_key WHERE retired_at IS NULL"
        " OR retired_at > $1"
        " ORDER BY retired_at IS NOT NULL, created_at DESC, kid",
        now,
    )


async def add_signing_key(
    connection: Connection, kid: str, private_pem: str, public_pem: str, first: bool
) -> None:
    """Keeps a key pair; with `first`, only if there is none yet, whoever comes first."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop signing key'))")
    await connection.execute(
        "INSERT INTO signing_key (kid, private_pem, public_pem, created_at) SELECT $1, $2, $3,"
        " now()"
        " WHERE NOT ($4 AND EXISTS (SELECT FROM signing_key))",
        kid,
        private_pem,
        public_pem,
        first,
    )
