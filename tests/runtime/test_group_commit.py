"""Group commit: who waits is committed together, and nobody's trouble is another's."""

import asyncio

import asyncpg
import pytest

from service.runtime.group_commit import GroupCommitter, MustGoAlone


class Item:
    def __init__(self, key: str, weight: int = 1) -> None:
        self.key = key
        self.weight = weight
        self.error: Exception | None = None


class Database:
    """Batches that last until they are told to end."""

    def __init__(
        self, max_weight: int = 10, overlap_after_s: float = 60, max_delay_s: float = 0
    ) -> None:
        self.batches: list[list[str]] = []
        self.abandoned: list[Item] = []
        self.ending = asyncio.Semaphore(0)
        self._begun = asyncio.Semaphore(0)
        self.broken: set[str] = set()
        self.held: set[str] = set()
        self.deadlocks = 0
        self.committer: GroupCommitter[Item] = GroupCommitter(
            self.commit_batch, max_weight, overlap_after_s, max_delay_s, self.abandoned.append
        )

    async def commit_batch(self, items: list[Item]) -> None:
        self.batches.append([item.key for item in items])
        self._begun.release()
        await self.ending.acquire()
        if self.deadlocks:
            self.deadlocks -= 1
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        if len(items) > 1:
            for item in items:
                item.error = MustGoAlone() if item.key in self.held else None
        if self.broken & {item.key for item in items}:
            raise RuntimeError("a batch that fails")

    async def under_way(self, batches: int) -> None:
        """Waits for so many more batches to begin."""
        for _ in range(batches):
            await self._begun.acquire()

    def end(self, batches: int = 100) -> None:
        """Lets so many batches come to an end."""
        for _ in range(batches):
            self.ending.release()

    def send(self, *items: Item) -> list[asyncio.Task[Item]]:
        return [asyncio.create_task(self.committer.submit(item)) for item in items]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def all_committed(database: Database, keys: str) -> None:
    """The first alone, the others together."""
    tasks = database.send(*map(Item, keys))
    await settled()
    database.end()
    await asyncio.gather(*tasks)
    assert database.batches == [[keys[0]], [*keys[1:]]]


async def test_one_alone_is_committed_at_once() -> None:
    database = Database()
    database.end()
    item = Item("a")
    assert await database.committer.submit(item) is item
    assert database.batches == [["a"]]


async def test_who_waits_meanwhile_is_committed_together() -> None:
    database = Database()
    tasks = database.send(*map(Item, "abc"))
    await settled()
    assert database.batches == [["a"]]
    database.end()
    await asyncio.gather(*tasks)
    assert database.batches == [["a"], ["b", "c"]]


async def test_who_waits_behind_a_slow_batch_overlaps_with_it() -> None:
    database = Database(overlap_after_s=0.01)
    [late, *tasks] = database.send(*map(Item, "abc"))
    await database.under_way(2)
    assert database.batches == [["a"], ["b", "c"]]
    database.end(2)
    await asyncio.gather(late, *tasks)
    tasks = database.send(*map(Item, "def"))
    await settled()
    assert database.batches[2:] == [["d"]], "the lead was given back twice"
    database.end()
    await asyncio.gather(*tasks)
    assert database.batches[2:] == [["d"], ["e", "f"]]


async def test_after_a_batch_of_several_the_next_waits_for_as_many() -> None:
    database = Database(max_delay_s=60)
    await all_committed(database, "abcd")
    tasks = database.send(*map(Item, "ef"))
    await settled()
    assert database.batches[2:] == [], "two began where three had been"
    tasks += database.send(Item("g"))
    await asyncio.gather(*tasks)
    assert database.batches[2:] == [["e", "f", "g"]]


async def test_nobody_waits_longer_than_a_moment_for_others() -> None:
    database = Database(max_delay_s=0.01)
    await all_committed(database, "abc")
    await database.committer.submit(Item("d"))
    assert database.batches[2:] == [["d"]]
    database.committer.max_delay_s = 60
    await database.committer.submit(Item("e"))
    assert database.batches[3:] == [["e"]], "who was committed alone holds nobody up"


async def test_a_batch_after_one_that_left_some_behind_waits_for_as_many_as_there_were() -> None:
    database = Database(max_weight=6, max_delay_s=60)
    tasks = database.send(Item("a"), Item("b"), Item("c", 5), Item("d", 2))
    await settled()
    database.end()
    await settled()
    assert database.batches == [["a"], ["b", "c"]], "d stays behind, and three were there"
    tasks += database.send(Item("e"))
    await settled()
    assert database.batches[2:] == []
    tasks += database.send(Item("f"))
    await asyncio.gather(*tasks)
    assert database.batches[2:] == [["d", "e", "f"]]


async def test_a_batch_with_no_room_for_one_more_like_the_first_waits_for_nobody() -> None:
    database = Database(max_weight=5, max_delay_s=60)
    await all_committed(database, "wxyz")
    tasks = database.send(Item("a", 2))
    await settled()
    assert database.batches[2:] == []
    tasks += database.send(Item("b", 2))
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert database.batches[2:] == [["a", "b"]]


