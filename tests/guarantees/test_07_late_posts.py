"""Promise 7: a clock is no proof. What comes long after a post's end, or from a device registered
after it, waits for a person.
"""

from datetime import timedelta
from typing import Any

import pytest

from sync_protocol import clock as clocks
from sync_protocol.periods import to_ms
from tests.world import OTHER_GRID, SECRETARY, WORKER, WirePhone, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


async def verdict_of(wire: WirePhone, **given: Any) -> tuple[str, str | None]:
    """What becomes of the device's next mutation."""
    [row] = await wire.world.fetch(
        "SELECT coalesce(max(acked_seq), 0) AS seq FROM device WHERE id = $1", wire.device
    )
    [verdict] = (await hand_in(wire, wire.mutation(row["seq"] + 1, **given)))["verdicts"]
    return verdict["outcome"], verdict.get("reason")


async def hand_in(wire: WirePhone, *mutations: dict[str, Any]) -> Any:
    """The answer to a push; a revoked device is refused, but its mutations are taken in."""
    return (await wire.send(*mutations)).json()


def stamp_before(world: World, **span: float) -> str:
    return clocks.make_stamp(to_ms(world.clock.now() - timedelta(**span)), 7)


async def end_post(world: World, recorded_later: timedelta | None = None) -> None:
    """The worker's post ends now, and another begins elsewhere."""
    await world.transfer(
        WORKER, OTHER_GRID, None if recorded_later is None else world.clock.now() + recorded_later
    )


async def written_before_the_end(
    world: World, recorded_later: timedelta | None = None
) -> tuple[WirePhone, str]:
    """A phone whose cadre's post has just ended, and the stamp of something written an hour
    before.
    """
    wire = world.wire()
    await wire.send()
    written = stamp_before(world, minutes=-1)
    world.clock.forward(hours=1)
    await end_post(world, recorded_later)
    return wire, written


async def test_old_logs_count_when_they_come_within_the_days_of_grace(world: World) -> None:
    wire, written = await written_before_the_end(world)
    world.clock.forward(days=6, hours=23)
    assert await verdict_of(wire, stamp=written) == ("applied", None)


async def test_old_logs_that_come_later_wait_for_a_person_whose_decision_lets_them_through(
    world: World,
) -> None:
    wire, written = await written_before_the_end(world)
    world.clock.forward(days=7, hours=1)
    assert await verdict_of(wire, stamp=written) == ("held", "late-after-post")

    [item] = (await world.get("/v1/held")).json()["items"]
    answer = await world.post(f"/v1/held/{item['id']}/release", {"note": "属实"}, SECRETARY)
    assert answer.json()["outcome"] == "applied"
    assert [row["created_by"] for row in await world.fetch("SELECT created_by FROM visit")] == [
        WORKER
    ]


async def test_the_days_of_grace_begin_when_the_end_was_recorded(world: World) -> None:
    wire, written = await written_before_the_end(world, recorded_later=timedelta(days=30))
    world.clock.forward(days=36)
    assert await verdict_of(wire, stamp=written) == ("applied", None)
    world.clock.forward(days=2)
    assert await verdict_of(wire, stamp=written[:-1] + "f") == ("held", "late-after-post")


async def test_a_device_registered_after_the_end_proves_nothing(world: World) -> None:
    world.clock.forward(hours=1)
    await end_post(world)
    world.clock.forward(hours=1)
    new = world.wire()
    assert await verdict_of(new, stamp=stamp_before(world, hours=5)) == ("held", "late-after-post")
    assert await verdict_of(new, grid=OTHER_GRID) == ("applied", None)


async def test_a_stamp_from_before_the_last_one_known_of_the_device_proves_nothing(
    world: World,
) -> None:
    """Lifted to keep the device's order it would seem to have been written while the post was
    held.
    """
    wire = world.wire()
    assert await verdict_of(wire) == ("applied", None)
    backdated = stamp_before(world, days=3)
    world.clock.forward(hours=1)
    await end_post(world)
    world.clock.forward(hours=1)
    assert await verdict_of(wire, stamp=backdated) == ("held", "late-after-post")


