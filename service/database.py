"""The pool of connections to PostgreSQL, and what a database that is down looks like."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg

from service.errors import UNAVAILABLE, Problem

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Row: TypeAlias = asyncpg.Record
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool
    Row = asyncpg.Record

T = TypeVar("T")

log = logging.getLogger("gridloop")

# The transactions that the request at hand has committed.
commits: ContextVar[list[None] | None] = ContextVar("commits", default=None)

ACQUIRE_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 60


async def open_pool(
    url: str,
    size: int,
    command_timeout: float | None = COMMAND_TIMEOUT_S,
    server_settings: Mapping[str, str] = MappingProxyType({}),
    init: Callable[[Connection], Coroutine[Any, Any, None]] | None = None,
) -> Pool:
    """A pool of at most `size` connections; none is opened before it is needed, so a service starts while its database is down.

    `init` is called with each new connection before anybody else has it.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        command_timeout=command_timeout,
        timeout=ACQUIRE_TIMEOUT_S,
        reset=_leave_as_it_is,
        init=init,
        server_settings={"application_name": "gridloop", "timezone": "UTC", **server_settings},
    )


Lender: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]


def one_at_a_time(connection: Connection) -> Lender:
    """Lends one connection to several that would run side by side if there were more; who has it keeps it to the end."""
    lock = asyncio.Lock()

    @asynccontextmanager
    async def lend() -> AsyncIterator[Connection]:
        async with lock:
            yield connection

    return lend


async def _leave_as_it_is(connection: Connection) -> None:
    """Saves the round trip that would undo session settings: the service makes none, and asyncpg itself ends an open transaction."""


class Database:
    """The database as the routes see it: connections to read, transactions to write."""

    def __init__(self, pool: Pool, analysis: Pool | None = None, sync: Pool | None = None) -> None:
        self.pool = pool
        self._analysis = analysis or pool
        self._sync = sync or pool

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by name."""
        return {"main": self.pool, "analysis": self._analysis, "sync": self._sync}

    @asynccontextmanager
    async def analysing(self) -> AsyncIterator[Connection]:
        """A connection whose statements are planned each for its own unit and period: a village and a city want other ways."""
        async with self._connection(self._analysis) as connection:
            yield connection

    @asynccontextmanager
    async def syncing(self) -> AsyncIterator[Connection]:
        """A connection for phones, whose statements are planned once and reach every row by an index."""
        async with self._connection(self._sync) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection on which each statement sees the newest state."""
        async with self._connection(self.pool) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, which commits at the end or leaves nothing behind."""
        async with self._connection(self.pool) as connection, connection.transaction():
            yield connection
        done = commits.get()
        if done is not None:
            done.append(None)

    @asynccontextmanager
    async def _connection(self, pool: Pool) -> AsyncIterator[Connection]:
        try:
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection
        except UNREACHABLE as error:
            log.warning("the database cannot be reached: %r", error)
            raise unavailable() from error


UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
    OSError,
    TimeoutError,
)


# A statement was prepared before the tables changed. Whoever meets it has all connections forget their statements.
OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
CONTENDED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError, *OUTDATED)
_TRIES = 5


async def begin_again(work: Callable[[], Awaitable[T]]) -> T:
    """Does a transaction's work, anew when it met another in an order that one of them must begin again, or tables that have changed;
    nothing of the first is kept."""
    for _ in range(_TRIES - 1):
        try:
            return await work()
        except CONTENDED as error:
            log.info("a transaction begins again: %r", error)
    return await work()


def unavailable() -> Problem:
    """The answer while the database cannot be reached."""
    return Problem(UNAVAILABLE, "The database cannot be reached; nothing was changed. Try again in a few seconds.", {"Retry-After": "5"})
