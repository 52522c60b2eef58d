"""The service processes of a simulated history, over one database: one of the present release, and
one that behaves as the release before.

Each is an app with pools, tokens and caches of its own, and phones come to either at random. The
older one reaches the database through a proxy that may cut its connections, and waits for a lock
for a moment only.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import datetime

import asyncpg
import httpx
import msgspec
from fastapi import FastAPI

from service.app import create_app
from service.kit.database import Database
from service.kit.settings import Settings
from service.runtime.postgres import as_role
from service.sync.exchange import Exchanges
from service.sync.push import ExchangeResult
from simulator.database_proxy import Failure, Moment, Proxy, proxied
from simulator.throwaway import ROLES
from sync_protocol.cursor import sign_cursor, verify_cursor

# What every write of a record has in one of its statements.
MARKER = b"mutation_body"
# Nobody else holds a lock in a history when this counts, but for who does it on purpose.
BRIEF_LOCK_S = 0.1
_NEWER_KEYS = ("stamp", "by", "created_by")
_OPEN_TRANSACTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend' AND state <> 'idle'
"""
_BLOCKED = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)

# Whether the request at hand goes to the process that waits for locks as long as one does in the
# field.
patient: ContextVar[bool] = ContextVar("patient", default=False)


class OlderExchanges(Exchanges):
    """Those of a release that knows none of the optional keys of an answer, and whose cursors end
    where those of older servers did.
    """

    async def _pull(self, result: ExchangeResult) -> bytes:
        answer = msgspec.json.decode(await super()._pull(result))
        answer.pop("rules", None)
        for change in answer["changes"]:
            for name in _NEWER_KEYS:
                change.pop(name, None)
        key = result.state.snapshot.key
        cursor = verify_cursor(answer["cursor"], key)
        assert cursor is not None
        cursor.staff_code, cursor.registered_ms, cursor.timeline = "", 0, ""
        answer["cursor"] = sign_cursor(cursor, key)
        return msgspec.json.encode(answer)


class Process:
    """One service process."""

    def __init__(
        self, settings: Settings, now: Callable[[], datetime], is_older: bool = False
    ) -> None:
        self.settings = settings
        self._now = now
        self._is_older = is_older
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Starts it."""
        self.app: FastAPI = create_app(self.settings, self._now)
        await self._stack.enter_async_context(self.app.router.lifespan_context(self.app))
        if self._is_older:
            self.app.state.gridloop.give(Exchanges, OlderExchanges(self.database, self.settings))
        self.transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)

    async def stop(self) -> None:
        """Ends it."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    @property
    def database(self) -> Database:
        """Its pools."""
        database: Database = self.app.state.gridloop.database
        return database


