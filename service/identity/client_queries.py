"""The SQL of the accounts of apps."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.database import Connection, Row

_SHOWN = "id, name, scopes, unit, created_at, revoked_at"


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


async def clients(connection: Connection, after: str | None, limit: int) -> list[Row]:
    """The accounts of apps in order of id."""
    return await connection.fetch(
        f"SELECT {_SHOWN} FROM app_client"
        ' WHERE $1::text IS NULL OR id > $1 COLLATE "C" ORDER BY id COLLATE "C" LIMIT $2',
        after,
        limit,
    )


async def lock_client(connection: Connection, id: str) -> Row | None:
    """An app's account, locked."""
    return await connection.fetchrow(
        f"SELECT {_SHOWN} FROM app_client WHERE id = $1 FOR UPDATE", id
    )


async def set_client_secret(connection: Connection, id: str, secret: str) -> None:
    """Gives an app another secret."""
    await connection.execute("UPDATE app_client SET secret = $2 WHERE id = $1", id, secret)


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
