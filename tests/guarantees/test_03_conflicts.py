"""Promise 3: a conflict is a fact, not a guess; both values, authors, times and devices are kept,
and a person may settle it.
"""

import asyncio
from typing import Any

import pytest

from simulator.places import SUPERVISOR
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, Phone, World


async def two_phones_on_one_household(world: World) -> tuple[Phone, Phone, str]:
    """The worker's and the secretary's phones, and the household that both have pulled."""
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    return worker, secretary, worker.records("household", GRID)[0].id


def fields(phone: Phone, house: str) -> Any:
    return next(view.fields for view in phone.records("household") if view.id == house)


async def conflicts(world: World, staff_code: str = SECRETARY, **query: Any) -> list[Any]:
    items: list[Any] = (await world.get("/v1/conflicts", staff_code, **query)).json()["items"]
    return items


async def disagree(world: World) -> tuple[Phone, Phone, str, Any]:
    """A conflict about a phone number: the worker's 1 lost against the secretary's later 2."""
    worker, secretary, house = await two_phones_on_one_household(world)
    worker.put("household", {"phone": "1"}, grid=GRID, id=house)
    world.clock.forward(minutes=5)
    secretary.put("household", {"phone": "2"}, grid=GRID, id=house)
    for phone in (secretary, worker, secretary):
        await phone.sync()
    [conflict] = await conflicts(world)
    return worker, secretary, house, conflict


async def test_both_values_authors_times_and_devices_are_kept_with_the_rule(world: World) -> None:
    worker, secretary, house, conflict = await disagree(world)
    assert (conflict["record"], conflict["kind"], conflict["field"], conflict["grid"]) == (
        house,
        "household",
        "phone",
        GRID,
    )
    assert (conflict["kept"], conflict["kept_by"], conflict["kept_device"]) == (
        "2",
        SECRETARY,
        secretary.id,
    )
    assert (conflict["lost"], conflict["lost_by"], conflict["lost_device"]) == (
        "1",
        WORKER,
        worker.id,
    )
    assert conflict["lost_at"] < conflict["kept_at"]
    assert conflict["rule"] == "latest: the later stamp stays, ties by device"
    assert fields(worker, house) == fields(secretary, house)


async def test_a_chain_of_offline_edits_conflicts_only_with_the_other_phone(world: World) -> None:
    worker, secretary, house = await two_phones_on_one_household(world)
    for number in ("1", "2", "3"):
        worker.put("household", {"phone": number}, grid=GRID, id=house)
        world.clock.forward(minutes=1)
    await worker.sync()
    assert await conflicts(world) == []
    secretary.put("household", {"phone": "b"}, grid=GRID, id=house)
    await secretary.sync()
    world.clock.forward(minutes=1)
    worker.put("household", {"phone": "4"}, grid=GRID, id=house)
    await worker.sync()
    assert [(item["kept"], item["lost"]) for item in await conflicts(world)] == [
        ("4", "b"),
        ("b", "3"),
    ]


async def test_many_fields_of_one_record_without_overlap_do_not_conflict(world: World) -> None:
    worker, secretary, house = await two_phones_on_one_household(world)
    worker.put("household", {"phone": "1", "members": 5}, grid=GRID, id=house)
    secretary.put("household", {"address": "东头", "note": "门口有狗"}, grid=GRID, id=house)
    for phone in (worker, secretary, worker):
        await phone.sync()
    assert await conflicts(world) == []
    assert fields(worker, house) == fields(secretary, house)
    assert {"phone": "1", "members": 5, "address": "东头", "note": "门口有狗"}.items() <= fields(
        worker, house
    ).items()


