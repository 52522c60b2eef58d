"""The SQL of posts as they are given, ended and put right."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row

_POST = """
    SELECT p.id::text, p.staff_code, p.role, p.unit, p.title, p.valid_from, p.valid_to,
           p.end_recorded_at FROM post p
"""


async def post(connection: Connection, id: str) -> Row | None:
    """A post by id."""
    return await connection.fetchrow(_POST + " WHERE p.id = $1::uuid", id)


async def overlapping(
    connection: Connection,
    staff_code: str,
    role: str,
    unit: str,
    valid_from: datetime,
    valid_to: datetime | None,
    but: str | None = None,
) -> Row | None:
    """A post of a cadre in the same role and unit that shares a moment with a span, other than
    `but`.
    """
    return await connection.fetchrow(
        _POST
        + """
        WHERE p.staff_code = $1 AND p.role = $2 AND p.unit = $3
          AND ($5::timestamptz IS NULL OR p.valid_from < $5)
          AND (p.valid_to IS NULL OR p.valid_to > $4)
          AND ($6::uuid IS NULL OR p.id <> $6) ORDER BY p.valid_from LIMIT 1
        """,
        staff_code,
        role,
        unit,
        valid_from,
        valid_to,
        but,
    )


async def add_post(
    connection: Connection,
    id: str,
    staff_code: str,
    role: str,
    unit: str,
    valid_from: datetime,
    valid_to: datetime | None,
    title: str | None,
    now: datetime,
) -> None:
    """Keeps a new post; an end that is known already is recorded now."""
    await connection.execute(
        """
        INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to, title, end_recorded_at)
        VALUES ($1::uuid, $2, $3, $4, $5, $6, $7,
            CASE WHEN $6::timestamptz IS NULL THEN NULL ELSE $8::timestamptz END)
        """,
        id,
        staff_code,
        role,
        unit,
        valid_from,
        valid_to,
        title,
        now,
    )


async def change_post(
    connection: Connection,
    id: str,
    valid_from: datetime,
    valid_to: datetime | None,
    title: str | None,
    now: datetime,
) -> None:
    """Gives a post another start, end or title; an end that is new is recorded now."""
    await connection.execute(
        """
        UPDATE post SET valid_from = $2, title = $4, end_recorded_at = CASE
            WHEN $3::timestamptz IS NULL THEN NULL
            WHEN valid_to IS DISTINCT FROM $3 THEN $5::timestamptz ELSE end_recorded_at END,
            valid_to = $3
        WHERE id = $1::uuid
        """,
        id,
        valid_from,
        valid_to,
        title,
        now,
    )


async def lock_administrators(connection: Connection) -> None:
    """Lets one transaction at a time take an administrator's post away: of the last two each
    counts on the other.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop administrators'))")


async def lacks_administrator(
    connection: Connection,
    but: str,
    units: Sequence[str],
    since: datetime,
    until: datetime | None,
) -> bool:
    """Whether at some moment from `since` on, and before `until`, nobody would administer one of
    these units, a unit and those above it, but by the post `but`.
    """
    found: bool = await connection.fetchval(
        """
        WITH others AS (
            SELECT valid_from, valid_to FROM post WHERE role = 'admin' AND id <> $1::uuid
                AND unit = ANY($2::text[]) AND (valid_to IS NULL OR valid_to > $3)
        ), moments AS (
            SELECT $3::timestamptz AS at
            UNION SELECT valid_to FROM others WHERE $4::timestamptz IS NULL OR valid_to < $4
        )
        SELECT EXISTS (SELECT FROM moments m WHERE m.at IS NOT NULL AND NOT EXISTS (
            SELECT FROM others o WHERE o.valid_from <= m.at
                AND (o.valid_to IS NULL OR o.valid_to > m.at)))
        """,
        but,
        list(units),
        since,
        until,
    )
    return found


async def end_sign_ins_without_phone(connection: Connection, staff_code: str, now: datetime) -> int:
    """Ends the sign-ins of a cadre that belong to no phone; how many were under way. The caller
    has locked the sign-ins.
    """
    count: int = await connection.fetchval(
        """
        WITH ended AS (
            UPDATE refresh_token SET revoked_at = $2, ended_by = 'posts-ended'
            WHERE staff_code = $1 AND device IS NULL AND revoked_at IS NULL
            RETURNING family, expires_at
        )
        SELECT count(DISTINCT family) FILTER (WHERE expires_at > $2) FROM ended
        """,
        staff_code,
        now,
    )
    return count


