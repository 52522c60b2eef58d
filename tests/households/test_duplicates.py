"""Households that are added beside others that may be the same."""

from typing import Any

from service.privacy.reencrypt import reencrypt
from service.writes.phone_index import numbers_in
from simulator.places import SUPERVISOR
from tests.encrypted import another_key, own_key, use_keys
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

PHONE = "138-1234 5678"


def test_the_numbers_in_a_phone_are_its_digits() -> None:
    assert numbers_in("138 0000-0000／0472-1234567") == ["13800000000", "04721234567"]
    assert numbers_in("+86 13800000000, 008613800000000") == ["13800000000"]
    assert numbers_in("138****0000 / 12") == []


async def add(world: World, staff_code: str, grid: str, **fields: Any) -> Any:
    answer = await world.post("/v1/households", {"grid": grid, "fields": fields}, staff_code)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_added_household_is_told_of_those_with_its_head_or_phone(world: World) -> None:
    both = await add(world, WORKER, GRID, head_name="苏 和", phone=PHONE)
    assert both["possible_duplicates"] == []
    one = await add(world, WORKER, GRID, head_name="苏和", phone="0472-7654321")
    assert [(d["id"], d["same"]) for d in one["possible_duplicates"]] == [
        (both["household"]["id"], ["head"])
    ]
    made = await add(world, SECRETARY, OTHER_GRID, head_name="苏和", phone="+8613812345678")
    told = [(d["id"], d["grid"], d["same"]) for d in made["possible_duplicates"]]
    assert told == [
        (both["household"]["id"], GRID, ["head", "phone"]),
        (one["household"]["id"], GRID, ["head"]),
    ]


async def test_nothing_is_told_of_households_that_the_caller_does_not_see(world: World) -> None:
    await add(world, f"W{FAR_GRID}-1", FAR_GRID, head_name="别处", phone=PHONE)
    await add(world, SECRETARY, OTHER_GRID, head_name="邻格", phone=PHONE)
    made = await add(world, WORKER, GRID, head_name="邻格", phone=PHONE)
    assert made["possible_duplicates"] == []
    path = f"/v1/households/{made['household']['id']}/duplicates"
    assert (await world.get(path, WORKER)).json()["items"] == []
    [seen] = (await world.get(path, SECRETARY)).json()["items"]
    assert (seen["grid"], seen["same"]) == (OTHER_GRID, ["head", "phone"])


async def test_a_household_written_by_a_phone_is_found_and_follows_its_phone(world: World) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    first = phone.put("household", {"head_name": "甲", "phone": PHONE}, grid=GRID)
    second = phone.put("household", {"head_name": "乙", "phone": "13812345678"}, grid=GRID)
    await phone.sync()
    path = f"/v1/households/{first}/duplicates"
    assert [one["id"] for one in (await world.get(path, WORKER)).json()["items"]] == [second]
    phone.put("household", {"phone": "13900000000"}, grid=GRID, id=second)
    await phone.sync()
    assert (await world.get(path, WORKER)).json()["items"] == []
    phone.put("household", {"phone": PHONE}, grid=GRID, id=second)
    await phone.sync()
    assert [one["id"] for one in (await world.get(path, WORKER)).json()["items"]] == [second]
    phone.delete("household", second, grid=GRID)
    await phone.sync()
    rows = await world.fetch("SELECT household::text FROM household_phone")
    assert first in {row["household"] for row in rows}
    assert second not in {row["household"] for row in rows}


async def test_what_an_older_release_wrote_is_indexed_and_a_new_key_makes_it_anew(
    world: World,
) -> None:
    state = world.state
    one = await add(world, WORKER, GRID, head_name="甲", phone=PHONE)
    await add(world, WORKER, GRID, head_name="乙", phone=PHONE)
    path = f"/v1/households/{one['household']['id']}/duplicates"
    await world.fetch("DELETE FROM household_phone")
    assert (await world.get(path, WORKER)).json()["items"] == []
    await reencrypt(state.database, state.settings)
    assert len((await world.get(path, WORKER)).json()["items"]) == 1
    before = await world.fetch("SELECT blind FROM household_phone")
    old, new = own_key(world), another_key()
    # Between the change and the re-encryption both are known, after it the new one is enough.
    for keys in ((new, old), (new,)):
        use_keys(world, *keys)
        assert len((await world.get(path, WORKER)).json()["items"]) == 1
        outcome = await reencrypt(state.database, state.settings)
        assert (outcome.complete, outcome.lost) == (True, 0)
    after = await world.fetch("SELECT blind FROM household_phone")
    assert len(before) == len(after) > 2
    assert not {row["blind"] for row in before} & {row["blind"] for row in after}


async def test_who_sees_phones_masked_is_told_of_none_alike(world: World) -> None:
    """Else whole numbers could be tried out until one fits."""
    one = await add(world, WORKER, GRID, head_name="甲", phone=PHONE)
    other = await add(world, SECRETARY, OTHER_GRID, head_name="甲", phone=PHONE)
    path = f"/v1/households/{one['household']['id']}/duplicates"
    [seen] = (await world.get(path, SUPERVISOR)).json()["items"]
    assert (seen["id"], seen["same"]) == (other["household"]["id"], ["head"])
    await add(world, WORKER, GRID, head_name="乙", phone=PHONE)
    assert [d["same"] for d in (await world.get(path, SUPERVISOR)).json()["items"]] == [["head"]]
