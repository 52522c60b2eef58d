"""The SQL of articles."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.bounded import bounded
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row

_COLUMNS = (
    "id::text, unit, kind, title, body, state, author, created_at, updated_at,"
    " published_at, withdrawn_at"
)
# For whom an article is meant: the units above the reader's ($3), and those at and below it.
_MEANT = (
    "(a.unit = ANY($3::text[]) OR EXISTS (SELECT FROM unnest($1::text[], $2::text[])"
    " AS u(low, high) WHERE a.unit >= u.low AND a.unit < u.high))"
)
_EDITED = (
    "EXISTS (SELECT FROM unnest(${0}::text[], ${1}::text[]) AS e(low, high)"
    " WHERE a.unit >= e.low AND a.unit < e.high)"
)


class Readers(NamedTuple):
    """For whom articles are looked for: `below`: the ranges of their units, `above`: the units over
    these, whose articles are for them as well.
    """

    below: Sequence[Range]
    above: Sequence[str]


async def articles(
    connection: Connection,
    readers: Readers,
    edited: Sequence[Range],
    kind: str | None,
    state: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Articles meant for these units, those changed last first; what is not published only where
    the caller edits.
    """
    return await connection.fetch(
        bounded(f"""
        SELECT {_COLUMNS} FROM article a
        WHERE {_MEANT} AND ($6::text IS NULL OR a.kind = $6) AND ($7::text IS NULL OR a.state = $7)
          AND (a.state = 'published' OR {_EDITED.format(4, 5)})
          AND ($8::timestamptz IS NULL OR (a.updated_at, a.id) < ($8, $9::uuid))
        ORDER BY a.updated_at DESC, a.id DESC LIMIT $10
        """),
        *bounds(readers.below),
        list(readers.above),
        *bounds(edited),
        kind,
        state,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


async def article(
    connection: Connection, id: str, readers: Readers, edited: Sequence[Range]
) -> Row | None:
    """One article meant for these units; what is not published only where the caller edits."""
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM article a WHERE {_MEANT} AND a.id = $6"
        f" AND (a.state = 'published' OR {_EDITED.format(4, 5)})",
        *bounds(readers.below),
        list(readers.above),
        *bounds(edited),
        id,
    )


async def lock_article(connection: Connection, id: str, edited: Sequence[Range]) -> Row | None:
    """One article of a unit that the caller edits, locked."""
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM article a WHERE id = $1 AND {_EDITED.format(2, 3)} FOR UPDATE",
        id,
        *bounds(edited),
    )


async def add_article(
    connection: Connection,
    id: str,
    unit: str,
    kind: str,
    title: str,
    body: str,
    author: str,
    now: datetime,
) -> bool:
    """Keeps a draft; False when there is an article with this id already."""
    status = await connection.execute(
        """
        INSERT INTO article (id, unit, mailbox, rev, kind, title, body, state, author, created_at,
            updated_at)
        VALUES ($1, $2, '#' || $2, 0, $3, $4, $5, 'draft', $6, $7, $7) ON CONFLICT (id) DO NOTHING
        """,
        id,
        unit,
        kind,
        title,
        body,
        author,
        now,
    )
    return status.endswith(" 1")


async def change_article(
    connection: Connection, id: str, kind: str, title: str, body: str, now: datetime
) -> None:
    """Changes what an article says."""
    await connection.execute(
        "UPDATE article SET kind = $2, title = $3, body = $4, updated_at = $5 WHERE id = $1",
        id,
        kind,
        title,
        body,
        now,
    )


async def turn_article(connection: Connection, id: str, state: str, now: datetime) -> None:
    """Publishes or withdraws an article."""
    name = {"published": "published_at", "withdrawn": "withdrawn_at"}[state]
    await connection.execute(
        f"UPDATE article SET state = $2, updated_at = $3, {name} = $3 WHERE id = $1", id, state, now
    )


async def place_in_feed(connection: Connection, id: str, rev: int) -> None:
    """Gives an article its place in its feed, so that phones hear of it."""
    await connection.execute("UPDATE article SET rev = $2 WHERE id = $1", id, rev)