async def test_a_full_batch_waits_for_nobody() -> None:
    database = Database(max_weight=3, max_delay_s=60)
    await all_committed(database, "wxyz")
    tasks = database.send(Item("a"))
    await settled()
    assert database.batches[2:] == []
    database.committer.max_delay_s = 0
    await asyncio.gather(*tasks, *database.send(Item("b", 2), Item("c")))
    assert database.batches[2:] == [["a", "b"], ["c"]]


async def test_who_goes_during_the_delay_keeps_no_lead() -> None:
    database = Database(max_delay_s=60)
    await all_committed(database, "abcd")
    [first, second] = database.send(*map(Item, "ef"))
    await settled()
    first.cancel()
    await settled()
    assert database.batches[2:] == []
    await asyncio.gather(second, *database.send(*map(Item, "gh")))
    assert database.batches[2:] == [["f", "g", "h"]]


async def test_a_batch_stays_within_its_weight_and_takes_a_key_once() -> None:
    database = Database(max_weight=5)
    tasks = database.send(Item("a"), Item("b", 3), Item("c", 3), Item("d", 1), Item("d", 1))
    await settled()
    database.end()
    await asyncio.gather(*tasks)
    assert database.batches == [["a"], ["b", "d"], ["c", "d"]]


async def test_an_item_heavier_than_a_batch_is_committed_all_the_same() -> None:
    database = Database(max_weight=5)
    database.end()
    await database.committer.submit(Item("a", 50))
    assert database.batches == [["a"]]


async def test_the_error_of_one_is_not_that_of_the_others() -> None:
    database = Database()
    database.broken = {"c"}
    tasks = database.send(*map(Item, "abc"))
    await settled()
    database.end()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Item", "Item", "RuntimeError"]
    assert sorted(database.batches[2:]) == [["b"], ["c"]]


@pytest.mark.parametrize("held", ["b", "c", "bd", "bcd"])
async def test_who_must_go_alone_is_committed_alone_and_holds_nobody_up(held: str) -> None:
    database = Database()
    database.held = {*held}
    tasks = dict(zip("abcd", database.send(*map(Item, "abcd")), strict=True))
    await settled()
    database.end(2)
    await settled()
    assert {key for key, task in tasks.items() if task.done()} == {*"abcd"} - {*held}
    assert database.batches[1] == ["b", "c", "d"]
    assert sorted(database.batches[2:]) == [[key] for key in held]
    database.end()
    assert [item.error for item in await asyncio.gather(*tasks.values())] == [None] * 4


async def test_nobody_of_a_batch_that_failed_waits_for_its_leader() -> None:
    database = Database()
    database.broken = {"b"}
    first, leader, other = database.send(*map(Item, "abc"))
    await settled()
    database.end(2)
    await first
    await settled()
    assert database.batches[1:] == [["b", "c"], ["b"], ["c"]]
    assert not leader.done()
    database.end()
    assert (await other).key == "c"
    assert isinstance((await asyncio.gather(leader, return_exceptions=True))[0], RuntimeError)


async def test_an_error_left_with_an_item_is_raised_to_who_sent_it() -> None:
    database = Database()
    database.end()
    item = Item("a")
    item.error = ValueError("refused")
    plain = database.commit_batch

    async def refuse(items: list[Item]) -> None:
        await plain(items)
        items[0].error = ValueError("refused")

    database.committer = GroupCommitter(refuse, 10)
    with pytest.raises(ValueError, match="refused"):
        await database.committer.submit(item)


async def test_a_batch_of_one_begins_again_after_a_deadlock() -> None:
    database = Database()
    database.deadlocks = 2
    database.end()
    await database.committer.submit(Item("a"))
    assert database.batches == [["a"]] * 3


async def test_who_goes_while_waiting_is_not_committed_and_keeps_no_lead() -> None:
    database = Database()
    first, second, third = database.send(*map(Item, "abc"))
    await settled()
    second.cancel()
    database.end()
    await asyncio.gather(first, third)
    assert database.batches == [["a"], ["c"]]
    await database.committer.submit(Item("d"))
    assert database.batches[-1] == ["d"]


async def test_when_the_leader_goes_the_others_are_committed_alone() -> None:
    database = Database()
    first, second, third = database.send(*map(Item, "abc"))
    await settled()
    database.end(1)
    await first
    await settled()
    assert database.batches[-1] == ["b", "c"]
    second.cancel()
    database.end()
    assert (await third).key == "c"
    await database.committer.submit(Item("d"))
    assert database.batches[2:] == [["c"], ["d"]]


async def test_who_goes_while_others_commit_it_along_is_told_of() -> None:
    database = Database()
    first, second, third, fourth = database.send(*map(Item, "abcd"))
    await settled()
    database.end(1)
    await first
    await settled()
    assert database.batches[-1] == ["b", "c", "d"]
    third.cancel()
    await settled()
    assert [item.key for item in database.abandoned] == ["c"]
    database.end()
    await asyncio.gather(second, fourth)
    later = database.send(*map(Item, "ef"))
    await settled()
    later[1].cancel()
    await settled()
    assert [item.key for item in database.abandoned] == ["c"], "nobody had begun with it"
