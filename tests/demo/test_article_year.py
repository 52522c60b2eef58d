"""The year of the founding article: each figure is read back over the API."""

import os
from pathlib import Path
from typing import Any

import asyncpg

from service.app import create_app
from service.demo import article_figures, article_year
from service.demo.article_year import Figures
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.tallies.recount import differences
from service.writes import timelines
from simulator.places import NOW, PASSWORD
from simulator.throwaway import CHEAP
from tests.conftest import cloned, running
from tests.world import Clock, World

# All of them where there is time, as in CI.
PART = 1 if "GRIDLOOP_TEST_SEEDS" in os.environ else 500
FIGURES = Figures().scaled(PART)


async def test_every_figure_of_the_article_is_read_back(
    server: str, empty_template: str, tmp_path: Path
) -> None:
    async with cloned(server, empty_template) as url:
        settings = Settings(
            database_url=url, demo=True, households_per_grid=article_year.HOUSEHOLDS_PER_GRID
        )
        pool = await open_pool(url, 2, init=timelines.note_timeline)
        try:
            database = Database(pool)
            await load(database, settings, NOW, password=CHEAP.hash(PASSWORD))
            year = await article_year.live(database, settings, NOW, FIGURES)
        finally:
            await pool.close()
        clock = Clock()
        app = create_app(settings, clock.now)
        async with running(app) as client:
            world = World(app, client, clock, tmp_path)

            async def get(path: str, **query: Any) -> Any:
                answer = await world.get(path, "S1502", **query)
                assert answer.status_code == 200, answer.text
                return answer.json()

            rows = await article_figures.read(get, year)
            await world.close()
        assert [(row.name.split()[0], row.value) for row in rows] == [
            ("网格", 3_202),
            ("网格员", 4_259),
            ("网格党组织", 1_656),
            ("走访", FIGURES.visits),
            ("解决问题", FIGURES.solved),
            ("化解矛盾纠纷", FIGURES.disputes),
            ("揪心事烦心事", FIGURES.worries),
            ("结亲", FIGURES.ties),
            ("嘎查村", 527),
            ("集体经济", 527),
            ("产业项目", 752),
            ("示范村", 55),
            ("薄弱村", 3),
            ("后进村", 10),
        ]
        connection = await asyncpg.connect(url)
        try:
            assert await differences(connection, settings) == []
        finally:
            await connection.close()


def test_the_figures_are_those_of_the_article() -> None:
    assert Figures() == (146_185, 5_687, 5_901, 7_377, 5_216)
