"""A reference must lie where its author may write: it shows what it names, and counts for it. Else
it is held, and a person decides.
"""

import uuid
from typing import Any

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.identity.test_views import appoint
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, WirePhone, World

AT = "2026-11-20T09:00:00+08:00"
FAR_WORKER, FAR_SECRETARY = f"W{FAR_GRID}-1", f"C{FAR_GRID[:12]}-1"
PROBLEM = {"title": "水管", "duty": "emergency", "raised_at": AT}


async def verdict_of(wire: WirePhone, kind: str = "visit", **given: Any) -> tuple[str, str | None]:
    [row] = await wire.world.fetch(
        "SELECT coalesce(max(acked_seq), 0) AS seq FROM device WHERE id = $1", wire.device
    )
    answer = await wire.send(wire.mutation(row["seq"] + 1, kind, **given))
    [verdict] = answer.json()["verdicts"]
    return verdict["outcome"], verdict.get("reason")


async def far_records(world: World) -> dict[str, str]:
    """A household, a visit and a problem in a grid of another banner, by kind."""
    wire = world.wire(FAR_WORKER)
    made = {
        "household": wire.mutation(
            1, "household", grid=FAR_GRID, fields={"head_name": "远方的人", "phone": "10077776666"}
        ),
        "visit": wire.mutation(2, grid=FAR_GRID),
        "problem": wire.mutation(3, "problem", grid=FAR_GRID, fields=PROBLEM),
    }
    answer = await wire.send(*made.values())
    assert {verdict["outcome"] for verdict in answer.json()["verdicts"]} == {"applied"}
    return {kind: mutation["id"] for kind, mutation in made.items()}


async def test_a_reference_to_anybodys_record_is_held_and_shows_and_moves_nothing(
    world: World,
) -> None:
    far = await far_records(world)
    wire = world.wire()
    outside = ("held", "reference-outside")
    assert (
        await verdict_of(wire, fields={"visited_at": AT, "household_id": far["household"]})
        == outside
    )
    assert (
        await verdict_of(wire, "problem", fields=PROBLEM | {"household_id": far["household"]})
        == outside
    )
    assert await verdict_of(wire, "problem", fields=PROBLEM | {"visit_id": far["visit"]}) == outside
    own = wire.new_id()
    assert await verdict_of(wire, "problem", id=own, fields=PROBLEM) == ("applied", None)
    joined = {"problem_id": own, "action": "join", "at": AT, "duplicate_of": far["problem"]}
    assert await verdict_of(wire, "step", fields=joined) == outside
    answer = await world.post(
        "/v1/problems",
        {"grid": GRID, "fields": PROBLEM | {"household_id": far["household"]}},
        WORKER,
    )
    assert (answer.status_code, answer.json()["reason"]) == (422, "reference-outside")

    assert "远方的人" not in (await world.get("/v1/visits", WORKER)).text
    [item] = [
        item
        for item in (await world.get("/v1/households", FAR_WORKER)).json()["items"]
        if item["id"] == far["household"]
    ]
    assert item["last_visit"] is None


async def test_a_push_of_many_new_visits_is_judged_alike(world: World) -> None:
    far = await far_records(world)
    wire = world.wire()
    fields = {"visited_at": AT, "content": "走访"}
    visits = [
        wire.mutation(seq, fields=fields | ({"household_id": far["household"]} if seq == 7 else {}))
        for seq in range(1, 12)
    ]
    verdicts = (await wire.send(*visits)).json()["verdicts"]
    assert [verdict["seq"] for verdict in verdicts if verdict["outcome"] == "held"] == [7]
    assert verdicts[6]["reason"] == "reference-outside"


async def test_an_edit_that_names_somebody_elses_record_is_held_too(world: World) -> None:
    far = await far_records(world)
    wire = world.wire()
    id = wire.new_id()
    assert await verdict_of(wire, id=id) == ("applied", None)
    assert await verdict_of(wire, id=id, base=1, fields={"household_id": far["household"]}) == (
        "held",
        "reference-outside",
    )


