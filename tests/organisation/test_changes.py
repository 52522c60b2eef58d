"""Units that are made, renamed, moved, split, merged and closed."""

from datetime import date, timedelta
from typing import Any

import httpx

from service.tallies.recount import differences
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

ADMIN = "A1502"
FAR_VILLAGE, FAR_TOWNSHIP = FAR_GRID[:12], FAR_GRID[:9]
OTHER_WORKER = f"W{OTHER_GRID}-1"
TOWNSHIP_SUPERVISOR, FAR_SUPERVISOR = f"S{TOWNSHIP}", f"S{FAR_TOWNSHIP}"


async def admin(world: World) -> str:
    """An administrator of the city."""
    await world.fetch(
        "INSERT INTO cadre SELECT $1, '管理员', '', false, password, true FROM cadre"
        " WHERE staff_code = $2",
        ADMIN,
        WORKER,
    )
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), $1, 'admin', '1502', '2020-01-01')",
        ADMIN,
    )
    return ADMIN


async def patch(world: World, path: str, body: Any, staff_code: str) -> httpx.Response:
    world.clock.forward(milliseconds=1)
    token = await world.token(staff_code)
    return await world.client.patch(path, json=body, headers={"Authorization": f"Bearer {token}"})


def day(world: World, ahead: int = 0) -> str:
    return str((world.clock.now() + timedelta(days=ahead, hours=8)).date())


async def codes(world: World, staff_code: str = SUPERVISOR, **query: Any) -> list[str]:
    answer = await world.get("/v1/units", staff_code, limit=500, **query)
    assert answer.status_code == 200, answer.text
    return [item["code"] for item in answer.json()["items"]]


async def test_a_new_grid_gets_the_next_number_of_its_village(world: World) -> None:
    await admin(world)
    before = await codes(world, unit=VILLAGE, level="grid")
    made = await world.post("/v1/units", {"parent": VILLAGE, "name": "新网格"}, ADMIN)
    assert made.status_code == 201, made.text
    unit = made.json()["unit"]
    assert unit["code"] == f"{VILLAGE}{len(before) + 1:03}"
    assert (unit["level"], unit["parent"], unit["since"]) == ("grid", VILLAGE, day(world))
    assert [change["action"] for change in unit["changes"]] == ["created"]
    assert await codes(world, unit=VILLAGE, level="grid") == [*before, unit["code"]]
    again = {"parent": VILLAGE, "name": "又一个", "code": unit["code"]}
    assert (await world.post("/v1/units", again, ADMIN)).status_code == 409


async def test_a_code_that_begins_another_is_refused(world: World) -> None:
    await admin(world)
    body = {"parent": "150221", "name": "新镇", "code": "15022110"}
    assert (await world.post("/v1/units", body, ADMIN)).status_code == 409
    body = {"parent": VILLAGE, "name": "新网格", "code": FAR_VILLAGE + "900"}
    assert (await world.post("/v1/units", body, ADMIN)).status_code == 422


async def test_former_names_are_kept_and_found(world: World) -> None:
    await admin(world)
    old = (await world.get(f"/v1/units/{VILLAGE}")).json()["name"]
    mongolian = "ᠰᠢᠨᠡ ᠭᠠᠴᠠᠭᠠ᠎ᠠ"
    body = {"name": "新村", "name_mn": mongolian}
    answer = await patch(world, f"/v1/units/{VILLAGE}", body, ADMIN)
    assert answer.status_code == 200, answer.text
    unit = answer.json()["unit"]
    assert (unit["name"], unit["name_mn"]) == ("新村", mongolian)
    assert unit["former_names"] == [{"language": "zh", "name": old, "until": day(world)}]
    assert VILLAGE in await codes(world, text=old)


async def test_who_administers_a_village_does_not_rename_it(world: World) -> None:
    await admin(world)
    await world.fetch("UPDATE post SET unit = $2 WHERE staff_code = $1", ADMIN, VILLAGE)
    answer = await patch(world, f"/v1/units/{VILLAGE}", {"name": "新村"}, ADMIN)
    assert answer.status_code == 404
    assert (await patch(world, f"/v1/units/{GRID}", {"name": "甲"}, ADMIN)).status_code == 200


