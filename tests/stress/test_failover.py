"""A replica takes over from a PostgreSQL server that is gone: a real one, which streams from a real
primary.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from migrations.roles import migrate
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import (
    SUPERUSER,
    as_role,
    database_of,
    embedded,
    fresh_database,
    temporary_folder,
)
from service.runtime.postgres_programs import Programs
from service.runtime.system_user import reachable_data
from simulator.places import NOW, PASSWORD
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG
from tests.guarantees.test_09_server_restored import AT, Restorable, contents
from tests.stress.test_signals import postgres_of
from tests.world import GRID, SECRETARY, WORKER, Clock, Phone

COMMITTEE = f"C{GRID[:12]}-3"
LONGEST_S = 60


class Pair:
    """A primary with the database of a service, and its replica."""

    def __init__(self, folder: Path, tmp_path: Path, clock: Clock) -> None:
        self._folder = folder
        self._primary, self._replica = ExitStack(), ExitStack()
        self._url = self._primary.enter_context(embedded(folder / "primary", TEST_CONFIG))
        self._settings = Settings(demo=True, pool_size=4, households_per_grid=1)
        self.service = Restorable(self._url, self._settings, clock, tmp_path)

    async def start(self) -> None:
        """Fills the primary, copies it, and lets the replica follow."""
        url = await fresh_database(self._url, "live")
        await asyncio.to_thread(migrate, url, ROLES)
        pool = await open_pool(url, 1)
        await load(
            Database(pool), self._settings, NOW, password=CHEAP.hash(PASSWORD), below=GRID[:12]
        )
        await pool.close()
        await self.service.start(as_role(url, ROLES.service))
        await asyncio.to_thread(self._copy)
        await self._start_replica()

    def _copy(self) -> None:
        programs = Programs()
        data = self._folder / "replica" / "postgres"
        data.parent.mkdir(mode=0o711)
        data = reachable_data(programs.user, data) if programs.user else data
        sockets = self._url.partition("host=")[2].partition("&")[0].replace("%2F", "/")
        programs.run(
            "pg_basebackup",
            data,
            "-h",
            sockets,
            "-U",
            SUPERUSER,
            "-c",
            "fast",
            "-X",
            "stream",
            "-R",
        )
        (data / ".s.PGSQL.5432.lock").unlink()  # the primary's own, whose sockets lie with its data

    async def _start_replica(self) -> None:
        self._replica_url = await asyncio.to_thread(
            self._replica.enter_context, embedded(self._folder / "replica", TEST_CONFIG)
        )

    async def replicated(self) -> None:
        """Waits until the replica has all that the primary has."""
        wanted = await self._ask(self._url, "SELECT pg_current_wal_insert_lsn()")
        async with asyncio.timeout(LONGEST_S):
            has_come = "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn"
            while not await self._ask(self._replica_url, has_come, wanted):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def part(self) -> None:
        """Ends the replica: what the primary commits from here on does not come over."""
        await asyncio.to_thread(self._replica.close)

    async def take_over(self) -> None:
        """Ends the primary, makes the replica the primary, and serves its database."""
        await self.service.stop()
        await asyncio.to_thread(self._primary.close)
        assert postgres_of(self._folder / "primary") == []
        if not postgres_of(self._folder / "replica"):
            await self._start_replica()
        assert await self._ask(self._replica_url, "SELECT pg_promote()")
        await self.service.start(as_role(database_of(self._replica_url, "live"), ROLES.service))

    @staticmethod
    async def _ask(url: str, sql: str, *values: object) -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql, *values)
        finally:
            await connection.close()

    async def close(self) -> None:
        """Ends everything."""
        for phone in self.service.phones:
            phone.store.close()
        await self.service.stop()
        await asyncio.to_thread(self._replica.close)
        await asyncio.to_thread(self._primary.close)


@pytest.fixture
async def pair(tmp_path: Path, clock: Clock) -> AsyncIterator[Pair]:
    with temporary_folder("gridloop-test-") as folder:
        pair = Pair(folder, tmp_path, clock)
        try:
            await pair.start()
            yield pair
        finally:
            await pair.close()


async def write(phone: Phone, content: str) -> None:
    """A visit that the server has."""
    phone.put("visit", AT | {"content": content}, grid=GRID)
    await phone.sync()


async def test_a_phone_that_has_seen_a_lost_commit_and_only_reads_comes_to_what_there_is(
    pair: Pair,
) -> None:
    service = pair.service
    worker, reader, other = (service.phone(code) for code in (WORKER, SECRETARY, COMMITTEE))
    for phone in (worker, reader, other):
        await phone.sync()
    await write(worker, "已复制")
    await pair.replicated()
    await pair.part()
    await write(worker, "丢失的")
    await reader.sync()
    assert contents(reader) == ["丢失的", "已复制"]
    epoch = reader.store.epoch

    await pair.take_over()
    await write(other, "新写的")  # takes the revision of what was lost
    assert other.store.epoch == epoch
    await reader.sync()
    assert contents(reader) == ["已复制", "新写的"]
    assert reader.store.epoch != epoch
    for phone in (worker, other, reader, worker):
        await phone.sync()
    assert contents(worker) == contents(reader) == contents(other) == ["丢失的", "已复制", "新写的"]


async def test_a_takeover_that_loses_nothing_costs_no_phone_anything(pair: Pair) -> None:
    service = pair.service
    worker, reader = service.phone(WORKER), service.phone(SECRETARY)
    await worker.sync()
    await write(worker, "已复制")
    await reader.sync()
    epoch = reader.store.epoch
    await pair.replicated()
    await pair.take_over()
    await write(worker, "新写的")
    assert (await reader.sync()).changes == 1
    assert (await worker.sync()).changes == 0
    assert reader.store.epoch == worker.store.epoch == epoch
    assert contents(reader) == ["已复制", "新写的"]
    [timelines] = await service.world.fetch("SELECT count(*) FROM timeline")
    assert timelines["count"] == 2
