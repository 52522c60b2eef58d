"""The SQL of articles."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.bounded import bounded
from service.kit.database import Connection, Row

_COLUMNS = (
    "id::text, unit, kind, title, body, state, author, created_at, updated_at,"
    " published_at, withdrawn_at"
)
# For whom an article is meant: the units at or above the reader's, and those below it.
_MEANT = (
    "EXISTS (SELECT FROM unnest($1::text[]) AS u(code) WHERE a.unit >= u.code"
    " AND a.unit < u.code || ':' OR starts_with(u.code, a.unit))"
)


async def articles(
    connection: Connection,
    units: Sequence[str],
    edited: Sequence[str],
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
        WHERE {_MEANT} AND ($3::text IS NULL OR a.kind = $3) AND ($4::text IS NULL OR a.state = $4)
          AND (a.state = 'published' OR EXISTS
              (SELECT FROM unnest($2::text[]) AS e(code) WHERE starts_with(a.unit, e.code)))
          AND ($5::timestamptz IS NULL OR (a.updated_at, a.id) < ($5, $6::uuid))
        ORDER BY a.updated_at DESC, a.id DESC LIMIT $7
        """),
        list(units),
        list(edited),
        kind,
        state,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )


async def article(
    connection: Connection, id: str, units: Sequence[str], edited: Sequence[str]
) -> Row | None:
    """One article meant for these units; what is not published only where the caller edits."""
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM article a WHERE {_MEANT} AND a.id = $3"
        " AND (a.state = 'published' OR EXISTS (SELECT FROM unnest($2::text[]) AS e(code)"
        " WHERE starts_with(a.unit, e.code)))",
        list(units),
        list(edited),
        id,
    )


async def lock_article(connection: Connection, id: str, edited: Sequence[str]) -> Row | None:
    """One article of a unit that the caller edits, locked."""
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM article a WHERE id = $1"
        " AND EXISTS (SELECT FROM unnest($2::text[]) AS e(code)"
        " WHERE starts_with(a.unit, e.code)) FOR UPDATE",
        id,
        list(edited),
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
