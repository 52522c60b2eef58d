"""The year of the founding article: each figure is read back over the API, and by a plain client
from the schema `report`.
"""

import os
import re
import uuid
from pathlib import Path
from typing import Any

import asyncpg

from migrations.reporting import grant
from service.app import create_app
from service.demo import article_figures, article_year
from service.demo.article_figures import CITY
from service.demo.article_year import Figures
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role
from service.tallies.recount import differences
from service.writes import timelines
from simulator.places import NOW, PASSWORD
from simulator.throwaway import CHEAP
from tests.conftest import cloned, running
from tests.world import Clock, World

ROOT = Path(__file__).parents[2]
# All of them where there is time, as in CI.
PART = 1 if "GRIDLOOP_TEST_SEEDS" in os.environ else 500
# The article's own, in the order in which it was asked for them.
ASKED = (
    *(3_202, 4_259, 1_656, 146_185, 5_687, 5_901, 7_377, 5_216, 6_721, 409, 4_397, 10_541, 527),
    *(9, 39, 3_306, 436, 61, 752, 55, 3, 10),
)
_OF_UNITS = "SELECT count(*) FROM report.units WHERE "
_OF_CADRES = "SELECT count(DISTINCT {}) FROM report.cadres WHERE role {}"
_OF_PROBLEMS = "SELECT count(resolved_at) FROM report.problems WHERE category = '{}' AND is_counted"
_OF_MARKS = "SELECT count(*) FROM report.marks WHERE mark = '{}' AND holds"
_OF_VALUES = "SELECT sum(value) FROM report.indicator_values WHERE period = '2026' AND "
# Where a tool for charts reads each of them.
REPORTED = {
    "banners": f"{_OF_UNITS} level = 'banner'",
    "townships": f"{_OF_UNITS} level = 'township' AND kind <> '街道'",
    "villages": f"{_OF_UNITS} level = 'village'",
    "grids": f"{_OF_UNITS} level = 'grid'",
    "party_groups": f"{_OF_UNITS} party_group IN ('group', 'branch')",
    "workers": _OF_CADRES.format("staff_code", "= 'grid_worker'"),
    "secretaries": _OF_CADRES.format("staff_code", "= 'village_secretary'"),
    "first_secretaries": _OF_CADRES.format("staff_code", "= 'first_secretary'"),
    "key_villages": _OF_CADRES.format("unit", "= 'first_secretary'"),
    "committee": _OF_CADRES.format(
        "staff_code", "IN ('village_secretary', 'village_committee', 'village_supervisor')"
    ),
    "visits": "SELECT sum(visits) FROM report.periods WHERE period = '2026'",
    "solved": _OF_PROBLEMS.format("household_problem"),
    "disputes": _OF_PROBLEMS.format("dispute"),
    "worries": _OF_PROBLEMS.format("worry"),
    "ties": "SELECT count(*) FROM report.ties WHERE kind = 'family' AND holds",
    "income": "SELECT count(*) FROM report.indicator_values WHERE period = '2026'"
    " AND indicator = 'collective_income' AND value >= 100000",
    **{mark: _OF_MARKS.format(mark) for mark in ("model", "weak", "lagging")},
    **{
        one.key: f"{_OF_VALUES} indicator = '{one.key}'"
        for one in article_figures.FIGURES
        if one.route.startswith("/v1/indicators/") and one.key != "income"
    },
}


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
            year = await article_year.live(database, settings, NOW, Figures().scaled(PART))
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

            rows = await article_figures.read(get, year, PART)
            await world.close()
        assert [row for row in rows if row.value != row.expected] == []
        role = f"report_{uuid.uuid4().hex[:12]}"
        await grant(url, "gridloop", role, CITY)
        connection = await asyncpg.connect(as_role(url, role))
        try:
            reported = {key: await connection.fetchval(sql) for key, sql in REPORTED.items()}
        finally:
            await connection.close()
        assert reported == {row.figure.key: row.expected for row in rows}
        connection = await asyncpg.connect(url)
        try:
            assert await differences(connection, settings) == []
        finally:
            await connection.close()


def test_the_figures_are_those_of_the_article_and_stand_in_its_table() -> None:
    figures = article_figures.FIGURES
    assert {*ASKED} <= {one.number for one in figures}
    shared = {one.key: one.number for one in figures if one.share}
    assert Figures()._asdict() == shared
    rows = re.findall(
        r"^\| ([\d,]+) [^|]*\|[^|]*\| `([^`]+)`",
        (ROOT / "docs" / "article.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    told = {(f"{one.number:,}", one.route.replace("{year}", "")) for one in figures}
    assert {(number, route) for number, route in rows} == told
