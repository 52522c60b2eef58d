"""Who visits what share of theirs, and checks of visits by somebody else."""

from typing import Any

import pytest

from simulator.places import VILLAGE
from tests.identity.test_views import appoint
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, World

WEEK = "2026-W47"
MEMBER = f"C{VILLAGE}-3"
AT = "2026-11-20T09:00:00+08:00"


async def houses(world: World, count: int) -> list[str]:
    rows = await world.fetch(
        "SELECT id::text FROM household WHERE grid = $1 ORDER BY id LIMIT $2", GRID, count
    )
    return [row["id"] for row in rows]


async def visited(world: World, by: str, *households: str) -> list[str]:
    phone = world.phone(by)
    await phone.sync()
    made = [
        phone.put("visit", {"visited_at": AT, "household_id": house}, grid=GRID)
        for house in households
    ]
    await phone.sync()
    return made


async def visiting(world: World, **query: Any) -> Any:
    given = {"unit": VILLAGE, "week": WEEK} | query
    answer = await world.get("/v1/summaries/visiting", SECRETARY, **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def verdict_of(wire: Any, seq: int, kind: str, **given: Any) -> tuple[str, str | None]:
    [verdict] = (await wire.send(wire.mutation(seq, kind, **given))).json()["verdicts"]
    return verdict["outcome"], verdict.get("reason")


async def test_who_visited_what_share_of_theirs_and_how_often(world: World) -> None:
    await world.fetch("UPDATE household SET contact_member = NULL, lead_member = NULL")
    one, two, three = await houses(world, 3)
    await world.fetch(
        "UPDATE household SET lead_member = $1 WHERE id = ANY($2::uuid[])", MEMBER, [one, two]
    )
    body = {"household_id": three, "cadre": MEMBER, "kind": "contracted"}
    assert (await world.post("/v1/ties", body, SECRETARY)).status_code == 201
    await visited(world, MEMBER, one, one, three)
    await visited(world, WORKER, two)
    await visited(world, SECRETARY, two)
    shown = await visiting(world)
    [row] = [item for item in shown["items"] if item["staff_code"] == MEMBER]
    [theirs] = row["theirs"]
    assert (theirs["kind"], theirs["households"], theirs["visited"]) == ("contracted", 3, 2)
    assert (theirs["share"], theirs["visits"], row["visits"]) == (0.6667, 3, 3)
    roles = {role["role"]: role for role in shown["roles"]}
    assert roles["village_committee"]["theirs"][1]["visited"] == 2
    secretary = roles["village_secretary"]
    assert (secretary["cadres"], secretary["cadres_who_visited"], secretary["visits"]) == (1, 1, 1)
    contracted = {one["kind"]: one["households"] for one in shown["theirs"]}
    assert contracted == {"contact": 0, "contracted": 3, "family": 0}
    in_grid = await visiting(world, unit=GRID)
    [row] = [one for one in in_grid["items"] if one["staff_code"] == MEMBER]
    assert row["visits"] == 3
    assert shown["cadres"] == len(shown["items"])


async def test_a_check_by_the_supervisory_member_counts_by_its_newest_finding(
    world: World,
) -> None:
    checker = await appoint(world, "village_supervisor", VILLAGE)
    [house] = await houses(world, 1)
    one, two = await visited(world, WORKER, house, house)
    phone = world.phone(checker)
    await phone.sync()
    fields = {"visit_id": one, "checked_at": AT, "finding": "not_confirmed", "note": "无人在家"}
    phone.put("visit_check", fields, grid=GRID)
    await phone.sync()
    assert (await visiting(world))["checks"] == {
        "checked": 1,
        "seen": 0,
        "confirmed": 0,
        "not_confirmed": 1,
    }
    again = await world.post(f"/v1/visits/{one}/checks", {"finding": "confirmed"}, checker)
    assert again.status_code == 201, again.text
    seen = await world.post(f"/v1/visits/{two}/checks", {"finding": "seen"}, checker)
    assert seen.json()["label"] == "已查看"
    shown = await visiting(world)
    assert shown["checks"] == {"checked": 2, "seen": 1, "confirmed": 1, "not_confirmed": 0}
    [row] = [item for item in shown["items"] if item["staff_code"] == checker]
    assert (row["roles"], row["checks"]) == (["village_supervisor"], 2)
    listed = (await world.get(f"/v1/visits/{one}/checks", SECRETARY)).json()["items"]
    assert [item["finding"] for item in listed] == ["confirmed", "not_confirmed"]


async def test_nobody_checks_the_own_visit(world: World) -> None:
    [house] = await houses(world, 1)
    [own] = await visited(world, SECRETARY, house)
    wire = world.wire(SECRETARY)
    fields = {"visit_id": own, "checked_at": AT, "finding": "confirmed"}
    assert await verdict_of(wire, 1, "visit_check", fields=fields) == ("held", "not-allowed")
    answer = await world.post(f"/v1/visits/{own}/checks", {"finding": "seen"}, SECRETARY)
    assert (answer.status_code, answer.json()["reason"]) == (422, "not-allowed")
    assert (await visiting(world))["checks"]["checked"] == 0


async def test_a_visit_and_its_check_in_one_push_are_no_way_around(world: World) -> None:
    wire = world.wire(SECRETARY)
    visit = wire.mutation(1, fields={"visited_at": AT})
    fields = {"visit_id": visit["id"], "checked_at": AT, "finding": "confirmed"}
    await wire.send(visit, wire.mutation(2, "visit_check", fields=fields))
    assert await world.fetch("SELECT FROM visit_check") == []
    [held] = await world.fetch("SELECT reason FROM held WHERE state = 'open'")
    assert held["reason"] == "not-allowed"


@pytest.mark.parametrize("role", ["grid_worker", "contact_member"])
async def test_a_worker_checks_no_visit(world: World, role: str) -> None:
    who = await appoint(world, role, VILLAGE)
    [house] = await houses(world, 1)
    [visit] = await visited(world, WORKER, house)
    fields = {"visit_id": visit, "checked_at": AT, "finding": "confirmed"}
    verdict = await verdict_of(world.wire(who), 1, "visit_check", fields=fields)
    assert verdict == ("held", "not-allowed")
    answer = await world.post(f"/v1/visits/{visit}/checks", {"finding": "seen"}, who)
    assert answer.status_code == 403


async def test_a_check_lies_in_the_grid_of_its_visit(world: World) -> None:
    [house] = await houses(world, 1)
    [visit] = await visited(world, WORKER, house)
    fields = {"visit_id": visit, "checked_at": AT, "finding": "confirmed"}
    wire = world.wire(SECRETARY)
    verdict = await verdict_of(wire, 1, "visit_check", grid=OTHER_GRID, fields=fields)
    assert verdict == ("held", "grid-mismatch")


async def test_an_id_made_for_a_check_is_a_uuid_of_its_own(world: World) -> None:
    checker = await appoint(world, "village_supervisor", VILLAGE)
    [house] = await houses(world, 1)
    one, two = await visited(world, WORKER, house, house)
    at = f"/v1/visits/{one}/checks"
    odd = await world.post(at, {"finding": "seen", "id": "S150202100"}, checker)
    assert (odd.status_code, "UUID" in odd.json()["detail"]) == (422, True), odd.text
    made = await world.post(at, {"finding": "seen"}, checker)
    again = {"finding": "confirmed", "id": made.json()["id"]}
    for path in (f"/v1/visits/{two}/checks", at):
        taken = await world.post(path, again, SECRETARY)
        assert (taken.status_code, "make a new one" in taken.text) == (422, True), taken.text
    elsewhere = await world.post(f"/v1/visits/{two}/checks", again, checker)
    assert elsewhere.status_code == 422, elsewhere.text
    [kept] = await world.fetch("SELECT finding, created_by FROM visit_check")
    assert tuple(kept) == ("seen", checker)
