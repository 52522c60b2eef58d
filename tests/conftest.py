"""The world that tests need: a real PostgreSQL, a migrated template that is cloned for every test,
the real app over it.
"""

import asyncio
import gc
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from migrations.roles import migrate
from service.app import create_app
from service.identity import passwords
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from service.writes import timelines
from simulator.places import NOW, PASSWORD
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG, quickest_disk
from tests.world import GRID, Clock, World

# Tests are bounded by the disk without these; durability is tested where a server is killed, with
# fsync on.
TEMPLATE = "gridloop_template"

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Processes that tests start end on signals also where the tests run in the background of a
    shell, or under nohup: an ignored signal is inherited, one that is handled is not.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    # Every test signs somebody in; by the real parameters that takes longer than most of what it
    # asks for. Processes that tests start have the real ones.
    passwords.hasher.hashers = CHEAP.hashers
    passwords.hasher.current_hasher = CHEAP.current_hasher


# What takes longest goes first, so that in the end no process works at one test while the others
# have nothing left.
_LONGEST = ("tests/simulation", "tests/stress", "tests/conformance", "tests/fuzz", "tests/cli")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the folders with the longest tests first; else tests keep their order."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(config.rootpath).as_posix()
        return next(
            (place for place, name in enumerate(_LONGEST) if folder.startswith(name)), len(_LONGEST)
        )

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was loaded stays: looking for garbage in it would cost every test a little."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The embedded server of this test process."""
    with temporary_folder("test", quickest_disk()) as folder, embedded(folder, TEST_CONFIG) as url:
        yield url


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A data folder for an embedded server of one's own; pytest's folders are closed to the user
    that root's server runs as.
    """
    with temporary_folder("test") as folder:
        yield folder


@pytest.fixture(scope="session")
def empty_template(server: str) -> str:
    """The name of a migrated database without any rows but the server's."""
    url = asyncio.run(fresh_database(server, "gridloop_empty"))
    migrate(url, ROLES)
    return "gridloop_empty"


@pytest.fixture(scope="session")
def template(server: str, empty_template: str) -> str:
    """The name of a migrated database with the roster, households in one village only."""

    async def fill() -> None:
        url = await fresh_database(server, TEMPLATE, empty_template)
        settings = Settings(database_url=url, households_per_grid=3)
        pool = await open_pool(url, 1, init=timelines.note_timeline)
        try:
            await load(
                Database(pool), settings, NOW, password=CHEAP.hash(PASSWORD), below=GRID[:12]
            )
            async with pool.acquire() as connection:
                await connection.execute("ANALYZE")
        finally:
            await pool.close()

    asyncio.run(fill())
    return TEMPLATE


@pytest.fixture(scope="session")
def empty_households(server: str, empty_template: str) -> str:
    """The name of a migrated database with units and cadres, and no record yet."""

    async def fill() -> None:
        url = await fresh_database(server, "gridloop_plain", empty_template)
        pool = await open_pool(url, 1, init=timelines.note_timeline)
        try:
            await load(
                Database(pool), Settings(households_per_grid=0), NOW, password=CHEAP.hash(PASSWORD)
            )
        finally:
            await pool.close()

    asyncio.run(fill())
    return "gridloop_plain"


async def keep_from_temporary_tables(url: str) -> None:
    """What `gridloop migrate` takes from everybody in a database; a clone of that does not inherit
    it.
    """
    connection = await asyncpg.connect(url)
    await connection.execute(
        f'REVOKE TEMPORARY ON DATABASE "{await connection.fetchval("SELECT current_database()")}"'
        " FROM PUBLIC"
    )
    await connection.close()


@asynccontextmanager
async def cloned(server: str, template: str) -> AsyncIterator[str]:
    """A database of one's own, dropped at the end."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    url = await fresh_database(server, name, template)
    try:
        await keep_from_temporary_tables(url)
        yield url
    finally:
        connection = await asyncpg.connect(server)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


@pytest.fixture
async def database_url(server: str, template: str) -> AsyncIterator[str]:
    """A clone of the template for one test."""
    async with cloned(server, template) as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    """The service's clock, which stands still until a test moves it."""
    return Clock()


@pytest.fixture
def settings(database_url: str) -> Settings:
    """The settings of the app under test: it connects as the role that owns nothing, so that every
    test shows that this is enough.
    """
    return Settings(
        database_url=as_role(database_url, ROLES.service),
        owner_database_url=as_role(database_url, ROLES.owner),
        demo=True,
        pool_size=6,
        households_per_grid=3,
    )


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that was started as a server starts it."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gridloop.test"
        ) as client:
            yield client


@pytest.fixture
async def world(settings: Settings, clock: Clock, tmp_path: Path) -> AsyncIterator[World]:
    """The running service with phones and supervisors around it."""
    app = create_app(settings, clock.now)
    async with running(app) as client:
        world = World(app, client, clock, tmp_path)
        yield world
        await world.close()
