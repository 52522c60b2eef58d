"""Households that move to a neighbouring grid: by who covers both, or asked for by a worker."""

from typing import Any

from tests.organisation.test_changes import ADMIN, admin
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, Phone, World

OTHER_WORKER = f"W{OTHER_GRID}-1"


async def synced(world: World, staff_code: str) -> Phone:
    phone = world.phone(staff_code)
    await phone.sync()
    return phone


def a_problem(world: World, phone: Phone, house: str) -> str:
    at = world.clock.now().isoformat()
    fields = {"title": "水管", "duty": "emergency", "raised_at": at, "household_id": house}
    return phone.put("problem", fields, grid=GRID)


def a_step(world: World, phone: Phone, problem: str, action: str) -> str:
    world.clock.forward(minutes=1)
    fields = {"problem_id": problem, "action": action, "at": world.clock.now().isoformat()}
    return phone.put("step", fields, grid=GRID)


async def place(world: World, kind: str, id: str) -> str:
    [row] = await world.fetch(f"SELECT grid FROM {kind} WHERE id = $1", id)
    return str(row["grid"])


async def release(world: World, staff_code: str) -> dict[str, Any]:
    [item] = (await world.get("/v1/held", staff_code)).json()["items"]
    assert item["reason"] == "needs-acceptance"
    answer = await world.post(f"/v1/held/{item['id']}/release", {"note": "同意"}, staff_code)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_who_covers_both_grids_moves_a_household_with_its_open_problems(world: World) -> None:
    worker, secretary = await synced(world, WORKER), await synced(world, SECRETARY)
    house = worker.records("household")[0].id
    under_way, closed = a_problem(world, worker, house), a_problem(world, worker, house)
    step = a_step(world, worker, under_way, "accept")
    a_step(world, worker, closed, "resolve")
    a_step(world, worker, closed, "close")
    await worker.sync()
    await secretary.sync()
    secretary.put("household", {}, grid=OTHER_GRID, id=house)

    assert [one.outcome for one in (await secretary.sync()).verdicts] == ["applied"]

    assert await place(world, "household", house) == OTHER_GRID
    assert await place(world, "problem", under_way) == OTHER_GRID
    assert await place(world, "step", step) == OTHER_GRID
    assert await place(world, "problem", closed) == GRID
    await worker.sync()
    other = await synced(world, OTHER_WORKER)
    assert {view.id for view in other.records("problem")} == {under_way}
    assert {view.id for view in worker.records("problem")} == {closed}
    for phone in (worker, secretary, other):
        assert await phone.verify() == []


