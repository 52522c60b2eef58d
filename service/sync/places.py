"""The places in the limit of exchanges that a process has under way: who takes one, and who waits for it.

A place is taken once the request is here as a whole, so that slow lines take none. A device has `PER_DEVICE` of them at most; what else it
sends waits for its own, and nobody waits for it.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service import metrics
from service.errors import UNAVAILABLE, Problem
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

PER_DEVICE = 2
WAITING_PER_DEVICE = 6
COME_AGAIN_S = (2, 15)
_TOLD_EVERY_S = 10.0


class Places:
    """`async with places.taken(device)` while an exchange is under way."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._of_device: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._refused = 0
        self._told = 0.0

    @property
    def is_full(self) -> bool:
        """Whether no further exchange may begin."""
        return self._taken >= self._at_once

    @asynccontextmanager
    async def taken(self, device: str) -> AsyncIterator[None]:
        """Takes a place for an exchange of a device; raises `Problem` when there is none."""
        if self._of_device.get(device, 0) >= PER_DEVICE:
            await self._wait(device)
        else:
            self._of_device[device] = self._of_device.get(device, 0) + 1
        try:
            if self.is_full:
                raise come_again(self.count_refusal())
            self._taken += 1
            try:
                yield
            finally:
                self._taken -= 1
        finally:
            self._leave(device)

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
                self._leave(device)
            raise

    def _leave(self, device: str) -> None:
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


def come_again(seconds: int) -> Problem:
    """The answer to a refused exchange: retry later."""
    text = Text("More phones sync just now than the server can serve; try again in {seconds} seconds.", seconds=seconds)
    return Problem(UNAVAILABLE, text, {"Retry-After": str(seconds), "Cache-Control": "no-store"})
