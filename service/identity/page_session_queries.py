"""The SQL of sessions of browsers."""

from datetime import datetime

from service.kit.database import Connection, Row


async def add(
    connection: Connection, hash: str, family: str, staff_code: str, span: tuple[datetime, datetime]
) -> None:
    """Keeps a new session from a moment to its end."""
    await connection.execute(
        "INSERT INTO page_session (hash, family, staff_code, created_at, last_seen_at, ends_at)"
        " VALUES ($1, $2, $3, $4, $4, $5)",
        hash,
        family,
        staff_code,
        *span,
    )


async def session(connection: Connection, hash: str) -> Row | None:
    """A session with the name of its cadre, whether or not it is still good."""
    return await connection.fetchrow(
        "SELECT s.hash, s.family::text, s.staff_code, c.name, s.last_seen_at, s.ends_at"
        " FROM page_session s LEFT JOIN cadre c USING (staff_code) WHERE s.hash = $1",
        hash,
    )


async def note_seen(connection: Connection, hash: str, now: datetime) -> None:
    """Keeps when a page of a session was last asked for."""
    await connection.execute(
        "UPDATE page_session SET last_seen_at = $2 WHERE hash = $1 AND last_seen_at < $2", hash, now
    )


async def remove(connection: Connection, hash: str) -> None:
    """Forgets a session."""
    await connection.execute("DELETE FROM page_session WHERE hash = $1", hash)
