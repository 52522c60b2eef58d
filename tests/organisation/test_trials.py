"""What a change of units would do, what should be known of it, and the day whose tree answers."""

from datetime import date, timedelta
from typing import Any

from simulator.places import TOWNSHIP, VILLAGE
from tests.organisation.test_changes import ADMIN, FAR_TOWNSHIP, OTHER_WORKER, admin, codes, day
from tests.world import GRID, OTHER_GRID, WORKER, World


async def problem_about_a_household(world: World) -> str:
    """A household of the grid, with an open problem that has a step."""
    phone = world.phone(WORKER)
    await phone.sync()
    house = phone.records("household")[0].id
    at = world.clock.now().isoformat()
    fields = {"title": "水管", "duty": "emergency", "raised_at": at, "household_id": house}
    problem = phone.put("problem", fields, grid=GRID)
    phone.put("step", {"problem_id": problem, "action": "accept", "at": at}, grid=GRID)
    await phone.sync()
    return house


async def trial(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.post(path, body | {"dry_run": True}, ADMIN)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["dry_run"] is True
    return found


async def test_a_trial_says_what_a_split_would_do_and_writes_nothing(world: World) -> None:
    await admin(world)
    house = await problem_about_a_household(world)
    before = await codes(world, unit=VILLAGE)
    heads = await world.fetch("SELECT grid, rev FROM counter ORDER BY grid")
    body = {"name": "三网格", "households": [house]}

    found = await trial(world, f"/v1/units/{GRID}/split", body)

    assert (found["households"], found["problems"], found["steps"]) == (1, 1, 1)
    new = found["unit"]["code"]
    assert [(one["code"], one["unit"]) for one in found["warnings"]] == [
        ("grid-without-worker", new)
    ]
    assert await codes(world, unit=VILLAGE) == before
    assert await world.fetch("SELECT grid, rev FROM counter ORDER BY grid") == heads
    assert await world.fetch("SELECT FROM unit_change") == []
    done = await world.post(f"/v1/units/{GRID}/split", body, ADMIN)
    assert done.json()["unit"]["code"] == new
    assert done.json()["dry_run"] is False


async def test_a_trial_of_a_merge_names_the_posts_that_are_left(world: World) -> None:
    await admin(world)
    found = await trial(world, f"/v1/units/{OTHER_GRID}/merge", {"to": GRID})
    assert found["households"] == 3
    assert [one["staff_code"] for one in found["posts_left"]] == [OTHER_WORKER]
    assert {(one["code"], one["unit"]) for one in found["warnings"]} == {
        ("posts-at-closed-unit", OTHER_GRID)
    }
    found = await trial(world, f"/v1/units/{OTHER_GRID}/close", {"to": GRID})
    assert found["unit"]["closed"] == day(world, 1)
    unit = (await world.get(f"/v1/units/{OTHER_GRID}", ADMIN)).json()
    assert unit["closed"] is None


async def test_a_trial_is_refused_as_the_change_would_be(world: World) -> None:
    await admin(world)
    answer = await world.post(f"/v1/units/{OTHER_GRID}/close", {"dry_run": True}, ADMIN)
    assert answer.status_code == 409


async def test_a_start_that_is_put_off_leaves_a_grid_without_worker(world: World) -> None:
    await admin(world)
    rows = await world.fetch("SELECT id::text FROM post WHERE staff_code = $1", WORKER)
    others = "UPDATE post SET valid_to = $3 WHERE unit = $1 AND staff_code <> $2"
    await world.fetch(others, GRID, WORKER, world.clock.now())
    world.clock.forward(milliseconds=1)
    begins = (world.clock.now() + timedelta(days=30)).isoformat()
    answer = await world.client.patch(
        f"/v1/posts/{rows[0]['id']}",
        json={"valid_from": begins},
        headers={"Authorization": f"Bearer {await world.token(ADMIN)}"},
    )
    assert answer.status_code == 200, answer.text
    assert "grid-without-worker" in [one["code"] for one in answer.json()["warnings"]]


async def test_a_day_to_come_has_the_tree_that_is_planned_or_says_that_there_is_none(
    world: World,
) -> None:
    await admin(world)
    week = {"unit": TOWNSHIP, "week": "2026-W47"}
    ahead = str(date.fromisoformat(day(world)) + timedelta(days=9))
    routes = ("summaries/weekly", "summaries/cadres", "loop")
    for route in routes:
        found = (await world.get(f"/v1/{route}", ADMIN, **week, as_of=ahead)).json()
        assert found["tree_day"] == day(world), route
    to = {"to": FAR_TOWNSHIP, "from": day(world, 5)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", to, ADMIN)).status_code == 200

    for route in routes:
        found = (await world.get(f"/v1/{route}", ADMIN, **week, as_of=ahead)).json()
        assert found["tree_day"] == ahead, route
    summary = (await world.get("/v1/summaries/weekly", ADMIN, **week, as_of=ahead)).json()
    assert VILLAGE not in {child["unit"]["code"] for child in summary["units"]}
    summary = (await world.get("/v1/summaries/weekly", ADMIN, **week)).json()
    assert VILLAGE in {child["unit"]["code"] for child in summary["units"]}
    assert summary["tree_day"] == day(world)
    sheet = await world.get("/v1/exports/weekly.xlsx", ADMIN, **week, as_of=ahead)
    assert sheet.headers["gridloop-tree-day"] == ahead
    members = {"unit": TOWNSHIP, "week": "2026-W47", "role": "contact", "as_of": ahead}
    assert (await world.get("/v1/summaries/members", ADMIN, **members)).json()["tree_day"] == ahead


async def test_nobody_sees_before_the_day_what_comes_under_them(world: World) -> None:
    await admin(world)
    to = {"to": FAR_TOWNSHIP, "from": day(world, 5)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", to, ADMIN)).status_code == 200
    week = {"unit": FAR_TOWNSHIP, "week": "2026-W47", "as_of": day(world, 9)}
    answer = await world.get("/v1/summaries/weekly", f"S{FAR_TOWNSHIP}", **week)
    assert answer.status_code == 403, answer.text