@pytest.mark.parametrize("back", [1, 30, 300])
async def test_a_revoked_phones_backdated_pushes_wait_for_a_person(world: World, back: int) -> None:
    wire = world.wire()
    assert await verdict_of(wire) == ("applied", None)
    world.clock.forward(hours=1)
    await world.fetch(
        "UPDATE device SET revoked_at = $2 WHERE id = $1", wire.device, world.clock.now()
    )
    world.clock.forward(hours=1)
    assert await verdict_of(wire, stamp=stamp_before(world, days=back)) == (
        "held",
        "late-after-post",
    )


async def test_a_revoked_phone_hands_in_in_order_what_it_wrote_before_for_seven_days(
    world: World,
) -> None:
    wire = world.wire()
    assert await verdict_of(wire) == ("applied", None)
    world.clock.forward(hours=1)
    before = clocks.make_stamp(world.clock.ms() - 60_000)
    later = clocks.make_stamp(world.clock.ms() - 30_000)
    await world.fetch(
        "UPDATE device SET revoked_at = $2 WHERE id = $1", wire.device, world.clock.now()
    )
    world.clock.forward(days=6)
    assert await verdict_of(wire, stamp=before) == ("applied", None)
    world.clock.forward(days=2)
    assert await verdict_of(wire, stamp=later) == ("held", "late-after-post")


async def test_what_is_stamped_long_before_its_device_was_registered_waits_for_a_person(
    world: World,
) -> None:
    wire = world.wire()
    await wire.send()
    assert await verdict_of(wire, stamp=stamp_before(world, days=91)) == ("held", "stamp-too-old")
    assert await verdict_of(wire, stamp=stamp_before(world, days=89)) == ("applied", None)


@pytest.mark.parametrize("parts", [[3], [1, 1, 1], [2, 1], [1, 2]])
async def test_a_stamp_that_is_too_old_holds_nothing_that_came_before_it(
    world: World, parts: list[int]
) -> None:
    wire = world.wire()
    stamps = [
        stamp_before(world, minutes=9),
        stamp_before(world, days=800),
        stamp_before(world, minutes=3),
    ]
    mutations = [wire.mutation(place, stamp=stamp) for place, stamp in enumerate(stamps, 1)]
    outcomes = []
    for count in parts:
        sent, mutations = mutations[:count], mutations[count:]
        outcomes += [verdict["outcome"] for verdict in (await hand_in(wire, *sent))["verdicts"]]
    assert set(outcomes) <= {"applied", "merged"}


async def test_a_restored_server_learns_from_the_cursor_when_a_device_was_registered(
    world: World,
) -> None:
    wire, written = await written_before_the_end(world)
    world.clock.forward(hours=1)
    await world.fetch(
        "DELETE FROM device WHERE id = $1", wire.device
    )  # as a backup from before does not know it
    assert await verdict_of(wire, stamp=written) == ("applied", None)
    [row] = await world.fetch("SELECT created_at FROM device WHERE id = $1", wire.device)
    assert row["created_at"] < world.clock.now() - timedelta(hours=1)


async def test_who_takes_a_household_over_has_no_writer_from_before_the_move(world: World) -> None:
    """Only an edit that had not heard of the move still reaches a household that has left the
    author's grid.
    """
    worker, secretary = world.wire(), world.phone(SECRETARY)
    answer = (await worker.send()).json()
    house = next(change for change in answer["changes"] if change["kind"] == "household")
    await secretary.sync()
    secretary.put("household", {}, grid=OTHER_GRID, id=house["id"])
    await secretary.sync()
    world.clock.forward(minutes=1)
    stale = {"kind": "household", "id": house["id"], "fields": {"members": 4}, "base": house["rev"]}
    assert await verdict_of(worker, **stale) == ("merged", None)
    assert await verdict_of(worker, **(stale | {"base": house["rev"] + 100})) == (
        "held",
        "not-allowed",
    )
