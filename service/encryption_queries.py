"""The SQL of `server.encryption`: in which form this database is written and read."""

from service.database import Connection
from service.encryption import FieldCipher, State
from service.settings import Settings


async def cipher_of(connection: Connection, settings: Settings) -> FieldCipher:
    """What encrypts and decrypts for this database; whoever writes asks in the transaction that writes."""
    return settings.keyring.cipher(await connection.fetchval("SELECT encryption FROM server"))


async def set_state(connection: Connection, state: State) -> None:
    """Records the form."""
    await connection.execute("UPDATE server SET encryption = $1", state.value)


_UNDER_WAY = """
    SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid() AND a.datname = current_database()
"""


async def transactions_under_way(connection: Connection) -> set[str]:
    """The transactions that are under way in this database, but for the caller's own."""
    return {row["virtualtransaction"] for row in await connection.fetch(_UNDER_WAY)}
