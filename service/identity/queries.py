"""The SQL of cadres: who they are, what posts they hold, and their passwords."""

from collections.abc import Sequence
from datetime import datetime

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


# Whether a cadre is in ranges of units ($1, $2) at a moment ($3): one of the posts at present or to
# come lies there, or, of a cadre without any, one of the former ones; and how many of them lie
# elsewhere.
POSTS_INSIDE = """
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
        POSTS_INSIDE.format(staff_code="$4"), *bounds(ranges), now, staff_code
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
