"""Promise 6: wrong clocks do no harm."""

import pytest

from simulator.places import NOW
from sync_protocol.clock import stamp_ms
from tests.world import GRID, SECRETARY, WORKER, World

HOUR = 3_600_000
DAY = 24 * HOUR
YEAR = 365 * DAY


@pytest.mark.parametrize(
    "ahead", [7_000, -7_000, HOUR, -HOUR, 2 * DAY, -2 * DAY, 4 * YEAR, -10 * YEAR]
)
async def test_a_wrong_clock_is_corrected_and_its_phone_hears_of_it(
    world: World, ahead: int
) -> None:
    phone = world.phone(ahead_ms=ahead)
    from sync_protocol.moments import moment_at

    phone.put("visit", {"visited_at": moment_at(world.clock.ms() + ahead)}, grid=GRID)
    made = world.clock.ms()
    world.clock.forward(hours=5)
    await phone.sync()
    [row] = await world.fetch("SELECT stamp, offset_ms, visited_at FROM visit")
    assert stamp_ms(f"{row['stamp']:016x}") == made
    assert row["visited_at"] == NOW
    assert row["offset_ms"] == (-ahead if abs(ahead) >= 5 * 60_000 else None)
    assert phone.records("visit")[0].fields["visited_at"] == moment_at(made)


async def test_a_clock_that_is_right_within_two_seconds_is_believed(world: World) -> None:
    phone = world.wire()
    sent = phone.mutation(1)
    from datetime import timedelta

    await phone.send(sent, sent_at=(world.clock.now() - timedelta(milliseconds=1500)).isoformat())
    [row] = await world.fetch("SELECT stamp FROM visit")
    assert f"{row['stamp']:016x}" == sent["stamp"]


async def test_a_clock_years_ahead_wins_no_conflict(world: World) -> None:
    worker, secretary = world.phone(WORKER, ahead_ms=4 * YEAR), world.phone(SECRETARY)
    await worker.sync()
    await secretary.sync()
    house = worker.records("household", GRID)[0].id
    worker.put("household", {"phone": "early, by a clock far ahead"}, grid=GRID, id=house)
    world.clock.forward(minutes=5)
    secretary.put("household", {"phone": "late"}, grid=GRID, id=house)
    for phone in (worker, secretary, worker):
        await phone.sync()
    assert [view.fields["phone"] for view in worker.records("household") if view.id == house] == [
        "late"
    ]


@pytest.mark.parametrize("jump", [2 * DAY, -2 * DAY, -10 * YEAR])
async def test_a_clock_that_jumps_between_two_edits_keeps_their_order(
    world: World, jump: int
) -> None:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household", GRID)[0].id
    for place in range(4):
        if place == 2:
            phone.ahead_ms = jump
        phone.put("household", {"phone": str(place)}, grid=GRID, id=house)
        world.clock.forward(minutes=1)
    await phone.sync()
    rows = await world.fetch("SELECT stamp FROM mutation WHERE device = $1 ORDER BY seq", phone.id)
    stamps = [row["stamp"] for row in rows]
    assert stamps == sorted(set(stamps))
    assert stamp_ms(f"{stamps[-1]:016x}") <= world.clock.ms()
    [row] = await world.fetch("SELECT phone FROM household WHERE id = $1", house)
    assert world.decrypted("household", "phone", house, row["phone"]) == "3"


async def test_nothing_is_ever_later_than_the_servers_now(world: World) -> None:
    """A phone that lies in `sent_at` as well cannot reach into the future."""
    phone = world.wire()
    future = "0" + f"{world.clock.ms() + YEAR:x}" + "0000"
    await phone.send(
        phone.mutation(1, stamp=future, fields={"visited_at": "2030-01-01T00:00:00+08:00"})
    )
    [row] = await world.fetch("SELECT stamp, visited_at FROM visit")
    assert stamp_ms(f"{row['stamp']:016x}") <= world.clock.ms()
    assert row["visited_at"] <= world.clock.now()
