"""Carries what waits together across to the database: who comes while others are on their way goes along with the next crossing.

One by one each would pay for round trips and a commit of its own; in an evening's rush several phones share them. With nobody else about
each crosses alone and at once. In a rush the next crossing lingers for a moment, as databases do before a commit: else the one who happened
to wait would cross alone, just before all the others come back.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from service.database import begin_again


class Load(Protocol):
    """What is carried: `key` of which only one at a time goes in a crossing, and `weight`. `error` is what became of it alone."""

    error: Exception | None

    @property
    def key(self) -> Hashable: ...

    @property
    def weight(self) -> int: ...


LATE_S = 0.5  # several times what a full crossing takes
LINGER_S = 0.006  # about what several requests take to be read

L = TypeVar("L", bound=Load)
_LEAD, _DONE, _ALONE = "lead", "done", "alone"


class Ferry(Generic[L]):
    """`carry` takes loads across and leaves on each what came of it; it must be one transaction or none.

    A crossing takes loads up to `weight` in all, and at least one. The next begins when it is over, or when it is late: then somebody
    else holds what it needs, and who comes after it need not wait for that. The next waits `linger_s` for as many as were about.
    When a crossing of several fails, each is carried alone.
    """

    def __init__(
        self, carry: Callable[[list[L]], Awaitable[None]], weight: int, late_s: float = LATE_S, linger_s: float = LINGER_S
    ) -> None:
        self._carry = carry
        self._weight = weight
        self._late_s = late_s
        self._linger_s = linger_s
        self._about = 0
        self._leading = 0
        self._gathering: asyncio.Future[None] | None = None
        self._is_free = True
        self._waiting: deque[tuple[L, asyncio.Future[str]]] = deque()

    async def cross(self, load: L) -> L:
        """Carries a load, with others or alone, and gives it back; raises its error."""
        if self._is_free:
            self._is_free = False
            turn = _LEAD
        else:
            asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting.append((load, asked))
            if self._gathering is not None and self._are_enough(self._leading):
                _settle(self._gathering)
            turn = await self._turn(asked)
        if turn == _LEAD:
            await self._lead(load)
        elif turn == _ALONE:
            await self._alone(load)
        if load.error is not None:
            raise load.error
        return load

    async def _turn(self, asked: asyncio.Future[str]) -> str:
        try:
            return await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.result() == _LEAD:
                self._pass_on()  # the boat was given to a request that has just gone
            raise

    async def _lead(self, load: L) -> None:
        """Whoever finds the boat takes the others along, in a task that is a request's own."""
        try:
            await self._gather(load)
        except asyncio.CancelledError:
            self._pass_on()
            raise
        others = self._others(load)
        self._about = 1 + len(others) + len(self._waiting)
        outcome = _ALONE
        has_passed = False

        def pass_on() -> None:
            nonlocal has_passed
            if not has_passed:
                has_passed = True
                self._pass_on()

        late = asyncio.get_running_loop().call_later(self._late_s, pass_on)
        try:
            if others:
                try:
                    await self._carry([load, *(other for other, _ in others)])
                    outcome = _DONE
                except Exception:
                    load.error = None
            if not others or outcome == _ALONE:
                await self._alone(load)
        finally:
            for _, asked in others:
                if not asked.done():
                    asked.set_result(outcome)
            late.cancel()
            pass_on()

    async def _gather(self, load: L) -> None:
        """Lets those come who will be there in a moment."""
        if self._linger_s <= 0 or self._gathering is not None or self._are_enough(load.weight):
            return
        self._leading = load.weight
        loop = asyncio.get_running_loop()
        self._gathering = loop.create_future()
        moment = loop.call_later(self._linger_s, _settle, self._gathering)
        try:
            await self._gathering
        finally:
            moment.cancel()
            self._gathering = None

    def _are_enough(self, leading: int) -> bool:
        """Whether as many wait as were about when the last crossing left: as many as crossed would leave small ones small. Or whether one
        more like that which leads would not fit."""
        return 1 + len(self._waiting) >= self._about or 2 * leading + sum(load.weight for load, _ in self._waiting) > self._weight

    async def _alone(self, load: L) -> None:
        async def carry() -> None:
            load.error = None
            await self._carry([load])

        await begin_again(carry)

    def _others(self, load: L) -> list[tuple[L, asyncio.Future[str]]]:
        keys, room = {load.key}, self._weight - load.weight
        taken = []
        stay: deque[tuple[L, asyncio.Future[str]]] = deque()
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
        """Gives the boat to who waits first."""
        while self._waiting:
            _, asked = self._waiting.popleft()
            if not asked.done():
                asked.set_result(_LEAD)
                return
        self._is_free = True


def _settle(gathering: asyncio.Future[None]) -> None:
    if not gathering.done():
        gathering.set_result(None)
