"""The ferry: who waits crosses together, and nobody's trouble is another's."""

import asyncio

import asyncpg
import pytest

from service.sync.ferry import Ferry


class Load:
    def __init__(self, key: str, weight: int = 1) -> None:
        self.key = key
        self.weight = weight
        self.error: Exception | None = None


class River:
    """Crossings that last until they are told to land."""

    def __init__(self, weight: int = 10, late_s: float = 60, linger_s: float = 0) -> None:
        self.crossings: list[list[str]] = []
        self.landing = asyncio.Semaphore(0)
        self._left = asyncio.Semaphore(0)
        self.broken: set[str] = set()
        self.deadlocks = 0
        self.ferry: Ferry[Load] = Ferry(self.carry, weight, late_s, linger_s)

    async def carry(self, loads: list[Load]) -> None:
        self.crossings.append([load.key for load in loads])
        self._left.release()
        await self.landing.acquire()
        if self.deadlocks:
            self.deadlocks -= 1
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        if self.broken & {load.key for load in loads}:
            raise RuntimeError("a hole in the boat")

    async def under_way(self, crossings: int) -> None:
        """Waits for so many more crossings to begin."""
        for _ in range(crossings):
            await self._left.acquire()

    def land(self, crossings: int = 100) -> None:
        """Lets so many crossings come to an end."""
        for _ in range(crossings):
            self.landing.release()

    def send(self, *loads: Load) -> list[asyncio.Task[Load]]:
        return [asyncio.create_task(self.ferry.cross(load)) for load in loads]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def all_across(river: River, keys: str) -> None:
    """The first crosses alone, the others together."""
    tasks = river.send(*map(Load, keys))
    await settled()
    river.land()
    await asyncio.gather(*tasks)
    assert river.crossings == [[keys[0]], [*keys[1:]]]


async def test_one_alone_crosses_at_once() -> None:
    river = River()
    river.land()
    load = Load("a")
    assert await river.ferry.cross(load) is load
    assert river.crossings == [["a"]]


async def test_who_waits_meanwhile_crosses_together() -> None:
    river = River()
    tasks = river.send(*map(Load, "abc"))
    await settled()
    assert river.crossings == [["a"]]
    river.land()
    await asyncio.gather(*tasks)
    assert river.crossings == [["a"], ["b", "c"]]


async def test_who_waits_behind_a_late_crossing_goes_before_it_lands() -> None:
    river = River(late_s=0.01)
    [late, *tasks] = river.send(*map(Load, "abc"))
    await river.under_way(2)
    assert river.crossings == [["a"], ["b", "c"]]
    river.land(2)
    await asyncio.gather(late, *tasks)
    tasks = river.send(*map(Load, "def"))
    await settled()
    assert river.crossings[2:] == [["d"]], "the boat came back twice"
    river.land()
    await asyncio.gather(*tasks)
    assert river.crossings[2:] == [["d"], ["e", "f"]]


async def test_after_a_crossing_of_several_the_next_waits_for_as_many() -> None:
    river = River(linger_s=60)
    await all_across(river, "abcd")
    tasks = river.send(*map(Load, "ef"))
    await settled()
    assert river.crossings[2:] == [], "two set out where three had crossed"
    tasks += river.send(Load("g"))
    await asyncio.gather(*tasks)
    assert river.crossings[2:] == [["e", "f", "g"]]


async def test_nobody_waits_longer_than_a_moment_for_others() -> None:
    river = River(linger_s=0.01)
    await all_across(river, "abc")
    await river.ferry.cross(Load("d"))
    assert river.crossings[2:] == [["d"]]
    river.ferry._linger_s = 60
    await river.ferry.cross(Load("e"))
    assert river.crossings[3:] == [["e"]], "who crossed alone holds nobody up"


