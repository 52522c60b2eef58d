"""The pools of connections to PostgreSQL, their limits of time, and what an error of the database
becomes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg

from service.kit import outcomes
from service.kit.database_errors import (
    OUTDATED,
    WITHOUT_RIGHTS,
    WITHOUT_TABLES,
    NoConnection,
    fault_of,
    leaves_doubt,
)
from service.kit.database_limits import UNLIMITED, Limits
from service.kit.errors import Problem, unavailable
from service.kit.outcomes import Outcome

if TYPE_CHECKING:
    Connection: TypeAlias = (
        asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    )
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Row: TypeAlias = asyncpg.Record
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool
    Row = asyncpg.Record

T = TypeVar("T")
Begun: TypeAlias = asyncpg.transaction.Transaction

log = logging.getLogger("gridloop")

# The transactions that the request at hand has committed.
commits: ContextVar[list[None] | None] = ContextVar("commits", default=None)

ACQUIRE_TIMEOUT_S = 10
# How long a connection may take to begin a transaction, which waits for no lock: one that takes
# longer has a process of PostgreSQL behind it that hangs.
BEGIN_S = 2.0
# How long the end of a transaction that failed may take, and giving a connection back.
ENDING_S = 2
# How long a pool waits at its end for connections that somebody still has.
CLOSING_S = 5


async def open_pool(
    url: str,
    size: int,
    limits: Limits = UNLIMITED,
    server_settings: Mapping[str, str] = MappingProxyType({}),
    init: Callable[[Connection], Coroutine[Any, Any, None]] | None = None,
) -> Pool:
    """A pool of at most `size` connections; none is opened before it is needed, so a service starts
    while its database is down.

    `init` is called with each new connection before anybody else has it.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        command_timeout=limits.of_driver,
        timeout=ACQUIRE_TIMEOUT_S,
        reset=_leave_as_it_is,
        init=init,
        server_settings={
            "application_name": "gridloop",
            "timezone": "UTC",
            **limits.server_settings(),
            **server_settings,
        },
    )


async def close_pool(pool: Pool) -> None:
    """Closes a pool; connections that are not given back in a moment are cut, for whoever has them
    may wait for a server that does not answer.
    """
    try:
        async with asyncio.timeout(CLOSING_S):
            await pool.close()
    except TimeoutError:
        log.warning("a pool of connections did not close within %g s: they were cut", CLOSING_S)


Acquire: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]


def share_connection(connection: Connection) -> Acquire:
    """Lends one connection to several that would run side by side if there were more; who has it
    keeps it to the end.
    """
    lock = asyncio.Lock()

    @asynccontextmanager
    async def acquire() -> AsyncIterator[Connection]:
        async with lock:
            yield connection

    return acquire


async def _leave_as_it_is(connection: Connection) -> None:
    """Saves the round trip that would undo session settings: the service makes none, and asyncpg
    itself ends an open transaction.
    """