async def test_a_village_that_moves_follows_the_other_township_from_that_day_on(
    world: World,
) -> None:
    await admin(world)
    phone = world.wire(WORKER)
    at = world.clock.now().isoformat()
    await phone.send(phone.mutation(1, "visit", grid=GRID, fields={"visited_at": at}))
    too_early = {"to": FAR_TOWNSHIP, "from": day(world)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", too_early, ADMIN)).status_code == 422
    body = {"to": FAR_TOWNSHIP, "from": day(world, 1)}
    answer = await world.post(f"/v1/units/{VILLAGE}/move", body, ADMIN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["unit"]["parent"] == TOWNSHIP
    assert VILLAGE in await codes(world, TOWNSHIP_SUPERVISOR)
    assert (await world.get("/v1/visits", FAR_SUPERVISOR, unit=VILLAGE)).status_code == 404
    week = {"unit": "1502", "week": "2026-W47"}
    before = (await world.get("/v1/summaries/weekly", "S1502", **week)).json()

    world.clock.forward(days=1)

    assert VILLAGE not in await codes(world, TOWNSHIP_SUPERVISOR)
    assert VILLAGE in await codes(world, FAR_SUPERVISOR, parent=FAR_TOWNSHIP)
    visits = (await world.get("/v1/visits", FAR_SUPERVISOR)).json()["items"]
    assert [visit["grid"] for visit in visits] == [GRID]
    assert (await world.get("/v1/visits", TOWNSHIP_SUPERVISOR, unit=VILLAGE)).status_code == 404
    unit = (await world.get(f"/v1/units/{VILLAGE}", "S1502")).json()
    assert unit["parent"] == FAR_TOWNSHIP
    assert [parent["parent"] for parent in unit["parents"]] == [TOWNSHIP, FAR_TOWNSHIP]

    def by_unit(summary: Any) -> dict[str, int]:
        return {
            child["unit"]["code"]: child["totals"]["visits"]
            for child in summary["units"]
            if child["totals"]["visits"]
        }

    today = (await world.get("/v1/summaries/weekly", "S1502", **week, as_of="today")).json()
    assert by_unit(before) == {TOWNSHIP[:6]: 1}
    assert by_unit(today) == {FAR_TOWNSHIP[:6]: 1}
    assert before["totals"] | {"coverage": 0} == today["totals"] | {"coverage": 0}


async def test_a_past_period_is_shown_by_the_tree_of_its_end(world: World) -> None:
    await admin(world)
    phone = world.wire(WORKER)
    at = world.clock.now().isoformat()
    await phone.send(phone.mutation(1, "visit", grid=GRID, fields={"visited_at": at}))
    body = {"to": FAR_TOWNSHIP, "from": day(world, 8)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", body, ADMIN)).status_code == 200
    world.clock.forward(days=9)
    for unit, as_of, visits in (
        (TOWNSHIP, "period", 1),
        (TOWNSHIP, "today", 0),
        (FAR_TOWNSHIP, "period", 0),
        (FAR_TOWNSHIP, "today", 1),
    ):
        week = {"unit": unit, "week": "2026-W47", "as_of": as_of}
        found = (await world.get("/v1/summaries/weekly", "S1502", **week)).json()
        assert found["totals"]["visits"] == visits, (unit, as_of)
        sums = sum(child["totals"]["visits"] for child in found["units"])
        assert sums == visits


async def test_a_split_grids_phone_keeps_its_part(world: World) -> None:
    await admin(world)
    phone, other = world.phone(WORKER), world.phone(OTHER_WORKER)
    await phone.sync()
    houses = sorted(view.id for view in phone.records("household"))
    gone = houses[:1]
    body = {"name": "三网格", "households": gone}
    answer = await world.post(f"/v1/units/{GRID}/split", body, ADMIN)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["households"], made["unit"]["parent"]) == (1, VILLAGE)
    new = made["unit"]["code"]
    await phone.sync()
    assert sorted(view.id for view in phone.records("household")) == houses[1:]
    assert await phone.verify() == []
    await world.transfer(OTHER_WORKER, new)
    await other.sync()
    assert [view.id for view in other.records("household")] == gone
    assert await other.verify() == []
    rows = await world.fetch("SELECT households FROM household_tally WHERE grid = $1", new)
    assert [row["households"] for row in rows] == [1]
    history = (await world.get(f"/v1/history/household/{gone[0]}", ADMIN)).json()
    assert ADMIN in {entry["staff_code"] for entry in history["items"]}


async def test_the_new_grid_reads_the_older_visits_of_its_households(world: World) -> None:
    await admin(world)
    phone = world.phone(WORKER)
    await phone.sync()
    house, stays = [view.id for view in phone.records("household")][:2]
    for id in (house, stays):
        at = world.clock.now().isoformat()
        fields = {"visited_at": at, "household_id": id, "content": "走访"}
        phone.put("visit", fields, grid=GRID)
    await phone.sync()
    body = {"name": "三网格", "households": [house]}
    new = (await world.post(f"/v1/units/{GRID}/split", body, ADMIN)).json()["unit"]["code"]
    await world.transfer(OTHER_WORKER, new)
    visits = await world.get("/v1/visits", OTHER_WORKER, household=house)
    assert [(one["grid"], one["content"]) for one in visits.json()["items"]] == [(GRID, "走访")]
    visits = await world.get("/v1/visits", OTHER_WORKER, household=stays)
    assert visits.json()["items"] == []


async def test_an_edit_made_before_the_split_finds_its_household(world: World) -> None:
    await admin(world)
    phone = world.phone(WORKER)
    await phone.sync()
    house = phone.records("household")[0].id
    phone.put("household", {"phone": "123"}, grid=GRID, id=house)
    body = {"name": "三网格", "households": [house]}
    new = (await world.post(f"/v1/units/{GRID}/split", body, ADMIN)).json()["unit"]["code"]
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["merged"]
    [row] = await world.fetch("SELECT grid, phone FROM household WHERE id = $1", house)
    assert row["grid"] == new
    assert world.decrypted("household", "phone", house, row["phone"]) == "123"


async def test_a_visit_made_after_the_split_before_the_phone_heard_finds_its_household(
    world: World,
) -> None:
    await admin(world)
    phone, secretary = world.phone(WORKER), world.phone(SECRETARY)
    await phone.sync()
    await secretary.sync()
    house, stays = [view.id for view in phone.records("household", GRID)][:2]
    body = {"name": "三网格", "households": [house]}
    new = (await world.post(f"/v1/units/{GRID}/split", body, ADMIN)).json()["unit"]["code"]
    world.clock.forward(minutes=5)
    at = world.clock.now().isoformat()
    visits = {
        (which, id): which.put("visit", {"visited_at": at, "household_id": id}, grid=GRID)
        for which in (phone, secretary)
        for id in (house, stays)
    }
    phone.put(
        "problem",
        {
            "title": "路",
            "duty": "emergency",
            "raised_at": at,
            "household_id": house,
            "visit_id": visits[phone, house],
        },
        grid=GRID,
    )
    about_visit = {"title": "灯", "duty": "emergency", "raised_at": at}
    phone.put("problem", about_visit | {"visit_id": visits[phone, house]}, grid=GRID)

    outcomes = [one.outcome for one in (await phone.sync()).verdicts]
    outcomes += [one.outcome for one in (await secretary.sync()).verdicts]

    # Who covers both grids may write it where it was made.
    assert outcomes == ["merged", "applied", "merged", "merged", "applied", "applied"]
    problems = await world.fetch("SELECT grid FROM problem")
    assert [row["grid"] for row in problems] == [new, new]
    rows = await world.fetch("SELECT id::text, grid FROM visit")
    grids = {row["id"]: row["grid"] for row in rows}
    for (which, id), visit in visits.items():
        assert grids[visit] == (new if id == house and which is phone else GRID)
    for which in (phone, secretary):
        await which.sync()
        assert await which.verify() == []
    # Once it has heard of the split, the old grid's phone has nothing to do with the household.
    phone.put("visit", {"visited_at": at, "household_id": house}, grid=GRID)
    assert [one.reason for one in (await phone.sync()).verdicts] == ["reference-outside"]
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


async def test_open_problems_and_their_steps_move_with_the_household(world: World) -> None:
    await admin(world)
    phone, other = world.phone(WORKER), world.phone(OTHER_WORKER)
    await phone.sync()
    house = phone.records("household")[0].id
    at = world.clock.now().isoformat()
    fields = {"title": "水管", "duty": "emergency", "raised_at": at, "household_id": house}
    open_one, closed = (phone.put("problem", fields, grid=GRID) for _ in range(2))
    for action in ("accept", "handle"):
        world.clock.forward(minutes=1)
        fields = {"problem_id": open_one, "action": action, "at": world.clock.now().isoformat()}
        phone.put("step", fields, grid=GRID)
    for action in ("resolve", "close"):
        world.clock.forward(minutes=1)
        fields = {"problem_id": closed, "action": action, "at": world.clock.now().isoformat()}
        phone.put("step", fields, grid=GRID)
    await phone.sync()
    # Written before the phone hears of the split.
    world.clock.forward(minutes=1)
    fields = {"problem_id": open_one, "action": "note", "at": world.clock.now().isoformat()}
    late = phone.put("step", fields, grid=GRID)
    fields = {"title": "路", "duty": "emergency", "raised_at": at, "household_id": house}
    raised = phone.put("problem", fields, grid=GRID)
    fields = {"problem_id": raised, "action": "accept", "at": world.clock.now().isoformat()}
    phone.put("step", fields, grid=GRID)
    world.clock.forward(minutes=1)
    body = {"name": "三网格", "households": [house]}
    answer = (await world.post(f"/v1/units/{GRID}/split", body, ADMIN)).json()
    new = answer["unit"]["code"]
    assert (answer["problems"], answer["steps"]) == (1, 2)

    report = await phone.sync()

    assert {verdict.outcome for verdict in report.verdicts} == {"merged"}
    rows = await world.fetch("SELECT problem::text, grid, state, handler_unit FROM case_file")
    found = {row["problem"]: (row["grid"], row["state"], row["handler_unit"]) for row in rows}
    assert found == {
        open_one: (new, "handling", VILLAGE),
        raised: (new, "accepted", VILLAGE),
        closed: (GRID, "closed", VILLAGE),
    }
    assert {view.id for view in phone.records("problem")} == {closed}
    assert late not in {view.id for view in phone.records("step")}
    assert await phone.verify() == []
    await world.transfer(OTHER_WORKER, new)
    await other.sync()
    assert {view.id for view in other.records("problem")} == {open_one, raised}
    assert len(other.records("step")) == 4
    assert await other.verify() == []
    detail = (await world.get(f"/v1/problems/{open_one}", OTHER_WORKER)).json()
    assert [step["action"] for step in detail["steps"]] == ["accept", "handle", "note"]


async def test_households_are_those_of_the_end_of_the_period(world: World) -> None:
    await admin(world)
    world.clock.forward(days=7)
    phone = world.phone(WORKER)
    await phone.sync()
    house, other = [view.id for view in phone.records("household")][:2]
    body = {"name": "三网格", "households": [house]}
    new = (await world.post(f"/v1/units/{GRID}/split", body, ADMIN)).json()["unit"]["code"]
    phone.put("household", {"head_name": "新户"}, grid=GRID)
    phone.delete("household", other, grid=GRID)
    await phone.sync()

    async def households(week: str) -> dict[str, int]:
        answer = await world.get("/v1/summaries/weekly", unit=VILLAGE, week=week)
        return {
            child["unit"]["code"]: child["totals"]["households"]
            for child in answer.json()["units"]
            if child["unit"]["code"] in (GRID, new)
        }

    # Of the three one moved, one was deleted, one was made, all in the later week.
    assert await households("2026-W48") == {GRID: 2, new: 1}
    assert await households("2026-W47") == {GRID: 3}
    total = (await world.get("/v1/summaries/weekly", unit=VILLAGE, week="2026-W47")).json()
    later = (await world.get("/v1/summaries/weekly", unit=VILLAGE, week="2026-W48")).json()
    assert total["totals"]["households"] == later["totals"]["households"] == 9
    assert later["previous"]["households"] == 9


async def test_a_merged_grid_is_empty_and_closed_and_owes_nothing(world: World) -> None:
    await admin(world)
    answer = await world.post(f"/v1/units/{OTHER_GRID}/close", {}, ADMIN)
    assert answer.status_code == 409
    answer = await world.post(f"/v1/units/{OTHER_GRID}/merge", {"to": GRID}, ADMIN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["households"] == 3
    assert answer.json()["unit"]["closed"] == day(world, 1)
    assert answer.json()["unit"]["cadres"] == [OTHER_WORKER]
    grids = len(await codes(world, unit=VILLAGE, level="grid"))
    loop = {"unit": VILLAGE, "week": "2026-W48"}
    assert (await world.get("/v1/loop", **loop)).json()["grids"] == grids - 1
    loop = {"unit": VILLAGE, "week": "2026-W47"}
    assert (await world.get("/v1/loop", **loop)).json()["grids"] == grids


async def test_before_it_goes_live_nothing_of_a_unit_is_missing(world: World) -> None:
    await admin(world)
    world.clock.forward(days=14)
    week = {"unit": VILLAGE, "week": "2026-W48"}
    before = (await world.get("/v1/loop", **week)).json()
    assert before["missing"]["visit"] == before["grids"] * 5
    monday = date(2026, 11, 23)
    live = str(monday + timedelta(days=3))
    answer = await patch(world, f"/v1/units/{VILLAGE}", {"go_live": live}, ADMIN)
    assert answer.status_code == 200, answer.text
    after = (await world.get("/v1/loop", **week)).json()
    assert after["missing"]["visit"] == after["grids"] * 2
    assert after["missing"]["weekly_analysis"] == 0
    assert all(item["days_due"] == 2 for item in after["items"])
    week = {"unit": VILLAGE, "week": "2026-W47"}
    assert (await world.get("/v1/summaries/weekly", **week)).json()["loop"]["silent"] == []


async def test_of_days_to_come_nobody_is_silent(world: World) -> None:
    week = {"unit": VILLAGE, "week": "2026-W50"}
    assert (await world.get("/v1/summaries/weekly", **week)).json()["loop"]["silent"] == []


async def test_phones_follow_a_village_to_the_other_township(world: World) -> None:
    await admin(world)
    near, far = world.phone(TOWNSHIP_SUPERVISOR), world.phone(FAR_SUPERVISOR)
    await near.sync()
    await far.sync()
    assert GRID in {view.grid for view in near.records("household")}
    article = {"unit": FAR_TOWNSHIP, "kind": "policy", "title": "新镇", "body": "欢迎"}
    id = (await world.post("/v1/articles", article, ADMIN)).json()["id"]
    assert (await world.post(f"/v1/articles/{id}/publication", None, ADMIN)).status_code == 200
    worker = world.phone(WORKER)
    await worker.sync()
    assert id not in {view.id for view in worker.records("article")}
    body = {"to": FAR_TOWNSHIP, "from": day(world, 1)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", body, ADMIN)).status_code == 200
    await far.sync()
    assert GRID not in {view.grid for view in far.records("household")}

    world.clock.forward(days=1)
    reports = [await phone.sync() for phone in (near, far, worker)]

    assert GRID in reports[0].dropped_grids
    assert GRID not in {view.grid for view in near.records("household")}
    assert GRID in {view.grid for view in far.records("household")}
    assert reports[2].dropped_grids == []
    for phone in (near, far, worker):
        assert await phone.verify() == []
    # The worker's phone has the articles of the township above it today.
    everything = world.wire(WORKER)
    changes = (await everything.send()).json()["changes"]
    assert id in {change["id"] for change in changes}


async def test_offline_rights_are_those_of_the_tree_at_the_stamp(world: World) -> None:
    await admin(world)
    wire = world.wire(TOWNSHIP_SUPERVISOR)
    await wire.send()
    fields = {"title": "水管", "duty": "emergency", "raised_at": world.clock.now().isoformat()}
    before = wire.mutation(1, "problem", grid=GRID, fields=fields)
    body = {"to": FAR_TOWNSHIP, "from": day(world, 1)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", body, ADMIN)).status_code == 200
    world.clock.forward(days=1)
    after = wire.mutation(2, "problem", grid=GRID, fields=fields)
    answer = (await wire.send(before, after)).json()
    outcomes = [(one["outcome"], one.get("reason")) for one in answer["verdicts"]]
    assert outcomes == [("applied", None), ("held", "not-allowed")]


async def test_a_problem_goes_up_by_the_tree_of_the_step(world: World) -> None:
    await admin(world)
    phone = world.wire(WORKER)
    fields = {"title": "水管", "duty": "emergency", "raised_at": world.clock.now().isoformat()}
    problems = [phone.new_id() for _ in range(2)]
    await phone.send(
        *(
            phone.mutation(seq, "problem", grid=GRID, id=id, fields=fields)
            for seq, id in enumerate(problems, 1)
        )
    )

    def escalate(seq: int, problem: str) -> dict[str, Any]:
        at = world.clock.now().isoformat()
        step = {"problem_id": problem, "action": "escalate", "at": at}
        return phone.mutation(seq, "step", grid=GRID, fields=step)

    await phone.send(escalate(3, problems[0]))
    body = {"to": FAR_TOWNSHIP, "from": day(world, 1)}
    assert (await world.post(f"/v1/units/{VILLAGE}/move", body, ADMIN)).status_code == 200
    world.clock.forward(days=1)
    await phone.send(escalate(4, problems[1]))
    rows = await world.fetch("SELECT problem::text, handler_unit FROM case_file")
    handlers = {row["problem"]: row["handler_unit"] for row in rows}
    assert handlers == {problems[0]: TOWNSHIP, problems[1]: FAR_TOWNSHIP}
