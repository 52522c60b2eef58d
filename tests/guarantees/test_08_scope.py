"""Promise 8: what enters the scope is sent from the start, what leaves it is named, and a record
that moves leaves no copy behind.
"""

from sync_protocol.device import Device
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, World

OTHER_WORKER = f"W{OTHER_GRID}-1"
AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


def houses(phone: Device) -> set[str]:
    return {view.id for view in phone.records("household")}


async def test_a_grid_out_of_scope_is_dropped_and_comes_back_from_the_start(world: World) -> None:
    phone, other = world.phone(SECRETARY), world.phone(OTHER_WORKER)
    await phone.sync()
    everything = houses(phone)
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", GRID, SECRETARY)
    report = await phone.sync()
    assert OTHER_GRID in report.dropped_grids
    assert {view.grid for view in phone.records()} == {GRID}
    other.put("visit", AT, grid=OTHER_GRID)
    await other.sync()

    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", GRID[:12], SECRETARY)
    await phone.sync()

    assert houses(phone) == everything
    assert len(phone.records("visit", OTHER_GRID)) == 1
    assert await phone.verify() == []


async def test_unsent_edits_of_a_dropped_grid_stay(world: World) -> None:
    phone = world.phone(SECRETARY)
    await phone.sync()
    house = phone.records("household", OTHER_GRID)[0].id
    phone.put("household", {"phone": "1"}, grid=OTHER_GRID, id=house)
    world.clock.forward(minutes=1)
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", SECRETARY, world.clock.now()
    )
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]
    [row] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    assert world.decrypted("household", "phone", house, row["phone"]) == "1"


async def test_a_household_that_moves_leaves_the_first_phone_and_appears_on_the_other(
    world: World,
) -> None:
    worker, other, secretary = (
        world.phone(WORKER),
        world.phone(OTHER_WORKER),
        world.phone(SECRETARY),
    )
    for phone in (worker, other, secretary):
        await phone.sync()
    house = worker.records("household")[0].id
    secretary.put("household", {"address": "搬家"}, grid=OTHER_GRID, id=house)
    for phone in (secretary, worker, other):
        await phone.sync()
    assert house not in houses(worker)
    assert house in houses(other)
    assert [view.grid for view in secretary.records("household") if view.id == house] == [
        OTHER_GRID
    ]
    for phone in (worker, other, secretary):
        assert await phone.verify() == []


async def test_the_first_feed_says_gone_of_a_record_that_moved(world: World) -> None:
    wire, secretary = world.wire(WORKER), world.phone(SECRETARY)
    house = (await wire.send()).json()["changes"][0]
    await secretary.sync()
    secretary.put("household", {}, grid=OTHER_GRID, id=house["id"])
    await secretary.sync()
    [change] = (await wire.send()).json()["changes"]
    assert (change["id"], change["grid"], change["gone"]) == (house["id"], GRID, True)


async def test_a_worker_who_had_not_heard_of_the_move_still_counts(world: World) -> None:
    """The later edit of a record that left the scope is not silently refused."""
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    house = worker.records("household")[0].id
    secretary.put("household", {}, grid=OTHER_GRID, id=house)
    await secretary.sync()
    worker.put("household", {"phone": "1"}, grid=GRID, id=house)
    report = await worker.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["merged"]
    [row] = await world.fetch("SELECT grid, phone FROM household WHERE id = $1", house)
    assert (row["grid"], world.decrypted("household", "phone", house, row["phone"])) == (
        OTHER_GRID,
        "1",
    )
    assert house not in houses(worker)


async def test_the_scope_comes_from_the_posts_never_from_the_cursor(world: World) -> None:
    phone = world.wire(SECRETARY)
    await phone.send()
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", GRID, SECRETARY)
    other = world.wire(OTHER_WORKER)
    await other.send(other.mutation(1, grid=OTHER_GRID))
    answer = (await phone.send()).json()
    assert answer["changes"] == []
    assert OTHER_GRID in answer["dropped_grids"]


async def test_what_still_counts_in_a_grid_that_left_the_scope_stays_on_no_phone(
    world: World,
) -> None:
    """The work of a former post is taken in, at the sync that drops the grid, and at any later
    one.
    """
    phone = world.phone(WORKER)
    await phone.sync()
    phone.put("visit", AT, grid=GRID)
    world.clock.forward(minutes=1)
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", OTHER_GRID, WORKER)
    other = world.wire(WORKER)  # another phone of the same cadre, which never pulled the grid
    await other.send()
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", GRID[:12], WORKER)
    pushed = other.mutation(1)
    await other.send(pushed, limit=1)
    await world.fetch("UPDATE post SET unit = $1 WHERE staff_code = $2", OTHER_GRID, WORKER)
    answer = (await other.send(pushed)).json()
    assert answer["verdicts"][0]["first"] == "applied"
    assert GRID in answer["dropped_grids"]
    await phone.sync()
    assert GRID not in {view.grid for view in phone.records()}