async def add_cadre(
    connection: Connection, staff_code: str, name: str, phone: str, party_member: bool
) -> None:
    """Keeps a new cadre, who has no password yet; `phone` is encrypted."""
    await connection.execute(
        "INSERT INTO cadre (staff_code, name, phone, party_member, demo)"
        " VALUES ($1, $2, $3, $4, false)",
        staff_code,
        name,
        phone,
        party_member,
    )


async def posts_in(
    connection: Connection,
    ranges: Sequence[Range],
    role: str | None,
    at: datetime | None,
    ended: bool,
    now: datetime,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Posts in these units in order of id, with the names of the people: those held at a moment,
    or all that have not ended (with `ended`: those, too).
    """
    lows, highs = bounds(ranges)
    return await connection.fetch(
        """
        SELECT p.id::text, p.staff_code, coalesce(c.shown_code, p.staff_code) AS shown_code,
               coalesce(c.name, '') AS name, p.role, p.title, p.unit, u.name AS unit_name,
               p.valid_from, p.valid_to, p.end_recorded_at
        FROM post p LEFT JOIN cadre c USING (staff_code) LEFT JOIN unit u ON u.code = p.unit
        WHERE EXISTS (SELECT FROM unnest($1::text[], $8::text[]) AS t(low, high)
                WHERE p.unit >= t.low AND p.unit < t.high)
          AND ($2::text IS NULL OR p.role = $2)
          AND ($3::timestamptz IS NULL
               OR p.valid_from <= $3 AND (p.valid_to IS NULL OR p.valid_to > $3))
          AND ($4 OR $3 IS NOT NULL OR p.valid_to IS NULL OR p.valid_to > $5)
          AND ($6::uuid IS NULL OR p.id > $6)
        ORDER BY p.id LIMIT $7
        """,
        lows,
        role,
        at,
        ended,
        now,
        after,
        limit,
        highs,
    )


async def all_posts_of(connection: Connection, staff_code: str) -> list[Row]:
    """Every post of a cadre with the name of its unit, those to come and at present first."""
    return await connection.fetch(
        """
        SELECT p.id::text, p.role, p.title, p.unit, u.name AS unit_name, p.valid_from, p.valid_to,
               p.end_recorded_at
        FROM post p LEFT JOIN unit u ON u.code = p.unit
        WHERE p.staff_code = $1 ORDER BY p.valid_to DESC NULLS FIRST, p.valid_from DESC, p.unit
        """,
        staff_code,
    )


async def staffing(connection: Connection, units: Sequence[str], at: datetime) -> list[Row]:
    """How many posts, grid workers and secretaries each of these units has at a moment, and whether
    it is closed then, or closes at the end of that day.
    """
    return await connection.fetch(
        """
        SELECT u.code, u.level, u.name, count(p.id)::int AS posts,
               coalesce(u.closed <= ($2::timestamptz AT TIME ZONE 'Asia/Shanghai')::date + 1, false)
                   AS closed,
               count(p.id) FILTER (WHERE p.role = 'grid_worker')::int AS workers,
               count(p.id) FILTER (WHERE p.role = 'village_secretary')::int AS secretaries
        FROM unit u LEFT JOIN post p ON p.unit = u.code AND p.valid_from <= $2
            AND (p.valid_to IS NULL OR p.valid_to > $2)
        WHERE u.code = ANY($1::text[]) GROUP BY u.code ORDER BY u.code
        """,
        list(units),
        at,
    )


async def levels_of(connection: Connection, units: Sequence[str]) -> dict[str, str]:
    """The levels of those of these units that exist."""
    rows = await connection.fetch(
        "SELECT code, level FROM unit WHERE code = ANY($1::text[])", list(units)
    )
    return {row["code"]: row["level"] for row in rows}


async def is_known_in(connection: Connection, staff_code: str, ranges: Sequence[Range]) -> bool:
    """Whether a cadre has or had a post in these units."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM post p JOIN unnest($2::text[], $3::text[]) AS t(low, high)"
        " ON p.unit >= t.low AND p.unit < t.high WHERE p.staff_code = $1)",
        staff_code,
        *bounds(ranges),
    )
    return found
