"""The real service for a simulation: over an embedded PostgreSQL of its own, behind a network that
loses and repeats.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from service.app import create_app
from service.conformance.fake_server import PASSWORD
from service.conformance.loopback import Reply, Request, json_reply
from service.kit.database import Database, open_pool
from service.kit.encryption_queries import cipher_of
from service.kit.key_file import new_key
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.migrating import migrate_embedded
from service.runtime.postgres import (
    SERVICE_CONFIG,
    database_of,
    embedded,
    fresh_database,
    temporary_folder,
)
from service.writes.log_queries import read_bodies
from sync_protocol.periods import from_ms, to_ms

VILLAGE = "150202100200"
START_MS = to_ms(datetime(2026, 11, 16, 1, 0, tzinfo=UTC))
FAULTS = ("lost request", "lost answer", "duplicate", "busy")
_HOUSEHOLDS = 2
# What nobody needs after the run need not reach the disk, nor does a made-up password need a slow
# hash.
_CONFIG = {
    **SERVICE_CONFIG,
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "'128MB'",
}
_QUICK = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
_OWN_HEADERS = {"host", "content-length", "transfer-encoding", "connection"}


class RealService:
    """The service at a clock that moves when it is told to; `await handle(request)` is its
    network.
    """

    def __init__(self, server: str, settings: Settings, template: str, seed: int) -> None:
        self._server = server
        self._settings = settings
        self._rng = random.Random(f"network {seed}")
        self._seed = seed
        self._names = [template]
        self._stack = AsyncExitStack()
        self._app: FastAPI
        self._transport: httpx.ASGITransport
        self._backup = ""
        self.now_ms = START_MS
        self.fault_rate = 0.0

    async def start(self) -> None:
        """Serves a copy of the template."""
        await self._serve(await self._copy(self._names[0]))

    async def stop(self) -> None:
        """Ends the service and drops its databases."""
        await self._stack.aclose()
        connection = await asyncpg.connect(self._server)
        for name in self._names[1:]:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()

    async def _copy(self, name: str) -> str:
        copy = f"conformance_{self._seed}_{len(self._names)}"
        await fresh_database(self._server, copy, name)
        self._names.append(copy)
        return copy

    async def _serve(self, name: str) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        self._live = name
        settings = self._settings.model_copy(
            update={"database_url": database_of(str(self._settings.database_url), name)}
        )
        self._app = create_app(settings, lambda: from_ms(self.now_ms))
        await self._stack.enter_async_context(self._app.router.lifespan_context(self._app))
        self._transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)

    async def back_up(self) -> None:
        """Keeps the database as it is now."""
        await self._stack.aclose()
        self._backup = await self._copy(self._live)
        await self._serve(self._live)

    async def restore(self) -> bool:
        """Puts the backup in place of the database; whether there was one."""
        if not self._backup:
            return False
        await self._stack.aclose()
        await self._serve(await self._copy(self._backup))
        return True

    async def handle(self, request: Request) -> Reply | None:
        """A request, with whatever happens to it on the way."""
        fault = self._rng.choice(FAULTS) if self._rng.random() < self.fault_rate else ""
        if fault == "busy":
            return json_reply(
                503,
                {"type": "/problems/busy", "title": "busy", "status": 503},
                {"retry-after": "1"},
            )
        if fault == "lost request":
            return None
        reply = await self._deliver(request)
        if fault == "duplicate":
            reply = await self._deliver(request)
        return None if fault == "lost answer" else reply

    async def _deliver(self, request: Request) -> Reply:
        headers = {
            name: value for name, value in request.headers.items() if name not in _OWN_HEADERS
        }
        asked = httpx.Request(
            request.method,
            f"http://gridloop.test{request.path}",
            headers=headers,
            content=request.body,
        )
        response = await self._transport.handle_async_request(asked)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = b"".join([part async for part in response.stream])
        passed_on = {
            name.lower(): value
            for name, value in response.headers.items()
            if name.lower() not in _OWN_HEADERS
        }
        return Reply(response.status_code, body, passed_on)

    async def log(self) -> list[dict[str, Any]]:
        """The bodies of all mutations that phones handed in."""
        database: Database = self._app.state.gridloop.database
        sql = (
            "SELECT device::text, seq, received_at, kind, id, grid, body FROM mutation"
            " WHERE origin IS NULL ORDER BY device, seq"
        )
        async with database.reading() as connection:
            cipher = await cipher_of(connection, self._app.state.gridloop.settings)
            bodies = await read_bodies(connection, cipher, await connection.fetch(sql))
        return [json.loads(body.text) for body in bodies]


class Services:
    """An embedded PostgreSQL with a database that every simulation begins with."""

    def __init__(self, server: str, settings: Settings, template: str) -> None:
        self._server, self._settings, self._template = server, settings, template

    @asynccontextmanager
    async def running(self, seed: int) -> AsyncIterator[RealService]:
        """The service of one simulation."""
        service = RealService(self._server, self._settings, self._template, seed)
        try:
            await service.start()
            yield service
        finally:
            await service.stop()


@asynccontextmanager
async def services(template: str = "conformance") -> AsyncIterator[Services]:
    """Starts PostgreSQL and fills the database with the roster; households in one village only."""
    with temporary_folder("conformance") as folder:
        context = embedded(folder, _CONFIG)
        server = await asyncio.to_thread(context.__enter__)
        try:
            url = await fresh_database(server, template)
            named: dict[str, Any] = {
                "database_url": None,
                "owner_database_url": None,
                "data": folder,
                "secret_keys": new_key(),
            }
            base = Settings(**named, demo=True, households_per_grid=_HOUSEHOLDS)
            settings = await asyncio.to_thread(migrate_embedded, base, url)
            pool = await open_pool(url, 1)
            await load(
                Database(pool),
                settings,
                from_ms(START_MS),
                password=_QUICK.hash(PASSWORD),
                below=VILLAGE,
            )
            await pool.close()
            yield Services(server, settings, template)
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
