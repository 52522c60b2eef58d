"""The levels of the tree, set by the administrator of the city or by an operator."""

from typing import Any

import httpx

from simulator.places import TOWNSHIP, VILLAGE
from tests.organisation.test_changes import ADMIN, admin
from tests.world import SECRETARY, World


async def put(world: World, levels: Any, staff_code: str) -> httpx.Response:
    world.clock.forward(milliseconds=1)
    token = await world.token(staff_code)
    headers = {"Authorization": f"Bearer {token}"}
    body = {"levels": levels}
    return await world.client.put("/v1/levels", json=body, headers=headers)


async def test_who_administers_the_city_names_levels_and_adds_one(world: World) -> None:
    await admin(world)
    levels = (await world.get("/v1/levels", ADMIN)).json()
    assert levels[0]["slug"] == "city"
    levels[1]["name_zh"] = "旗县"
    levels.insert(4, {"slug": "team", "name_zh": "小队", "name_en": "team", "sees_tags": True})
    answer = await put(world, levels, ADMIN)
    assert answer.status_code == 200, answer.text
    assert (await world.get("/v1/levels", SECRETARY)).json() == levels


async def test_levels_with_units_stay_and_in_their_order(world: World) -> None:
    await admin(world)
    levels = (await world.get("/v1/levels", ADMIN)).json()
    without = [level for level in levels if level["slug"] != "township"]
    assert (await put(world, without, ADMIN)).status_code == 409
    turned = [levels[0], levels[2], levels[1], *levels[3:]]
    assert (await put(world, turned, ADMIN)).status_code == 409
    assert (await put(world, levels[:-1], ADMIN)).status_code == 422
    assert (await put(world, [levels[0], *levels], ADMIN)).status_code == 422
    assert (await world.get("/v1/levels", ADMIN)).json() == levels


async def test_nobody_else_sets_levels(world: World) -> None:
    await admin(world)
    levels = (await world.get("/v1/levels", ADMIN)).json()
    await world.fetch("UPDATE post SET unit = $2 WHERE staff_code = $1", ADMIN, TOWNSHIP)
    assert (await put(world, levels, ADMIN)).status_code == 403
    assert (await put(world, levels, SECRETARY)).status_code == 403


async def test_a_new_units_code_has_the_length_of_its_level(world: World) -> None:
    """As an import has it, so that an export of it can be imported."""
    await admin(world)
    body = {"parent": TOWNSHIP, "name": "新村", "code": TOWNSHIP + "9999"}
    answer = await world.post("/v1/units", body, ADMIN)
    assert answer.status_code == 422, answer.text
    body["code"] = TOWNSHIP + "999"
    answer = await world.post("/v1/units", body, ADMIN)
    assert answer.status_code == 201, answer.text
    assert [one["code"] for one in answer.json()["warnings"]] == ["village-without-secretary"]
    body = {"parent": VILLAGE, "name": "网格", "code": TOWNSHIP + "999001"}
    assert (await world.post("/v1/units", body, ADMIN)).status_code == 422
