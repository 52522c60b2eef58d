"""Ties between cadres and households: who writes them, what they show, and how the two fields of
households go with them.
"""

from typing import Any

import pytest

from simulator.places import SUPERVISOR, VILLAGE
from tests.identity.test_views import appoint, household
from tests.vocabulary.asking import go
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

MEMBER = f"C{VILLAGE}-2"
AT = "2026-11-20T09:00:00+08:00"


async def verdict_of(wire: Any, kind: str, **given: Any) -> tuple[str, str | None]:
    seq = getattr(wire, "sent", 0) + 1
    wire.sent = seq
    answer = await wire.send(wire.mutation(seq, kind, **given))
    [verdict] = answer.json()["verdicts"]
    return verdict["outcome"], verdict.get("reason")


def tie(house: str, cadre: str, kind: str = "contact", **days: str) -> dict[str, str]:
    return {"household_id": house, "cadre": cadre, "kind": kind, "valid_from": "2026-11-01"} | days


async def made(world: World, house: str, cadre: str, kind: str = "contact", **days: str) -> Any:
    answer = await world.post("/v1/ties", tie(house, cadre, kind, **days), SECRETARY)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def listed(world: World, by: str = SECRETARY, **query: Any) -> list[dict[str, Any]]:
    answer = await world.get("/v1/ties", by, unit=VILLAGE, limit=1000, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


# -------------------------------------------------------------------------------------- who writes


@pytest.mark.parametrize("kind", ["contact", "contracted", "family"])
async def test_the_secretary_ties_a_cadre_to_a_household_on_the_phone(
    world: World, kind: str
) -> None:
    house = await household(world)
    wire = world.wire(SECRETARY)
    assert await verdict_of(wire, "tie", fields=tie(house, MEMBER, kind)) == ("applied", None)
    [item] = await listed(world, household=house)
    assert (item["cadre"], item["kind"], item["source"]) == (MEMBER, kind, "tie")


async def test_a_worker_writes_no_tie_and_nobody_the_own(world: World) -> None:
    house = await household(world)
    worker, secretary = world.wire(WORKER), world.wire(SECRETARY)
    assert await verdict_of(worker, "tie", fields=tie(house, MEMBER)) == ("held", "not-allowed")
    own = tie(house, SECRETARY, "family")
    assert await verdict_of(secretary, "tie", fields=own) == ("held", "not-allowed")
    answer = await world.post("/v1/ties", own, SECRETARY)
    assert (answer.status_code, answer.json()["reason"]) == (422, "not-allowed")
    assert (await world.post("/v1/ties", tie(house, MEMBER), WORKER)).status_code == 403
    assert await listed(world, household=house) == []


async def test_a_cadre_does_not_end_the_own_tie(world: World) -> None:
    house = await household(world)
    other = await appoint(world, "village_secretary", VILLAGE)
    one = await world.post("/v1/ties", tie(house, SECRETARY), other)
    id = one.json()["id"]
    answer = await world.client.patch(
        f"/v1/ties/{id}",
        json={"valid_to": "2026-11-20"},
        headers={"Authorization": f"Bearer {await world.token(SECRETARY)}"},
    )
    assert (answer.status_code, answer.json()["reason"]) == (422, "not-allowed")


async def test_the_old_fields_are_written_as_before(world: World) -> None:
    house = await household(world)
    wire = world.wire(WORKER)
    [row] = await world.fetch("SELECT rev FROM household WHERE id = $1", house)
    for field in ("contact_member", "lead_member"):
        for value in (MEMBER, None, SECRETARY):
            fields: dict[str, Any] = {field: value}
            asked = await verdict_of(wire, "household", fields=fields, id=house, base=row["rev"])
            assert asked == ("applied", None)
    shown = (await world.get(f"/v1/households/{house}", SECRETARY)).json()
    assert (shown["contact_member"], shown["lead_member"]) == (SECRETARY, SECRETARY)


async def test_nobody_releases_a_tie_to_themselves(world: World) -> None:
    house = await household(world)
    asked = await verdict_of(world.wire(SECRETARY), "tie", fields=tie(house, SECRETARY))
    assert asked == ("held", "not-allowed")
    [held] = (await world.get("/v1/held", SECRETARY)).json()["items"]
    answer = await world.post(f"/v1/held/{held['id']}/release", {}, SECRETARY)
    assert answer.json()["outcome"] == "held"
    answer = await world.post(f"/v1/held/{held['id']}/release", {}, SUPERVISOR)
    assert answer.json()["outcome"] == "applied"


async def test_a_tie_names_a_household_and_a_cadre_within_reach(world: World) -> None:
    house = await household(world)
    [far] = await world.fetch("SELECT id::text FROM household WHERE grid = $1 LIMIT 1", OTHER_GRID)
    wire = world.wire(f"C{FAR_GRID[:12]}-1")
    there = await verdict_of(wire, "tie", grid=FAR_GRID, fields=tie(house, MEMBER))
    assert there == ("held", "reference-outside")
    mine = world.wire(SECRETARY)
    nobody = await verdict_of(mine, "tie", fields=tie(house, "NOBODY"))
    assert nobody == ("held", "reference-outside")
    assert far["id"] != house


# ---------------------------------------------------------------------------------- what it shows


async def test_a_contact_member_sees_a_household_only_while_tied(world: World) -> None:
    house = await household(world)
    member = await appoint(world, "contact_member", VILLAGE)
    phone = world.phone(member)
    one = await made(world, house, member, valid_from="2026-11-21", valid_to="2026-11-23")
    for day, sees in (("20", False), ("21", True), ("22", True), ("23", False)):
        go(world, f"2026-11-{day}T08:00:00")
        await phone.sync()
        kinds = sorted({view.kind for view in phone.records()} - {"tie"})
        assert kinds == (["household", "problem", "step", "visit"] if sees else []), day
        assert {view.id for view in phone.records("tie")} == {one["id"]}
        assert await phone.verify() == []
        rest = await world.get(f"/v1/households/{house}", member)
        assert rest.status_code == (200 if sees else 404)
        for path in ("households", "visits", "problems"):
            items = (await world.get(f"/v1/{path}", member, unit=VILLAGE)).json()["items"]
            assert bool(items) is sees, (day, path)


async def test_what_a_contact_member_writes_is_judged_by_ties_of_its_day(world: World) -> None:
    house = await household(world)
    member = await appoint(world, "contact_member", VILLAGE)
    await made(world, house, member, valid_to="2026-11-21")
    wire = world.wire(member)
    fields = {"visited_at": AT, "household_id": house}
    written = wire.mutation(1, fields=fields)
    go(world, "2026-11-22T08:00:00")
    [verdict] = (await wire.send(written)).json()["verdicts"]
    assert verdict["outcome"] == "applied"
    [verdict] = (await wire.send(wire.mutation(2, fields=fields))).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "reference-outside")