class Stall:
    """Somebody else holds what phones and REST need; `ends`: what becomes of those who wait for it.

    `limit`: their own `lock_timeout`; `canceled`: their statement is canceled, as
    `statement_timeout` does; `ended`: so is their session.
    """

    def __init__(self, url: str, lock: str, ends: str) -> None:
        self._url = url
        self._lock = lock
        self._ends = ends
        self._stack = AsyncExitStack()

    async def begin(self) -> None:
        """Takes the lock."""
        holder, watcher = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        for each in (holder, watcher):
            self._stack.push_async_callback(each.close)
        await holder.execute(f"BEGIN; {self._lock}")
        if self._ends != "limit":
            watching = asyncio.create_task(self._watch(watcher))
            self._stack.push_async_callback(_ended, watching)

    async def _watch(self, watcher: asyncpg.Connection) -> None:
        end = "pg_cancel_backend" if self._ends == "canceled" else "pg_terminate_backend"
        while True:
            for row in await watcher.fetch(_BLOCKED):
                await watcher.execute(f"SELECT {end}({row['pid']})")
            await asyncio.sleep(0.002)

    async def end(self) -> None:
        """Gives the lock back."""
        await self._stack.aclose()


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Servers:
    """All processes over one database. `side_by_side`: whether there are two; else one, which meets
    every fault itself.
    """

    def __init__(
        self, rng: random.Random, now: Callable[[], datetime], side_by_side: bool = True
    ) -> None:
        self._rng = rng
        self._now = now
        self.side_by_side = side_by_side
        self._stack = AsyncExitStack()
        self._processes: list[Process] = []
        self._last: Process | None = None
        self._proxy: Proxy | None = None
        self._stall: Stall | None = None
        self._stall_ends_early = False

    async def start(self, url: str) -> None:
        """Serves a database, given by the URL of its superuser."""
        self.url = url
        self._proxy, through = await self._stack.enter_async_context(proxied(url, MARKER))
        settings = Settings(database_url=as_role(url, ROLES.service), demo=True, pool_size=8)
        behind_proxy = {"database_url": through(str(settings.database_url))}
        if self.side_by_side:
            brief = {"lock_seconds": BRIEF_LOCK_S, "sync_lock_seconds": BRIEF_LOCK_S}
            older = Process(
                settings.model_copy(update=behind_proxy | brief), self._now, is_older=True
            )
            self._processes = [Process(settings, self._now), older]
        else:
            self._processes = [Process(settings.model_copy(update=behind_proxy), self._now)]
        for process in self._processes:
            await process.start()

    async def stop(self) -> None:
        """Ends all processes."""
        for process in self._processes:
            await process.stop()
        self._processes = []
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def restart_killed(self) -> None:
        """Starts the process anew that had the last request, and died of it."""
        assert self._last is not None
        await self._last.stop()
        await self._last.start()

    async def end_older(self) -> None:
        """Ends what is left of the release before."""
        for process in self._processes[1:]:
            await process.stop()
        del self._processes[1:]

    @property
    def first(self) -> Process:
        """The process of the present release."""
        return self._processes[0]

    @property
    def in_trouble(self) -> bool:
        """Whether a fault of the database is on, which only one of the processes meets."""
        return self._stall is not None or (
            self._proxy is not None and self._proxy.failure is not None
        )

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """What one of the processes answers; a fault that it met is over then, as far as it ends
        with that.
        """
        any_of_them = self._rng.randrange(2)
        place = 0 if patient.get() else 1 if self.in_trouble else any_of_them
        self._last = process = self._processes[min(place, len(self._processes) - 1)]
        response = await process.transport.handle_async_request(request)
        await response.aread()
        if response.status_code == 503:
            await self._after_fault()
        return response

    async def _after_fault(self) -> None:
        if self._stall is not None:
            if self._stall_ends_early:
                await self.end_stall()
            return
        # PostgreSQL notices in a moment that the connection is gone; who comes before would wait
        # for its locks, or not, by chance.
        connection = await asyncpg.connect(self.url)
        try:
            async with asyncio.timeout(30):
                while await connection.fetchval(_OPEN_TRANSACTIONS):  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.002)
        finally:
            await connection.close()

    def lose_connection(self, moment: Moment, said: bytes) -> None:
        """The next transaction that writes loses its connection."""
        assert self._proxy is not None
        self._proxy.fail(Failure(moment, said))

    def keep_connections(self) -> bool:
        """From now on no connection is lost; whether one was."""
        assert self._proxy is not None
        self._proxy.failure = None
        return self._proxy.failed.is_set()

    async def stall(self, lock: str, ends: str, ends_early: bool) -> None:
        """Somebody takes a lock, until `end_stall`; with `ends_early` until the first request has
        failed of it.
        """
        if ends == "limit" and not self.side_by_side:
            ends = "canceled"  # the only process waits as long as one does in the field
        self._stall, self._stall_ends_early = Stall(self.url, lock, ends), ends_early
        await self._stall.begin()

    async def end_stall(self) -> None:
        """Nobody holds anything any more."""
        if self._stall is not None:
            stall, self._stall = self._stall, None
            await stall.end()