async def test_a_boat_that_left_some_behind_waits_for_as_many_as_were_about() -> None:
    river = River(weight=6, linger_s=60)
    tasks = river.send(Load("a"), Load("b"), Load("c", 5), Load("d", 2))
    await settled()
    river.land()
    await settled()
    assert river.crossings == [["a"], ["b", "c"]], "d stays behind, and three were about"
    tasks += river.send(Load("e"))
    await settled()
    assert river.crossings[2:] == []
    tasks += river.send(Load("f"))
    await asyncio.gather(*tasks)
    assert river.crossings[2:] == [["d", "e", "f"]]


async def test_a_boat_with_no_room_for_one_more_like_the_first_waits_for_nobody() -> None:
    river = River(weight=5, linger_s=60)
    river.land()
    river.ferry._about = 9
    tasks = river.send(Load("a", 2))
    await settled()
    assert river.crossings == []
    tasks += river.send(Load("b", 2))
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert river.crossings == [["a", "b"]]


async def test_a_full_boat_waits_for_nobody() -> None:
    river = River(weight=3, linger_s=60)
    river.land()
    river.ferry._about = 9
    tasks = river.send(Load("a"))
    await settled()
    assert river.crossings == []
    river.ferry._linger_s = 0
    await asyncio.gather(*tasks, *river.send(Load("b", 2), Load("c")))
    assert river.crossings == [["a", "b"], ["c"]]


async def test_who_goes_while_lingering_holds_no_boat() -> None:
    river = River(linger_s=60)
    await all_across(river, "abcd")
    [first, second] = river.send(*map(Load, "ef"))
    await settled()
    first.cancel()
    await settled()
    assert river.crossings[2:] == []
    await asyncio.gather(second, *river.send(*map(Load, "gh")))
    assert river.crossings[2:] == [["f", "g", "h"]]


async def test_a_boat_is_not_overloaded_and_takes_a_key_once() -> None:
    river = River(weight=5)
    tasks = river.send(Load("a"), Load("b", 3), Load("c", 3), Load("d", 1), Load("d", 1))
    await settled()
    river.land()
    await asyncio.gather(*tasks)
    assert river.crossings == [["a"], ["b", "d"], ["c", "d"]]


async def test_a_load_heavier_than_a_boat_goes_all_the_same() -> None:
    river = River(weight=5)
    river.land()
    await river.ferry.cross(Load("a", 50))
    assert river.crossings == [["a"]]


async def test_the_error_of_one_is_not_that_of_the_others() -> None:
    river = River()
    river.broken = {"c"}
    tasks = river.send(*map(Load, "abc"))
    await settled()
    river.land()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Load", "Load", "RuntimeError"]
    assert sorted(river.crossings[2:]) == [["b"], ["c"]]


async def test_an_error_left_with_a_load_is_raised_to_who_sent_it() -> None:
    river = River()
    river.land()
    load = Load("a")
    load.error = ValueError("refused")
    plain = river.carry

    async def refuse(loads: list[Load]) -> None:
        await plain(loads)
        loads[0].error = ValueError("refused")

    river.ferry = Ferry(refuse, 10)
    with pytest.raises(ValueError, match="refused"):
        await river.ferry.cross(load)


async def test_a_crossing_alone_begins_again_after_a_deadlock() -> None:
    river = River()
    river.deadlocks = 2
    river.land()
    await river.ferry.cross(Load("a"))
    assert river.crossings == [["a"]] * 3


async def test_who_goes_while_waiting_is_not_carried_and_holds_no_boat() -> None:
    river = River()
    first, second, third = river.send(*map(Load, "abc"))
    await settled()
    second.cancel()
    river.land()
    await asyncio.gather(first, third)
    assert river.crossings == [["a"], ["c"]]
    await river.ferry.cross(Load("d"))
    assert river.crossings[-1] == ["d"]


async def test_when_the_leader_goes_the_others_cross_alone() -> None:
    river = River()
    first, second, third = river.send(*map(Load, "abc"))
    await settled()
    river.land(1)
    await first
    await settled()
    assert river.crossings[-1] == ["b", "c"]
    second.cancel()
    river.land()
    assert (await third).key == "c"
    await river.ferry.cross(Load("d"))
    assert river.crossings[2:] == [["c"], ["d"]]
