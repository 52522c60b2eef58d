"""A city that has nothing but its tables, and the service over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.app import create_app
from service.kit.database import Database
from service.kit.settings import Settings
from service.runtime.postgres import as_role
from simulator.places import PASSWORD
from simulator.throwaway import CHEAP, ROLES
from tests.conftest import cloned, running
from tests.imports.city import City
from tests.world import Clock, World


@pytest.fixture
async def city(
    server: str, empty_template: str, tmp_path: Path, clock: Clock
) -> AsyncIterator[City]:
    """The service over a database without any unit."""
    async with cloned(server, empty_template) as url:
        settings = Settings(
            database_url=as_role(url, ROLES.service),
            owner_database_url=as_role(url, ROLES.owner),
            demo=True,
            pool_size=6,
        )
        app = create_app(settings, clock.now)
        async with running(app) as client:
            world = World(app, client, clock, tmp_path)
            database = Database(world.state.database.pool)
            yield City(world, database, settings, CHEAP.hash(PASSWORD))
            await world.close()
