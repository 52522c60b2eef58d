"""Whether a process may run over the tables that the database has just now: another release may
migrate it while this one runs.

Tables of a newer release say which older ones may run over them (see `migrations/README.md`). Over
others every request is answered 503, so that a load balancer sends phones elsewhere, and nothing is
written that the newer release would not understand.
"""

import asyncio
import logging

import asyncpg
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from service.kit import metrics
from service.kit.database import Connection, Database
from service.kit.database_errors import (
    OUTDATED,
    TOO_NEW,
    WITHOUT_RIGHTS,
    WITHOUT_TABLES,
    TablesTooNew,
    fault_of,
    is_of_database,
)
from service.kit.encryption import KeyMissing
from service.kit.errors import UNAVAILABLE, Problem, unavailable
from service.runtime.tables import KEPT, Tables, tables_of
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

EVERY_S = 10.0
RETRY_AFTER_S = TOO_NEW.retry_after
# What those need who watch the process.
_OPEN = ("/healthz", "/readyz", "/metrics")


class TablesWatch:
    """Looks at the tables of a service process when it starts, every ten seconds, after an error
    that nobody foresaw, and first in each transaction over REST (`look_first`). A push reads the
    same in its first statement, see `service.writes.prefetch`.
    """

    def __init__(self) -> None:
        self.tables = Tables(None)
        self._looks = 0
        self._looking = asyncio.Lock()

    @property
    def too_new(self) -> Text | None:
        """Why nothing is answered; None while all is well."""
        return self.tables.too_new

    async def look(self, connection: Connection) -> None:
        """Looks now."""
        self.note(await tables_of(connection))

    async def look_first(self, connection: Connection) -> None:
        """Looks in a transaction before it does anything, in one statement; raises `TablesTooNew`.
        A migration that makes the tables too new waits for those that have looked before.
        """
        self.note(Tables.read(await connection.fetchval(f"SELECT {KEPT}")))
        self.tables.refuse_too_new()

    def note(self, tables: Tables) -> None:
        """Notes which tables somebody has seen."""
        before = self.tables
        self._looks += 1
        self.tables = tables
        metrics.tables_newer.set(
            2 if self.too_new is not None else 1 if self.tables.are_newer else 0
        )
        if self.tables == before:
            return
        if self.too_new is not None:
            log.error("%s", self.too_new)
        elif self.tables.warning is not None:
            log.warning("%s", self.tables.warning)
        elif before.are_newer:
            log.info(
                "the tables of the database are again those of this release (%s)",
                self.tables.revision,
            )

    async def look_if_possible(self, database: Database) -> None:
        """Looks, if the database can be reached."""
        try:
            async with database.reading() as connection:
                await self.look(connection)
        except (Problem, asyncpg.PostgresError) as error:
            log.warning("it could not be seen of which release the tables are: %r", error)

    async def run(self, database: Database) -> None:
        """Looks now and then, until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look_if_possible(database)

    def refuse_too_new(self) -> None:
        """Raises `Problem` while nothing may be stored."""
        if self.too_new is not None:
            raise _problem()

    async def judged(self, error: Exception, database: Database) -> Exception:
        """What a request ended in: that the tables are too new, if they are, for that explains
        whatever nobody foresaw.
        """
        if not _may_come_of_tables(error):
            return error
        looks = self._looks
        async with self._looking:
            if self._looks == looks:  # else another has looked since, for an error of its own
                await self.look_if_possible(database)
        if self.too_new is None or isinstance(error, Problem):  # a problem says so itself
            return error
        return unavailable(TOO_NEW, error)


def _problem() -> Problem:
    """The answer over tables that are too new; it is counted."""
    metrics.database_errors.labels(TOO_NEW.name).inc()
    text = Text("{trouble} Nothing was changed; try again after a moment.", trouble=TOO_NEW.text)
    return Problem(
        UNAVAILABLE, text, {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"}
    )


def _may_come_of_tables(error: Exception) -> bool:
    if isinstance(error, Problem):
        return isinstance(error.__cause__, TablesTooNew)
    if isinstance(error, (KeyMissing, ClientDisconnect)):
        return False
    fault = fault_of(error) if is_of_database(error) else None
    return fault is None or isinstance(error, (*WITHOUT_TABLES, WITHOUT_RIGHTS, *OUTDATED))


class FittingTables:
    """The layer that lets no request in over tables that are too new."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["app"].state.tables.too_new is not None
            and scope["path"] not in _OPEN
        ):
            await _problem().response()(scope, receive, send)
            return
        await self._app(scope, receive, send)
