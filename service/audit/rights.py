"""Says when the service connects as a role that could change the trail."""

import logging

import asyncpg

from service.audit.queries import may_change_trail
from service.kit.database import Connection, Database
from service.kit.errors import Problem

log = logging.getLogger("gridloop")

WARNING = (
    "the service connects to the database as ‘%s’, which may change the audit trail and the tables:"
    " whoever slips SQL into the service could, too."
    " Keep that URL as GRIDLOOP_OWNER_DATABASE_URL, let GRIDLOOP_DATABASE_URL name a role of its"
    " own"
    " (postgresql://gridloop_service:PASSWORD@…), and run ‘gridloop migrate’, which makes that role"
)


class DatabaseRights:
    """Checked when a process starts, or else as soon as its database can be reached; told once."""

    def __init__(self) -> None:
        self._checked = False

    async def check(self, connection: Connection) -> None:
        """Logs a warning, the first time, if the connection may do what the service should not."""
        if self._checked:
            return
        self._checked = True  # at once: who asks meanwhile need not
        try:
            role = await may_change_trail(connection)
        except BaseException:
            self._checked = False
            raise
        if role is not None:
            log.warning(WARNING, role)

    async def check_at_start(self, database: Database) -> None:
        """The same over a connection of its own; a database that is down is for `/readyz` later."""
        try:
            async with database.reading() as connection:
                await self.check(connection)
        except (Problem, asyncpg.PostgresError) as error:
            log.warning(
                "the rights of the database's role are checked later: %r", error.__cause__ or error
            )
