"""Problems over REST: lists, timeline, writes through the one write path."""

from typing import Any

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

FIELDS = {"title": "水管冻裂", "duty": "emergency", "severity": "urgent"}


async def raised(world: World, grid: str = GRID, staff_code: str = SECRETARY, **fields: Any) -> Any:
    response = await world.post(
        "/v1/problems", {"grid": grid, "fields": FIELDS | fields}, staff_code
    )
    assert response.status_code == 201, response.text
    return response.json()


async def step(
    world: World, id: str, action: str, staff_code: str = SECRETARY, **fields: Any
) -> Any:
    world.clock.forward(minutes=1)
    response = await world.post(
        f"/v1/problems/{id}/steps", {"action": action, "fields": fields}, staff_code
    )
    assert response.status_code == 201, response.text
    return response.json()


async def listed(world: World, staff_code: str = SUPERVISOR, **query: Any) -> list[str]:
    response = await world.get("/v1/problems", staff_code, **query)
    assert response.status_code == 200, response.text
    return [item["title"] for item in response.json()["items"]]


async def test_a_problem_goes_its_way_and_the_timeline_shows_it(world: World) -> None:
    problem = await raised(world)
    await step(world, problem["id"], "accept")
    await step(world, problem["id"], "assign", SUPERVISOR, to_cadre=WORKER)
    await step(world, problem["id"], "resolve", WORKER, note="已换新管")
    end = await step(world, problem["id"], "verify", SUPERVISOR, satisfied="yes")

    assert [(item["action"], item["by"], item["state"]) for item in end["steps"]] == [
        ("accept", SECRETARY, "accepted"),
        ("assign", SUPERVISOR, "assigned"),
        ("resolve", WORKER, "resolved"),
        ("verify", SUPERVISOR, "verified"),
    ]
    assert (end["state"], end["resolved_by"], end["satisfied"], end["handler_cadre"]) == (
        "verified",
        WORKER,
        "yes",
        WORKER,
    )
    assert end["steps"][2]["fields"]["note"] == "已换新管"
    assert set(end["next_actions"]) == {"close", "reopen", "note"}


async def test_the_next_actions_are_those_that_would_have_an_effect_for_who_asks(
    world: World,
) -> None:
    await world.fetch("UPDATE server SET own_work_from = $1", world.clock.now())
    problem = await raised(world)
    world.clock.forward(minutes=1)
    assert "extend" not in (await step(world, problem["id"], "accept", WORKER))["next_actions"]
    assert (
        "extend"
        in (await world.get(f"/v1/problems/{problem['id']}", SUPERVISOR)).json()["next_actions"]
    )
    world.clock.forward(minutes=1)
    assert "verify" not in (await step(world, problem["id"], "resolve", WORKER))["next_actions"]
    assert (
        "verify"
        in (await world.get(f"/v1/problems/{problem['id']}", SECRETARY)).json()["next_actions"]
    )


async def test_a_step_without_effect_stays_in_the_timeline_with_its_reason(world: World) -> None:
    problem = await raised(world)
    end = await step(world, problem["id"], "close")
    assert (end["state"], end["steps"][0]["ineffective"]) == (
        "raised",
        "不允许：问题“已上报”时不能“结案”",
    )


async def test_a_problem_is_escalated_a_level_and_comes_back(world: World) -> None:
    problem = await raised(world)
    assert problem["handler_unit"] == VILLAGE
    assert (await step(world, problem["id"], "escalate"))["handler_unit"] == TOWNSHIP
    week = (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week="2026-W47")).json()
    assert (week["decisions"]["escalated_problems"], week["decisions"]["escalated"][0]["id"]) == (
        1,
        problem["id"],
    )
    await step(world, problem["id"], "accept", SUPERVISOR)
    back = await step(world, problem["id"], "return", SUPERVISOR, note="村里先办")
    assert (back["handler_unit"], back["handler_cadre"]) == (VILLAGE, None)
    # What was handed down again waits above no more.
    assert await escalated(world) == (0, [])
    await step(world, problem["id"], "escalate")
    assert await escalated(world) == (1, [problem["id"]])
    await step(world, problem["id"], "assign", SUPERVISOR, to_unit=VILLAGE)
    assert await escalated(world) == (0, [])


async def escalated(world: World) -> tuple[int, list[str]]:
    week = (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week="2026-W47")).json()
    found = week["decisions"]
    return found["escalated_problems"], [one["id"] for one in found["escalated"]]


async def test_only_someone_above_the_handler_extends(world: World) -> None:
    problem = await raised(world)
    until = "2026-12-30T00:00:00.000Z"
    own = await step(world, problem["id"], "extend", SECRETARY, until=until)
    assert own["due"] == problem["due"]
    above = await step(world, problem["id"], "extend", SUPERVISOR, until=until)
    assert above["due"] == "2026-12-30T00:00:00Z"


async def test_limits_by_severity(world: World) -> None:
    """24 hours by the clock, 3 and 7 working days; raised on a Friday at 10:00."""
    dues = [
        (await raised(world, severity=severity))["due"]
        for severity in ("emergency", "urgent", "ordinary")
    ]
    assert [due[:10] for due in dues] == ["2026-11-21", "2026-11-25", "2026-12-01"]