class Database:
    """The database as the routes see it: connections to read, transactions to write."""

    def __init__(
        self,
        pool: Pool,
        analysis: Pool | None = None,
        sync: Pool | None = None,
        look_first: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.pool = pool
        self._analysis = analysis or pool
        self._sync = sync or pool
        self._look_first = look_first

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by name."""
        return {"main": self.pool, "analysis": self._analysis, "sync": self._sync}

    @asynccontextmanager
    async def analysing(self) -> AsyncIterator[Connection]:
        """A connection whose statements are planned each for its own unit and period: a village and
        a city want other ways.
        """
        async with self._connection(self._analysis) as connection:
            yield connection

    @asynccontextmanager
    async def syncing(self) -> AsyncIterator[Connection]:
        """A connection for phones, whose statements are planned once and reach every row by an
        index.
        """
        async with self._connection(self._sync) as connection:
            yield connection

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[tuple[Connection, Begun]]:
        """The same with a transaction begun, to be given to `committing`."""
        async with self._beginning(self._sync) as begun:
            yield begun

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection on which each statement sees the newest state."""
        async with self._connection(self.pool) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self, bookkeeping: bool = False) -> AsyncIterator[Connection]:
        """A connection in a transaction, which commits at the end or leaves nothing behind.

        `bookkeeping`: it is nothing that the request at hand asks for, so no answer needs to say
        what became of it. What the database was given to `look_first` comes before all else.
        """
        outcome = None if bookkeeping else outcomes.current.get()
        async with (
            self._beginning(self.pool) as (connection, begun),
            committing(connection, [outcome] if outcome else [], begun),
        ):
            if self._look_first is not None:
                await self._look_first(connection)
            yield connection
        done = commits.get()
        if done is not None:
            done.append(None)

    @asynccontextmanager
    async def alone_with(self, key: str) -> AsyncIterator[bool]:
        """Whether nobody else works on what the key names just now; nobody begins to before the
        end. The lock goes with the process, however that ends.
        """
        # Of another pool than that of the work, so that the two never wait for each other.
        async with self.analysing() as connection:
            free: bool = await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key
            )
            try:
                yield free
            finally:
                if free:
                    await connection.execute(
                        "SELECT pg_advisory_unlock(hashtextextended($1, 0))", key
                    )

    @property
    def unhurried(self) -> "Database":
        """The same database for work whose statements may take as long as an analysis."""
        return Database(self._analysis, self.pool, self._sync, self._look_first)

    @asynccontextmanager
    async def _beginning(self, pool: Pool) -> AsyncIterator[tuple[Connection, Begun]]:
        """A connection on which a transaction has begun; one that hangs is given up for another,
        for nothing was done on it yet. When that hangs, too, it is PostgreSQL as a whole.
        """
        is_second = False
        while True:
            async with self._connection(pool) as connection:
                transaction = connection.transaction()
                if await _begins(transaction, connection, None if is_second else BEGIN_S):
                    yield connection, transaction
                    return
            is_second = True

    @asynccontextmanager
    async def _connection(self, pool: Pool) -> AsyncIterator[Connection]:
        try:
            connection = await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        except Exception as error:
            problem = _problem_of(NoConnection() if isinstance(error, TimeoutError) else error)
            if problem is None:
                raise
            raise problem from error
        try:
            yield connection
        except Exception as error:
            # Of an error that need not be the database's it is, when the connection is gone.
            is_elsewhere = (
                isinstance(error, OSError)
                and not isinstance(error, TimeoutError)
                and not _is_lost(connection)
            )
            problem = None if is_elsewhere else _problem_of(error)
            if problem is None:
                raise
            raise problem from error
        finally:
            await _give_back(pool, connection)


async def _begins(transaction: Begun, connection: Connection, within_s: float | None) -> bool:
    """Begins a transaction; whether the server answered in time. If not, the connection is cut."""
    try:
        async with asyncio.timeout(within_s):
            await transaction.start()
    except TimeoutError:
        if within_s is None:
            raise
        log.warning("a connection did not begin a transaction within %g s: cut", within_s)
        connection.terminate()
        return False
    return True


async def _give_back(
    pool: Pool, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
) -> None:
    """Whatever was done on a connection is done: when it cannot be given back it is closed, and
    that is nobody's error.
    """
    try:
        await pool.release(connection, timeout=ENDING_S)
    except Exception as error:
        log.warning("a connection could not be given back: %r", error)


def _problem_of(error: Exception) -> Problem | None:
    """What an error of the database is to a client; None where the work may begin again first, and
    for an error of something else.
    """
    fault = fault_of(error)
    if fault is None or isinstance(error, (*CONTENDED, *WITHOUT_TABLES, WITHOUT_RIGHTS)):
        return None
    return unavailable(fault, error)


@asynccontextmanager
async def committing(
    connection: Connection, outcomes: Sequence[Outcome], begun: Begun | None = None
) -> AsyncIterator[None]:
    """A transaction on a connection, which may have `begun`; notes for the requests that it serves
    whether it was kept, or nobody knows.
    """
    if begun is None:
        transaction = connection.transaction()
        await transaction.start()
    else:
        transaction = begun
    try:
        yield
    except BaseException:
        await _roll_back(transaction, connection)
        raise
    try:
        await transaction.commit()
    except BaseException as error:
        if leaves_doubt(error):
            for outcome in outcomes:
                outcome.note_doubt()
        raise
    for outcome in outcomes:
        outcome.note_kept()


async def _roll_back(transaction: Begun, connection: Connection) -> None:
    """Ends a transaction; where the server does not answer in a moment the connection is cut, for
    somebody waits for an answer.
    """
    if _is_lost(connection):
        return
    try:
        async with asyncio.timeout(ENDING_S):
            await transaction.rollback()
    except Exception as error:
        log.info("a transaction ends with its connection: %r", error)
        if not _is_lost(connection):
            connection.terminate()


def _is_lost(connection: Connection) -> bool:
    """Whether a connection is closed; one of a pool is taken from its holder then."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


CONTENDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    *OUTDATED,
)
_TRIES = 5


async def retry_on_conflict(work: Callable[[], Awaitable[T]]) -> T:
    """Does a transaction's work, anew when it met another in an order that one of them must begin
    again, or tables that have changed; nothing of the first is kept.
    """
    for _ in range(_TRIES - 1):
        try:
            return await work()
        except CONTENDED as error:
            log.info("a transaction begins again: %r", error)
    return await work()
