"""After an upgrade: what was held because the server did not know its kind is tried again (promise 11)."""

from datetime import datetime

from service.database import Database
from service.settings import Settings
from service.sync.apply import release
from service.sync.held_queries import lock_open_of_kinds
from sync_protocol.records import KINDS

_AT_ONCE = 200


async def release_unknown_kinds(database: Database, settings: Settings, now: datetime) -> int:
    """Releases held mutations of kinds that are known by now, in the order in which they were written; returns how many went through.

    Those that still have a flaw stay held, with the newest reason.
    """
    released = 0
    while True:
        async with database.transaction() as connection:
            rows = await lock_open_of_kinds(connection, "kind-unknown", list(KINDS), _AT_ONCE, settings.vault)
            if not rows:
                return released
            verdicts = await release(connection, rows, now, settings)
            released += sum(verdict.outcome != "held" for verdict in verdicts)