async def test_a_list_is_narrowed(world: World) -> None:
    await raised(world, title="甲", severity="emergency")
    world.clock.forward(minutes=1)
    second = await raised(world, OTHER_GRID, title="乙%_", duty="public_order")
    world.clock.forward(minutes=1)
    third = await raised(world, title="丙")
    await step(world, third["id"], "accept", WORKER)
    await step(world, second["id"], "reject", reason="unfounded")
    world.clock.forward(days=2)
    for query, titles in (
        ({}, ["丙", "乙%_", "甲"]),
        ({"unit": GRID}, ["丙", "甲"]),
        ({"state": "rejected"}, ["乙%_"]),
        ({"open": True}, ["丙", "甲"]),
        ({"open": False}, ["乙%_"]),
        ({"overdue": True}, ["甲"]),
        ({"overdue": False}, ["丙", "乙%_"]),
        ({"severity": "emergency"}, ["甲"]),
        ({"duty": "public_order"}, ["乙%_"]),
        ({"cadre": WORKER}, ["丙"]),
        ({"handler_unit": VILLAGE}, ["丙", "乙%_", "甲"]),
        ({"handler_unit": TOWNSHIP}, []),
        ({"text": "%_"}, ["乙%_"]),
        ({"text": "x' OR 1=1 --"}, []),
    ):
        assert await listed(world, **query) == titles, query


async def test_a_list_comes_in_pages(world: World) -> None:
    for number in range(7):
        await raised(world, title=str(number))
    titles: list[str] = []
    after = None
    while True:
        page = (
            await world.get("/v1/problems", limit=3, **({"after": after} if after else {}))
        ).json()
        titles += [item["title"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert titles == [str(number) for number in reversed(range(7))]


async def test_what_is_out_of_scope_looks_absent(world: World) -> None:
    problem = await raised(world)
    far = f"S{FAR_GRID[:9]}"
    assert await listed(world, far) == []
    assert (await world.get(f"/v1/problems/{problem['id']}", far)).status_code == 404
    assert (
        await world.post(f"/v1/problems/{problem['id']}/steps", {"action": "note"}, far)
    ).status_code == 404
    assert (await world.get("/v1/problems", far, unit=GRID)).status_code == 404
    assert (
        await world.post("/v1/problems", {"grid": GRID, "fields": FIELDS}, far)
    ).status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"grid": GRID, "fields": {"title": "x"}}, 422, "duty"),
        ({"grid": GRID, "fields": FIELDS | {"severity": "huge"}}, 422, "severity"),
        ({"grid": "1502x", "fields": FIELDS}, 422, "grid"),
        ({"grid": GRID[:-3] + "999", "fields": FIELDS}, 422, "no grid"),
        ({"grid": GRID, "id": "x", "fields": FIELDS}, 422, "UUID"),
        (
            {
                "grid": GRID,
                "fields": FIELDS | {"household_id": "0192f3a1-0000-7000-8000-000000000001"},
            },
            422,
            "household",
        ),
    ],
)
async def test_bad_input_is_told_at_once_and_leaves_nothing_behind(
    world: World, body: Any, status: int, word: str
) -> None:
    response = await world.post("/v1/problems", body, SECRETARY)
    assert response.status_code == status
    assert word in response.json()["detail"]
    assert await world.fetch("SELECT FROM problem") == []
    assert await world.fetch("SELECT FROM held") == []


async def test_sending_twice_with_an_id_makes_one_problem_and_one_step(world: World) -> None:
    id, step_id = "0192f3a1-0000-7000-8000-000000000001", "0192f3a1-0000-7000-8000-000000000002"
    for _ in range(2):
        response = await world.post(
            "/v1/problems", {"grid": GRID, "id": id, "fields": FIELDS}, SECRETARY
        )
        assert response.status_code == 201
        response = await world.post(
            f"/v1/problems/{id}/steps", {"id": step_id, "action": "accept"}, SECRETARY
        )
        assert response.status_code == 201
    assert (
        len(await world.fetch("SELECT FROM problem"))
        == len(await world.fetch("SELECT FROM step"))
        == 1
    )
    assert (await world.get("/v1/conflicts")).json()["items"] == []
    taken = await world.post("/v1/problems", {"grid": GRID, "id": id, "fields": FIELDS}, WORKER)
    assert taken.status_code == 422


async def test_a_problem_raised_over_rest_reaches_the_phones(world: World) -> None:
    problem = await raised(world)
    phone = world.phone(WORKER)
    await phone.sync()
    [view] = phone.records("problem")
    assert (view.id, view.created_by, view.fields["source"]) == (
        problem["id"],
        SECRETARY,
        "inspection",
    )


@pytest.mark.parametrize(
    ("raised_by", "visited", "source"),
    [(WORKER, False, "worker"), (WORKER, True, "visit"), (SECRETARY, True, "visit")],
)
async def test_a_problem_over_rest_says_whether_a_visit_or_the_worker_found_it(
    world: World, raised_by: str, visited: bool, source: str
) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    visit = phone.put(
        "visit", {"visited_at": "2026-11-24T01:00:00.000Z", "content": "路灯不亮"}, grid=GRID
    )
    await phone.sync()
    fields = FIELDS | ({"visit_id": visit} if visited else {})
    problem = await world.post("/v1/problems", {"grid": GRID, "fields": fields}, raised_by)
    assert (problem.status_code, problem.json()["source"]) == (201, source)