async def test_a_workers_move_waits_until_who_covers_both_accepts_it(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    problem = a_problem(world, worker, house)
    worker.put("household", {}, grid=OTHER_GRID, id=house)
    worker.put("household", {"members": 3}, grid=OTHER_GRID, id=house)

    verdicts = (await worker.sync()).verdicts

    assert [one.outcome for one in verdicts] == ["applied", "held", "held"]
    assert {one.reason for one in verdicts[1:]} == {"needs-acceptance"}
    assert [one.moves_to for one in worker.held()] == [OTHER_GRID, OTHER_GRID]
    assert worker.records("household", GRID)[0].id == house

    held = (await world.get("/v1/held", SECRETARY)).json()["items"]
    for item in sorted(held, key=lambda one: one["seq"]):
        answer = await world.post(f"/v1/held/{item['id']}/release", {"note": ""}, SECRETARY)
        assert answer.json()["outcome"] == "merged" or answer.json()["outcome"] == "applied"
    await worker.sync()
    assert worker.held() == []
    assert house not in {view.id for view in worker.records("household")}
    assert await worker.verify() == []
    other = await synced(world, OTHER_WORKER)
    [view] = [view for view in other.records("household") if view.id == house]
    assert view.fields["members"] == 3
    assert [view.id for view in other.records("problem")] == [problem]


async def test_who_covers_one_grid_only_does_not_accept(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    await world.fetch("UPDATE post SET unit = $2 WHERE staff_code = $1", SECRETARY, OTHER_GRID)
    worker.put("household", {}, grid=OTHER_GRID, id=house)
    await worker.sync()
    verdict = await release(world, SECRETARY)
    assert (verdict["outcome"], verdict["reason"]) == ("held", "needs-acceptance")
    assert await place(world, "household", house) == GRID


async def test_what_is_written_before_the_acceptance_is_heard_of_follows(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    worker.put("household", {}, grid=OTHER_GRID, id=house)
    await worker.sync()
    world.clock.forward(minutes=1)
    assert (await release(world, SECRETARY))["outcome"] == "applied"
    world.clock.forward(minutes=1)
    at = world.clock.now().isoformat()
    worker.put("household", {"members": 7}, grid=GRID, id=house)
    visit = worker.put("visit", {"visited_at": at, "household_id": house}, grid=GRID)

    assert {one.outcome for one in (await worker.sync()).verdicts} == {"merged"}

    [row] = await world.fetch("SELECT grid, members FROM household WHERE id = $1", house)
    assert (row["grid"], row["members"]) == (OTHER_GRID, 7)
    assert await place(world, "visit", visit) == OTHER_GRID
    assert await worker.verify() == []


async def test_a_refused_move_leaves_the_household_where_it_is(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    worker.put("household", {}, grid=OTHER_GRID, id=house)
    await worker.sync()
    [item] = (await world.get("/v1/held", SECRETARY)).json()["items"]
    path = f"/v1/held/{item['id']}/discard"
    assert (await world.post(path, {"reason": "不搬"}, SECRETARY)).status_code == 200
    await worker.sync()
    assert worker.held() == []
    assert worker.records("household", GRID)[0].id == house
    assert await place(world, "household", house) == GRID


async def test_a_worker_asks_for_a_household_of_the_neighbouring_grid(world: World) -> None:
    """Who covers the grid that it goes to asks as well; nothing is known of it there."""
    worker, wire = await synced(world, WORKER), world.wire(OTHER_WORKER)
    house = worker.records("household")[0].id
    move = wire.mutation(1, "household", id=house, grid=OTHER_GRID, base_grid=GRID)
    answer = (await wire.send(move)).json()
    assert answer["verdicts"][0]["reason"] == "needs-acceptance"
    assert (await release(world, SECRETARY))["outcome"] in ("applied", "merged")
    assert await place(world, "household", house) == OTHER_GRID


async def test_a_grid_that_was_merged_away_gets_no_household_any_more(world: World) -> None:
    await admin(world)
    worker = await synced(world, WORKER)
    asked, direct = (view.id for view in worker.records("household")[:2])
    worker.put("household", {}, grid=OTHER_GRID, id=asked)
    await worker.sync()
    third = await world.post("/v1/units", {"parent": GRID[:12], "name": "三网格"}, ADMIN)
    merged = await world.post(
        f"/v1/units/{OTHER_GRID}/merge", {"to": third.json()["unit"]["code"]}, ADMIN
    )
    assert merged.status_code == 200, merged.text
    world.clock.forward(minutes=1)

    assert (await release(world, SECRETARY))["reason"] == "grid-unknown"
    moved = await world.post(f"/v1/households/{direct}/move", {"to": OTHER_GRID}, SECRETARY)
    added = await world.post(
        "/v1/households", {"grid": OTHER_GRID, "fields": {"head_name": "新户"}}, SECRETARY
    )

    assert (moved.status_code, added.status_code) == (409, 409), (moved.text, added.text)
    assert {await place(world, "household", id) for id in (asked, direct)} == {GRID}


async def test_what_is_said_of_a_request_names_only_what_its_author_named(world: World) -> None:
    """Where a household lives by now need not be for the author to know."""
    worker, secretary = await synced(world, WORKER), await synced(world, SECRETARY)
    house = worker.records("household")[0].id
    secretary.put("household", {}, grid=OTHER_GRID, id=house)
    await secretary.sync()
    await world.fetch("UPDATE post SET unit = $2 WHERE staff_code = $1", SECRETARY, FAR_GRID[:12])
    phone = world.wire()
    move = phone.mutation(
        1, "household", id=house, grid=FAR_GRID, base=1, base_grid=GRID, fields={}
    )

    [verdict] = (await phone.send(move)).json()["verdicts"]

    assert verdict["outcome"] == "held"
    assert OTHER_GRID not in verdict["detail"]


async def test_the_trail_tells_what_was_asked_from_what_was_done(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    answer = await world.post(f"/v1/households/{house}/move", {"to": OTHER_GRID}, WORKER)
    assert answer.status_code == 202
    await world.fetch("UPDATE post SET unit = $2 WHERE staff_code = $1", SECRETARY, OTHER_GRID)
    assert (await release(world, SECRETARY))["outcome"] == "held"
    acts = [row["action"] for row in await world.fetch("SELECT action FROM audit ORDER BY at")]
    assert "household-move-asked" in acts
    assert "held-not-released" in acts
    assert not {"household-moved", "held-released"} & {*acts}


async def test_a_move_that_is_asked_for_twice_waits_once_and_says_who_accepts(
    world: World,
) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    first, again = [
        await world.post(f"/v1/households/{house}/move", {"to": OTHER_GRID}, WORKER)
        for _ in range(2)
    ]
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert f"{GRID[:12]} 的村党组织书记或第一书记" in first.json()["detail"]
    [item] = (await world.get("/v1/held", SECRETARY)).json()["items"]
    assert item["id"] == first.json()["held"]
    released = await world.post(f"/v1/held/{item['id']}/release", {"note": ""}, SECRETARY)
    assert released.json()["outcome"] == "applied"
    # A move back waits anew.
    back = await world.post(f"/v1/households/{house}/move", {"to": GRID}, OTHER_WORKER)
    assert back.status_code == 202
    assert back.json()["held"] != item["id"]


async def test_between_villages_somebody_above_both_accepts(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    asked = await world.post(f"/v1/households/{house}/move", {"to": FAR_GRID}, WORKER)
    assert asked.status_code == 202, asked.text
    assert f"由{FAR_GRID[:4]} 或其上级的上级工作人员或管理员放行" in asked.json()["detail"]


async def test_a_request_to_move_brings_no_deleted_household_back(world: World) -> None:
    worker, secretary = await synced(world, WORKER), await synced(world, SECRETARY)
    house = worker.records("household")[0].id
    asked = await world.post(f"/v1/households/{house}/move", {"to": OTHER_GRID}, WORKER)
    assert asked.status_code == 202
    world.clock.forward(minutes=1)
    secretary.delete("household", house, grid=GRID)
    assert [one.outcome for one in (await secretary.sync()).verdicts] == ["applied"]
    world.clock.forward(minutes=1)
    verdict = await release(world, SECRETARY)
    assert (verdict["outcome"], verdict["reason"]) == ("held", "record-missing")
    assert "已被删除" in verdict["detail"]
    [row] = await world.fetch("SELECT deleted, grid FROM household WHERE id = $1", house)
    assert (row["deleted"], row["grid"]) == (True, GRID)
    [item] = (await world.get("/v1/held", SECRETARY)).json()["items"]
    path = f"/v1/held/{item['id']}/discard"
    assert (await world.post(path, {"reason": "已删除"}, SECRETARY)).status_code == 200


async def test_who_moves_a_household_is_told_whose_it_was(world: World) -> None:
    worker = await synced(world, WORKER)
    house = worker.records("household")[0].id
    moved = await world.post(f"/v1/households/{house}/move", {"to": OTHER_GRID}, SECRETARY)
    assert moved.json()["outcome"] == "moved"
    assert moved.json()["former_grid"] == GRID
    assert WORKER in moved.json()["former_workers"]
    history = (await world.get(f"/v1/history/household/{house}", SECRETARY)).json()["items"]
    assert (history[-1]["grid"], history[-1]["former_grid"]) == (OTHER_GRID, GRID)


async def test_who_releases_a_move_is_told_what_was_kept(world: World) -> None:
    """Its author no longer sees the household where it is then, but who decides does."""
    worker, secretary = await synced(world, WORKER), await synced(world, SECRETARY)
    house = worker.records("household")[0].id
    worker.put("household", {"members": 3}, grid=OTHER_GRID, id=house)
    await worker.sync()
    world.clock.forward(minutes=1)
    secretary.put("household", {"members": 5}, grid=GRID, id=house)
    await secretary.sync()
    world.clock.forward(minutes=1)
    verdict = await release(world, SECRETARY)
    assert verdict["outcome"] == "merged"
    kept = {one["field"]: (one["kept"], one["lost"]) for one in verdict["conflicts"]}
    assert kept["members"] == (5, 3)
