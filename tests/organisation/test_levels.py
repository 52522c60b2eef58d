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


TEAM = {"slug": "team", "name_zh": "小队", "name_en": "team", "sees_tags": True}


async def test_who_administers_the_city_names_levels_and_adds_one(world: World) -> None:
    await admin(world)
    levels = (await world.get("/v1/levels", ADMIN)).json()
    assert levels[0]["slug"] == "city"
    levels[1]["name_zh"] = "旗县"
    answer = await put(world, levels, ADMIN)
    assert answer.status_code == 200, answer.text
    assert (await world.get("/v1/levels", SECRETARY)).json() == levels
    # Where no units lie right under each other, a level may come between.
    await world.fetch("DELETE FROM unit WHERE level = 'grid'")
    answer = await put(world, [*levels[:4], TEAM, *levels[4:]], ADMIN)
    assert answer.status_code == 200, answer.text


async def test_no_level_comes_between_units_that_lie_right_under_each_other(world: World) -> None:
    """Else no grid could be made in a village any more."""
    await admin(world)
    levels = (await world.get("/v1/levels", ADMIN)).json()
    for place, above, level in ((4, "village", "grid"), (0, None, "city")):
        refused = await put(world, [*levels[:place], TEAM, *levels[place:]], ADMIN)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-now")
        detail = refused.json()["detail"]
        assert "‘team’" in detail
        assert f"‘{level}’" in detail
        assert above is None or f"‘{above}’" in detail
    made = await world.post("/v1/units", {"parent": VILLAGE, "name": "新网格"}, ADMIN)
    assert made.status_code == 201, made.text


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