async def test_a_household_that_has_moved_since_is_no_fault(world: World) -> None:
    worker, secretary = world.phone(), world.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    house = worker.records("household")[0].id
    visit = worker.put("visit", {"visited_at": AT, "household_id": house}, grid=GRID)
    world.clock.forward(minutes=5)
    secretary.put("household", {}, grid=OTHER_GRID, id=house)
    await secretary.sync()
    report = await worker.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]
    world.clock.forward(minutes=5)
    worker.put("visit", {"visited_at": AT, "household_id": house}, grid=GRID)
    report = await worker.sync()
    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts] == [
        ("held", "reference-outside")
    ]
    assert visit in {view.id for view in worker.records("visit")}


async def test_a_person_with_the_right_lets_a_reference_through(world: World) -> None:
    wire = world.wire()
    other = world.wire(f"W{OTHER_GRID}-1")
    house = other.new_id()
    assert await verdict_of(
        other, "household", id=house, grid=OTHER_GRID, fields={"head_name": "邻居"}
    ) == ("applied", None)
    assert await verdict_of(wire, fields={"visited_at": AT, "household_id": house}) == (
        "held",
        "reference-outside",
    )
    [item] = (await world.get("/v1/held", WORKER)).json()["items"]
    answer = await world.post(f"/v1/held/{item['id']}/release", {"note": "帮忙走访"}, SECRETARY)
    assert answer.json()["outcome"] == "applied"


@pytest.mark.parametrize("field", ["contact_member", "lead_member"])
async def test_people_that_a_household_names_have_a_post_near_it(world: World, field: str) -> None:
    wire = world.wire()

    async def naming(code: str) -> tuple[str, str | None]:
        return await verdict_of(wire, "household", fields={"head_name": "王秀兰", field: code})

    assert await naming(SECRETARY) == ("applied", None)
    assert await naming(SUPERVISOR) == ("applied", None)
    assert await naming(FAR_SECRETARY) == ("held", "reference-outside")
    assert await naming("NOBODY") == ("held", "reference-outside")


async def test_whom_a_problem_is_assigned_to_lies_near_it(world: World) -> None:
    wire = world.wire()
    problem = wire.new_id()
    assert await verdict_of(wire, "problem", id=problem, fields=PROBLEM) == ("applied", None)
    [beside] = await world.fetch(
        "SELECT code FROM unit WHERE parent = $1 AND code <> $2 LIMIT 1", TOWNSHIP, VILLAGE
    )

    async def assigning(**to: str) -> tuple[str, str | None]:
        return await verdict_of(
            wire, "step", fields={"problem_id": problem, "action": "assign", "at": AT} | to
        )

    for unit in (VILLAGE, TOWNSHIP, TOWNSHIP[:6], beside["code"], OTHER_GRID):
        assert await assigning(to_unit=unit) == ("applied", None), unit
    assert await assigning(to_cadre=SECRETARY) == ("applied", None)
    for unit in (FAR_GRID, FAR_GRID[:12], "150299999"):
        assert await assigning(to_unit=unit) == ("held", "reference-outside"), unit
    for code in (FAR_SECRETARY, "NOBODY"):
        assert await assigning(to_cadre=code) == ("held", "reference-outside"), code


async def test_a_contact_member_refers_to_tied_households_only(world: World) -> None:
    member = await appoint(world, "contact_member", VILLAGE)
    houses = [
        row["id"]
        for row in await world.fetch(
            "SELECT id::text FROM household WHERE grid = $1 ORDER BY id LIMIT 2", GRID
        )
    ]
    await world.fetch("UPDATE household SET contact_member = $2 WHERE id = $1", houses[0], member)
    wire = world.wire(member)
    assert await verdict_of(wire, fields={"visited_at": AT, "household_id": houses[0]}) == (
        "applied",
        None,
    )
    assert await verdict_of(wire, fields={"visited_at": AT, "household_id": houses[1]}) == (
        "held",
        "reference-outside",
    )


