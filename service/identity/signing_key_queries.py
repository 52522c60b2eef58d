"""The SQL of the keys that sign access tokens."""

from datetime import datetime

from service.kit.database import Connection, Row


async def retire_signing_keys(connection: Connection, but: str, at: datetime) -> None:
    """Lets every key but one go at a moment: until then tokens that it signed are good."""
    await connection.execute(
        "UPDATE signing_key SET retired_at = least(coalesce(retired_at, $2), $2) WHERE kid <> $1",
        but,
        at,
    )


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
