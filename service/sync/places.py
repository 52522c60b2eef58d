"""The places in the limit of exchanges that a process has under way: who takes one, and who waits for it.

A place is taken once the request is here as a whole, so that slow lines take none. A device has `PER_DEVICE` of them at most; what else it
sends waits for its own, and nobody waits for it. After a large push it rests for as long as the push took, several times, while others
are about: else one phone with much to hand in is felt by all the others.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from service import metrics
from service.errors import UNAVAILABLE, Problem
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

PER_DEVICE = 2
WAITING_PER_DEVICE = 6
COME_AGAIN_S = (2, 15)
LARGE = 500  # mutations; what is above that is followed by a rest
RESTS = 8.0  # times what the push took
_MAX_REST_S = 2.0
_ABOUT_S = 1.0  # who exchanged so lately is about
_TOLD_EVERY_S = 10.0
_RESTING = 10_000


class Places:
    """`async with places.taken(device)` while an exchange is under way."""

    def __init__(
        self,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._at_once = at_once
        self._clock = clock
        self._sleep = sleep
        self._resting: dict[str, float] = {}
        # Who exchanged last and when, and when somebody else did before.
        self._latest = ("", -_ABOUT_S)
        self._other_at = -_ABOUT_S
        self._taken = 0
        self._of_device: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._refused = 0
        self._told = 0.0

    @property
    def is_full(self) -> bool:
        """Whether no further exchange may begin."""
        return self._taken >= self._at_once

    def taken(self, device: str) -> "_Place":
        """A place for an exchange of a device, to be held by `async with`; raises `Problem` when there is none."""
        return _Place(self, device)

    async def _enter(self, device: str) -> None:
        if self._of_device.get(device, 0) >= PER_DEVICE:
            await self._wait(device)
        else:
            self._of_device[device] = self._of_device.get(device, 0) + 1
        if device in self._resting:
            await self._rest(device)
        if self.is_full:
            self._hand_on(device)
            raise come_again(self.count_refusal())
        self._taken += 1
        former, at = self._latest
        if former != device:
            self._other_at = at
        self._latest = (device, self._clock())

    async def _rest(self, device: str) -> None:
        try:
            await self._sleep(self._resting.pop(device) - self._clock())
        except BaseException:
            self._hand_on(device)
            raise

    def took(self, device: str, mutations: int, seconds: float) -> None:
        """Notes what a push took; after a large one the device's next exchange begins later, if others are about."""
        if mutations <= LARGE:
            return
        now = self._clock()
        latest, at = self._latest
        if now - (at if latest != device else self._other_at) < _ABOUT_S + seconds:
            if len(self._resting) >= _RESTING:
                self._resting.clear()
            self._resting[device] = now + min(RESTS * seconds, _MAX_REST_S)

    def _leave(self, device: str) -> None:
        self._taken -= 1
        self._hand_on(device)

    def count_refusal(self) -> int:
        """Counts a refused exchange; the seconds after which to retry, which differ, so that not all retry together."""
        metrics.sent_away.inc()
        self._refused += 1
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            log.warning("%d exchanges were asked to come again: %d are under way", self._refused, self._taken)
            self._told, self._refused = now, 0
        return random.randint(*COME_AGAIN_S)

    async def _wait(self, device: str) -> None:
        """Waits until another exchange of the device hands on its turn."""
        waiting = self._waiting.setdefault(device, deque())
        if len(waiting) >= WAITING_PER_DEVICE:
            raise come_again(self.count_refusal())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._hand_on(device)
            raise

    def _hand_on(self, device: str) -> None:
        """Hands a device's turn on to its next exchange."""
        waiting = self._waiting.get(device)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(device, None)
        self._of_device[device] -= 1
        if not self._of_device[device]:
            del self._of_device[device]


class _Place:
    """Holds a place while it is entered."""

    __slots__ = ("_device", "_places")

    def __init__(self, places: Places, device: str) -> None:
        self._places = places
        self._device = device

    async def __aenter__(self) -> None:
        await self._places._enter(self._device)

    async def __aexit__(self, *_: object) -> None:
        self._places._leave(self._device)


def come_again(seconds: int) -> Problem:
    """The answer to a refused exchange: retry later."""
    text = Text("More phones sync just now than the server can serve; try again in {seconds} seconds.", seconds=seconds)
    return Problem(UNAVAILABLE, text, {"Retry-After": str(seconds), "Cache-Control": "no-store"})