# ------------------------------------------------------------------------------------ other words


async def test_a_release_with_other_words_is_the_deciders_edit(world: World) -> None:
    wire = world.wire()
    wrong = wire.mutation(1, fields={"visited_at": "昨天", "content": "看望"})
    await wire.send(wrong)
    [item] = (await world.get("/v1/held", SECRETARY)).json()["items"]
    fields = {"visited_at": AT, "content": "看望老人"}
    assert (
        await world.post(f"/v1/held/{item['id']}/release", {"fields": fields}, SECRETARY)
    ).json()["outcome"] == "applied"
    history = (await world.get(f"/v1/history/visit/{wrong['id']}", SECRETARY)).json()["items"]
    assert [(entry["staff_code"], entry["outcome"]) for entry in history] == [
        (WORKER, "held"),
        (SECRETARY, "applied"),
    ]
    [visit] = await world.fetch("SELECT created_by, by FROM visit")
    assert (visit["created_by"], visit["by"]) == (WORKER, SECRETARY)
    weekly = (
        await world.get("/v1/summaries/cadres", SECRETARY, unit=VILLAGE, week="2026-W47")
    ).json()
    assert [row["staff_code"] for row in weekly["items"] if row["visits"]] == [WORKER]


async def test_nobody_writes_by_a_release_what_the_own_posts_do_not_write(world: World) -> None:
    wire = world.wire()
    await wire.send(wire.mutation(1, "household", fields={"head_name": 7}))
    [item] = (await world.get("/v1/held", SUPERVISOR)).json()["items"]
    path = f"/v1/held/{item['id']}/release"
    answer = await world.post(path, {"fields": {"head_name": "张三"}}, SUPERVISOR)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed")
    assert [
        row["reason"] for row in await world.fetch("SELECT reason FROM held WHERE state = 'open'")
    ] == ["fields-wrong"]
    assert (await world.post(path, {"fields": {"head_name": "张三"}}, SECRETARY)).json()[
        "outcome"
    ] == "applied"


# ---------------------------------------------------------------------------------------- own work


async def test_nobody_verifies_the_own_resolution(world: World) -> None:
    problem = str(uuid.uuid4())
    assert (
        await world.post("/v1/problems", {"grid": GRID, "id": problem, "fields": PROBLEM}, WORKER)
    ).status_code == 201

    async def take(action: str, who: str) -> Any:
        return (await world.post(f"/v1/problems/{problem}/steps", {"action": action}, who)).json()

    await take("resolve", WORKER)
    seen = await take("verify", WORKER)
    assert seen["state"] == "resolved"
    assert seen["steps"][-1]["ineffective_reason"] == "own-work"
    assert seen["steps"][-1]["ineffective"] == "自己办结的不能自己核查：办结要由办结人以外的人核查"
    assert (await take("verify", SECRETARY))["state"] == "verified"
    week = {"week": "2026-W47"}
    assert (await world.get(f"/v1/cadres/{WORKER}/summary", WORKER, **week)).json()["checks"] == 0
    assert (await world.get(f"/v1/cadres/{SECRETARY}/summary", SECRETARY, **week)).json()[
        "checks"
    ] == 1


async def test_the_rule_holds_from_its_day_on_and_phones_learn_that_day(world: World) -> None:
    await world.fetch("UPDATE server SET own_work_from = $1", world.clock.now())
    phone = world.phone()
    problem = phone.put("problem", PROBLEM, grid=GRID)
    for action in ("resolve", "verify"):
        phone.put("step", {"problem_id": problem, "action": action, "at": AT}, grid=GRID)
    await phone.sync()
    assert phone.own_work_from == (await world.wire().send()).json()["rules"]["own_work_from"]
    assert (await world.get(f"/v1/problems/{problem}")).json()["state"] == "resolved"
    await world.fetch("UPDATE server SET own_work_from = $1", world.clock.now().replace(year=2027))
    assert (await world.get(f"/v1/problems/{problem}")).json()["steps"][-1]["ineffective"] is None