async def test_only_the_kind_contact_gives_sight(world: World) -> None:
    house = await household(world)
    member = await appoint(world, "contact_member", VILLAGE)
    await made(world, house, member, "family")
    phone = world.phone(member)
    await phone.sync()
    assert {view.kind for view in phone.records()} == {"tie"}


async def test_a_tie_moves_with_its_household(world: World) -> None:
    house = await household(world)
    one = await made(world, house, MEMBER, "family")
    phone = world.phone(SECRETARY)
    await phone.sync()
    phone.put("household", {}, grid=OTHER_GRID, id=house)
    await phone.sync()
    [row] = await world.fetch("SELECT grid FROM tie WHERE id = $1", one["id"])
    assert row["grid"] == OTHER_GRID
    await phone.sync()
    assert [view.grid for view in phone.records("tie")] == [OTHER_GRID]
    assert await phone.verify() == []


# ---------------------------------------------------------------------- the fields, and lists


async def test_the_two_fields_are_listed_as_ties_and_ties_fill_empty_fields(world: World) -> None:
    house, other = await household(world), await household(world)
    await world.fetch("UPDATE household SET lead_member = $2 WHERE id = $1", house, MEMBER)
    await world.fetch("UPDATE household SET contact_member = NULL WHERE id = $1", house)
    await made(world, house, MEMBER, "contact")
    await made(world, house, MEMBER, "contracted")
    await world.fetch("UPDATE household SET contact_member = $2 WHERE id = $1", other, MEMBER)
    shown = (await world.get(f"/v1/households/{house}", SECRETARY)).json()
    assert (shown["contact_member"], shown["lead_member"]) == (MEMBER, MEMBER)
    ties = await listed(world, cadre=MEMBER, household=house)
    assert sorted((item["kind"], item["source"]) for item in ties) == [
        ("contact", "tie"),
        ("contracted", "tie"),
    ]
    [field] = await listed(world, household=other, kind="contact")
    assert (field["id"], field["source"], field["valid_from"]) == (None, "contact_member", None)
    found = await world.get("/v1/households", SECRETARY, unit=VILLAGE, contact_member=MEMBER)
    assert {item["id"] for item in found.json()["items"]} == {house, other}


async def test_visits_of_the_tied_cadre_are_counted(world: World) -> None:
    house = await household(world)
    await made(world, house, MEMBER, "family")
    phone = world.phone(MEMBER)
    await phone.sync()
    for day in ("10", "19"):
        phone.put(
            "visit",
            {"visited_at": f"2026-11-{day}T09:00:00+08:00", "household_id": house},
            grid=GRID,
        )
    await phone.sync()
    [year] = await listed(world, cadre=MEMBER, kind="family")
    [week] = await listed(world, cadre=MEMBER, kind="family", week="2026-W47")
    assert (year["visits"], week["visits"]) == (2, 1)
    assert week["last_visit"].startswith("2026-11-19")


async def test_pages_of_ties_leave_nothing_out(world: World) -> None:
    house = await household(world)
    for kind in ("contact", "contracted", "family"):
        await made(world, house, MEMBER, kind)
    await world.fetch("UPDATE household SET contact_member = $1 WHERE grid = $2", MEMBER, GRID)
    every = await listed(world)
    found, after = [], None
    while True:
        query = {"unit": VILLAGE, "limit": 2} | ({"after": after} if after else {})
        page = (await world.get("/v1/ties", SECRETARY, **query)).json()
        found += page["items"]
        after = page["next"]
        if after is None:
            break
    assert found == every
    assert len(found) >= 5


async def test_an_ended_tie_is_listed_where_it_is_asked_for(world: World) -> None:
    house = await household(world)
    one = await made(world, house, MEMBER, "family")
    token = await world.token(SECRETARY)
    answer = await world.client.patch(
        f"/v1/ties/{one['id']}",
        json={"valid_to": "2026-11-20"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    assert await listed(world, household=house) == []
    assert len(await listed(world, household=house, on="2026-11-19")) == 1
    assert len(await listed(world, household=house, ended=True)) == 1
    again = await made(world, house, MEMBER, "family", valid_from="2026-11-20")
    assert again["id"] != one["id"]
    twice = await world.post("/v1/ties", tie(house, MEMBER, "family"), SECRETARY)
    assert (twice.status_code, twice.json()["type"]) == (409, "/problems/not-now")
    wrong = tie(house, MEMBER, "family", valid_to="2026-11-01")
    assert (await world.post("/v1/ties", wrong, SECRETARY)).status_code == 422