async def test_equal_values_are_no_conflict(world: World) -> None:
    worker, secretary, house = await two_phones_on_one_household(world)
    for phone in (worker, secretary):
        phone.put("household", {"phone": "10000000001"}, grid=GRID, id=house)
        await phone.sync()
    assert await conflicts(world) == []


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ({"choice": "kept"}, "2"),
        ({"choice": "lost"}, "1"),
        ({"choice": "value", "value": "3"}, "3"),
    ],
)
async def test_a_settlement_reaches_all_phones(
    world: World, body: dict[str, Any], result: str
) -> None:
    worker, secretary, house, conflict = await disagree(world)

    answer = await world.post(
        f"/v1/conflicts/{conflict['id']}/resolution", body | {"note": "问过本人"}, SUPERVISOR
    )

    assert answer.status_code == 200, answer.text
    settled = answer.json()
    assert (settled["choice"], settled["resolved_by"], settled["note"]) == (
        body["choice"],
        SUPERVISOR,
        "问过本人",
    )
    for phone in (worker, secretary):
        await phone.sync()
        assert fields(phone, house)["phone"] == result
    assert await conflicts(world, state="open") == []
    assert [item["id"] for item in await conflicts(world, state="resolved")] == [conflict["id"]]


async def test_a_settlement_is_a_mutation_in_the_log(world: World) -> None:
    _, _, house, conflict = await disagree(world)
    await world.post(f"/v1/conflicts/{conflict['id']}/resolution", {"choice": "lost"}, SUPERVISOR)
    [row] = await world.fetch(
        "SELECT staff_code, outcome FROM mutation WHERE id = $1"
        " ORDER BY received_at DESC, seq DESC LIMIT 1",
        house,
    )
    assert tuple(row) == (SUPERVISOR, "applied")


async def test_settling_twice_is_refused_and_names_who_was_first(world: World) -> None:
    _, _, _, conflict = await disagree(world)
    path = f"/v1/conflicts/{conflict['id']}/resolution"
    await world.post(path, {"choice": "lost"}, SECRETARY)
    again = await world.post(path, {"choice": "kept"}, SUPERVISOR)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-decided")
    assert SECRETARY in again.json()["detail"]


async def test_who_may_settle(world: World) -> None:
    _, _, _, conflict = await disagree(world)
    path = f"/v1/conflicts/{conflict['id']}/resolution"
    assert (await world.post(path, {"choice": "kept"}, WORKER)).status_code == 403
    assert (await world.post(path, {"choice": "kept"}, f"S{FAR_GRID[:9]}")).status_code == 404
    assert (await world.post(path, {"choice": "value", "value": 7}, SECRETARY)).status_code == 422
    assert [item["resolved_by"] for item in await conflicts(world)] == [None]


async def test_conflicts_are_listed_by_unit_state_kind_and_record(world: World) -> None:
    _, _, house, conflict = await disagree(world)
    for query, found in (
        ({"unit": GRID}, 1),
        ({"unit": GRID[:12] + "002"}, 0),
        ({"kind": "household"}, 1),
        ({"kind": "visit"}, 0),
        ({"record": house}, 1),
        ({"record": conflict["id"]}, 0),
        ({"state": "resolved"}, 0),
    ):
        assert len(await conflicts(world, **query)) == found, query


async def test_a_decision_and_an_edit_at_once_lose_nothing(world: World) -> None:
    """A write of the server races the user on the same record: each is applied, or lost with a
    conflict.
    """
    worker, _, house, conflict = await disagree(world)
    worker.put("household", {"phone": "5"}, grid=GRID, id=house)
    answer, _ = await asyncio.gather(
        world.post(
            f"/v1/conflicts/{conflict['id']}/resolution",
            {"choice": "value", "value": "4"},
            SUPERVISOR,
        ),
        worker.sync(),
    )
    assert answer.status_code == 200
    await worker.sync()
    [row] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    lost = {item["lost"] for item in await conflicts(world)}
    log = await world.logged("id = $1 AND rev IS NOT NULL", house)
    assert {"4", "5"} <= {item["fields"].get("phone") for item in log}
    assert world.decrypted("household", "phone", house, row["phone"]) == "4" or "4" in lost
    assert fields(worker, house)["phone"] == world.decrypted(
        "household", "phone", house, row["phone"]
    )
