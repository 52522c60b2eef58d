"""The roster of Baotou, by the rule."""

from collections import Counter

from service.kit.database import Database
from service.kit.settings import Settings
from service.organisation.generator import roster
from service.organisation.load import load
from simulator.places import NOW
from tests.world import GRID, World


def test_the_roster_has_the_published_numbers() -> None:
    whole = roster()
    levels = Counter(unit.level for unit in whole.units)
    assert levels == {"city": 1, "banner": 9, "township": 47, "village": 527, "grid": 3202}
    assert (
        Counter(
            "街道" not in unit.name and unit.kind in ("镇", "苏木", "乡")
            for unit in whole.units
            if unit.level == "township"
        )[True]
        == 39
    )
    assert sum(unit.party_group != "none" for unit in whole.units) == 1656
    roles = Counter(cadre.role for cadre in whole.cadres)
    assert roles["grid_worker"] == 4259
    assert roles["village_secretary"] == 527
    assert (
        roles["village_secretary"] + roles["village_committee"] + roles["village_supervisor"]
        == 3306
    )
    assert {cadre.unit for cadre in whole.cadres if cadre.role == "village_supervisor"} == {
        unit.code for unit in whole.units if unit.level == "village"
    }
    assert len({cadre.staff_code for cadre in whole.cadres}) == len(whole.cadres)


def test_the_roster_is_the_same_every_time() -> None:
    assert roster() == roster()


async def test_loading_twice_changes_nothing(world: World) -> None:
    async def everything() -> list[object]:
        tables = ("unit", "cadre", "post", "household", "counter", "mutation")
        return [
            [tuple(row) for row in await world.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
            for table in tables
            if table != "counter"
        ]

    before = await everything()
    settings = Settings(households_per_grid=3)
    loaded = await load(Database(world.state.database.pool), settings, NOW, below=GRID[:12])
    assert (loaded.new_units, loaded.new_cadres, loaded.new_households) == (0, 0, 0)
    assert await everything() == before
