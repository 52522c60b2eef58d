"""Promise 12: every device can prove its copy, and heals it without touching what is not handed in yet."""

import pytest

from sync_protocol.device import SyncReport
from sync_protocol.digest import copy_digest
from tests.world import FAR_GRID, GRID, SECRETARY, World

DAY_MS = 24 * 3600 * 1000
AT = {"visited_at": "2026-11-20T09:00:00+08:00"}
SPOILS = {
    "a record is missing": "DELETE FROM record WHERE id = (SELECT min(id) FROM record WHERE kind = 'household')",
    "a record is old": "UPDATE record SET rev = rev - 1 WHERE id = (SELECT min(id) FROM record WHERE kind = 'household')",
    "a record is not the server's": "UPDATE record SET id = '00000000-0000-4000-8000-000000000000'"
    " WHERE id = (SELECT min(id) FROM record WHERE kind = 'household')",
    "everything is gone": "DELETE FROM record WHERE kind = 'household'",
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_copy_is_noticed_and_healed(world: World, spoil: str) -> None:
    phone = world.phone()
    phone.put("visit", AT, grid=GRID)
    await phone.sync()
    assert await phone.verify() == []
    phone.store._db.execute(SPOILS[spoil])
    phone.doubt()
    report = await phone.sync()
    assert report.healed == [GRID]
    assert await phone.verify() == []
    assert len(phone.records("household")) == 3
    assert len(phone.records("visit")) == 1


async def test_healing_leaves_the_outbox_alone(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put_unchecked("visit", {"visited_at": "昨天"}, grid=GRID, id=phone._id_for("visit", {}, GRID))
    await phone.sync()
    house = phone.records("household")[0].id
    phone.put("household", {"phone": "1"}, grid=GRID, id=house)
    phone.store.ask_again([GRID], world.clock.ms())
    before = [(mutation.seq, mutation.fields) for mutation in phone.store.unsent(10)]
    assert not await phone._exchange_once(SyncReport())
    assert len(phone.held()) == 1
    assert before == [(2, {"phone": "1"})]
    assert next(view for view in phone.records("household") if view.id == house).fields["phone"] == "1"
    assert await phone.verify() == []


async def test_a_device_verifies_once_a_day_by_itself(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    phone.store._db.execute("DELETE FROM record WHERE kind = 'household'")
    world.clock.forward(hours=23)
    assert (await phone.sync()).healed == []
    world.clock.forward(hours=2)
    assert (await phone.sync()).healed == [GRID]


async def test_the_digest_is_that_of_the_contract(world: World) -> None:
    phone = world.wire()
    changes = [change for change in (await phone.send()).json()["changes"] if change["kind"] == "household"]
    digest = copy_digest((change["id"], change["rev"]) for change in changes)
    claim = {"grid": GRID, "rev": max(change["rev"] for change in changes), "count": 3, "digest": digest}
    for change, mismatched in (({}, []), ({"count": 2}, [GRID]), ({"digest": "0" * 16}, [GRID])):
        answer = await phone.post({"grids": [claim | change]}, "/v1/sync/verify")
        assert answer.json() == {"mismatched": mismatched}


async def test_a_grid_outside_the_scope_never_matches(world: World) -> None:
    phone = world.wire()
    claim = {"grid": FAR_GRID, "rev": 0, "count": 0, "digest": "0" * 16}
    assert (await phone.post({"grids": [claim]}, "/v1/sync/verify")).json() == {"mismatched": [FAR_GRID]}
    assert (await phone.post({"grids": [claim, claim]}, "/v1/sync/verify")).status_code == 422
    assert (await phone.post({"grids": "all"}, "/v1/sync/verify")).status_code == 422


async def test_copies_agree_as_the_windows_move_on(world: World) -> None:
    """What a first pull would give now changes with the days; a phone that pulled long ago still proves its copy."""
    phone, reader = world.phone(), world.phone(SECRETARY)
    phone.put("visit", AT, grid=GRID)
    made = phone.put("problem", {"title": "a", "duty": "emergency", "raised_at": AT["visited_at"]}, grid=GRID)
    phone.put("step", {"problem_id": made, "action": "reject", "reason": "unfounded", "at": AT["visited_at"]}, grid=GRID)
    await phone.sync()
    await reader.sync()
    for _ in range(4):
        world.clock.forward(days=20)
        for each in (phone, reader):
            assert (await each.sync()).healed == []
            assert await each.verify() == []
