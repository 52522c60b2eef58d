"""Commits requests that wait together: who comes while a batch is under way goes into the next one.

One by one each would pay for round trips and a commit of its own; in an evening's rush several
phones share them. With nobody else about each is committed alone and at once. In a rush the next
batch is delayed for a moment, as databases do before a commit: else the one who happened to wait
would be committed alone, just before all the others come back.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from service.kit.database import retry_on_conflict


class BatchItem(Protocol):
    """What is committed: `key` of which only one at a time goes into a batch, and `weight`. `error`
    is what became of it alone.
    """

    error: Exception | None

    @property
    def key(self) -> Hashable: ...

    @property
    def weight(self) -> int: ...


class MustGoAlone(Exception):
    """What `commit_batch` leaves on an item that it did not commit, as the others need not wait for
    what it needs.
    """


OVERLAP_AFTER_S = 0.5  # several times what a full batch takes
MAX_DELAY_S = 0.006  # about what several requests take to be read

Item = TypeVar("Item", bound=BatchItem)
_LEAD, _DONE, _ALONE = "lead", "done", "alone"


class GroupCommitter(Generic[Item]):
    """`commit_batch` commits items and leaves on each what came of it; it must be one transaction
    or none.

    A batch takes items up to `max_weight` in all, and at least one. The next begins when it is
    over, or after `overlap_after_s`: then somebody else holds what it needs, and who comes after it
    need not wait for that. The next waits at most `max_delay_s` for as many as there were. When a
    batch of several fails, each item is committed alone, and so is one on which `commit_batch` left
    `MustGoAlone`. `on_abandoned` is told of an item whose
    request has gone while others committed it along: what becomes of it, it will not know.
    """

    def __init__(
        self,
        commit_batch: Callable[[list[Item]], Awaitable[None]],
        max_weight: int,
        overlap_after_s: float = OVERLAP_AFTER_S,
        max_delay_s: float = MAX_DELAY_S,
        on_abandoned: Callable[[Item], None] = lambda _: None,
    ) -> None:
        self._commit_batch = commit_batch
        self._max_weight = max_weight
        self._overlap_after_s = overlap_after_s
        self.max_delay_s = max_delay_s
        self._on_abandoned = on_abandoned
        # The items of others that are being committed, by identity.
        self._in_batch: set[int] = set()
        self._recent_concurrency = 0
        self._leading_weight = 0
        self._delay: asyncio.Future[None] | None = None
        self._is_free = True
        self._waiting: deque[tuple[Item, asyncio.Future[str]]] = deque()

    async def submit(self, item: Item) -> Item:
        """Commits an item, with others or alone, and gives it back; raises its error."""
        if self._is_free:
            self._is_free = False
            turn = _LEAD
        else:
            asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, asked))
            if self._delay is not None and self._are_enough(self._leading_weight):
                _settle(self._delay)
            turn = await self._turn(item, asked)
        if turn == _LEAD:
            await self._lead(item)
        elif turn == _ALONE:
            await self._commit_alone(item)
        error, item.error = item.error, None
        if error is None:
            return item
        try:
            raise error
        finally:
            # Its traceback holds this frame: neither may hold the other, and the item with it.
            del error

    async def _turn(self, item: Item, asked: asyncio.Future[str]) -> str:
        try:
            return await asked
        except asyncio.CancelledError:
            if id(item) in self._in_batch:
                self._on_abandoned(item)
            if asked.done() and not asked.cancelled() and asked.result() == _LEAD:
                self._pass_on()  # the lead was given to a request that has just gone
            raise

    async def _lead(self, item: Item) -> None:
        """Whoever leads commits the others along, in a task that is a request's own."""
        try:
            await self._wait_for_others(item)
        except asyncio.CancelledError:
            self._pass_on()
            raise
        others = self._others(item)
        along = {id(other) for other, _ in others}
        self._in_batch |= along
        self._recent_concurrency = 1 + len(others) + len(self._waiting)
        outcome = _ALONE
        has_passed = False

        def pass_on() -> None:
            nonlocal has_passed
            if not has_passed:
                has_passed = True
                self._pass_on()

        def tell_others() -> None:
            self._in_batch.difference_update(along)
            for other, asked in others:
                if not asked.done():
                    asked.set_result(_ALONE if _must_go_alone(other) else outcome)

        overlap = asyncio.get_running_loop().call_later(self._overlap_after_s, pass_on)
        try:
            if others:
                try:
                    await self._commit_batch([item, *(other for other, _ in others)])
                    outcome = _DONE
                except Exception:
                    item.error = None
                    # At once: the leading item may be the one that waits for somebody else's lock.
                    tell_others()
                    pass_on()
            if _must_go_alone(item):
                tell_others()
                pass_on()
                outcome = _ALONE
            if not others or outcome == _ALONE:
                await self._commit_alone(item)
        finally:
            tell_others()
            overlap.cancel()
            pass_on()

    async def _wait_for_others(self, item: Item) -> None:
        """Lets those come who will be there in a moment."""
        if self.max_delay_s <= 0 or self._delay is not None or self._are_enough(item.weight):
            return
        self._leading_weight = item.weight
        loop = asyncio.get_running_loop()
        self._delay = loop.create_future()
        moment = loop.call_later(self.max_delay_s, _settle, self._delay)
        try:
            await self._delay
        finally:
            moment.cancel()
            self._delay = None

    def _are_enough(self, leading_weight: int) -> bool:
        """Whether as many wait as there were when the last batch began: as many as were in it would
        leave small ones small. Or whether one more like that which leads would not fit.
        """
        if 1 + len(self._waiting) >= self._recent_concurrency:
            return True
        return 2 * leading_weight + sum(item.weight for item, _ in self._waiting) > self._max_weight

    async def _commit_alone(self, item: Item) -> None:
        async def commit() -> None:
            item.error = None
            await self._commit_batch([item])

        await retry_on_conflict(commit)

    def _others(self, item: Item) -> list[tuple[Item, asyncio.Future[str]]]:
        keys, room = {item.key}, self._max_weight - item.weight
        taken = []
        stay: deque[tuple[Item, asyncio.Future[str]]] = deque()
        while self._waiting:
            other, asked = self._waiting.popleft()
            if asked.done():
                continue  # whoever asked has gone
            if other.key in keys or other.weight > room:
                stay.append((other, asked))
                continue
            keys.add(other.key)
            room -= other.weight
            taken.append((other, asked))
        self._waiting = stay
        return taken

    def _pass_on(self) -> None:
        """Gives the lead to who waits first."""
        while self._waiting:
            _, asked = self._waiting.popleft()
            if not asked.done():
                asked.set_result(_LEAD)
                return
        self._is_free = True


def _must_go_alone(item: BatchItem) -> bool:
    return isinstance(item.error, MustGoAlone)


def _settle(delay: asyncio.Future[None]) -> None:
    if not delay.done():
        delay.set_result(None)
