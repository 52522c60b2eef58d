"""The limit of exchanges that a process has under way: who takes one of its slots, and who waits
for it.

A slot is taken once the request is here as a whole, so that slow lines take none. A device has
`PER_DEVICE` of them at most, and an account `PER_ACCOUNT`, for it may sign in as many devices as it
likes; what else they send waits for their own, and nobody waits for it. After a large push the
account rests for as long as the push took, several times, while others are about: else one phone
with much to hand in is felt by all the others.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from service.kit import metrics
from service.kit.errors import UNAVAILABLE, Problem
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

PER_DEVICE = 2
WAITING_PER_DEVICE = 6
PER_ACCOUNT = 8
WAITING_PER_ACCOUNT = 24
COME_AGAIN_S = (2, 15)
LARGE = 500  # mutations; what is above that is followed by a rest
RESTS = 8.0  # times what the push took
_MAX_REST_S = 2.0
_ABOUT_S = 1.0  # who exchanged so lately is about
_TOLD_EVERY_S = 10.0
_RESTING = 10_000


class _Full(Exception):
    """So many wait already that nobody else may."""


class _Turns:
    """So many at once of each key; what else comes of it waits for its own, in order."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._may_wait = waiting
        self._under_way: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def are_free(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return not self._under_way and not self._waiting

    def begins(self, key: str) -> bool:
        """Takes a turn if there is one; else `wait` for it."""
        count = self._under_way.get(key, 0)
        if count >= self._at_once:
            return False
        self._under_way[key] = count + 1
        return True

    async def wait(self, key: str) -> None:
        """Waits until another of the key hands on its turn; raises `_Full` when too many wait."""
        waiting = self._waiting.setdefault(key, deque())
        if len(waiting) >= self._may_wait:
            raise _Full
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.hand_on(key)
            raise

    def hand_on(self, key: str) -> None:
        """Hands a turn on to the next of the key."""
        waiting = self._waiting.get(key)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(key, None)
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]


class ConcurrencyLimit:
    """`async with concurrency.slot(device, account)` while an exchange is under way."""

    def __init__(
        self,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._at_once = at_once
        self._clock = clock
        self._sleep = sleep
        # Until when accounts rest.
        self._resting: dict[str, float] = {}
        # Which account exchanged last and when, and when another one did before.
        self._latest = ("", -_ABOUT_S)
        self._other_at = -_ABOUT_S
        self._taken = 0
        self._devices = _Turns(PER_DEVICE, WAITING_PER_DEVICE)
        self._accounts = _Turns(PER_ACCOUNT, WAITING_PER_ACCOUNT)
        self._refused = 0
        self._told = 0.0

    @property
    def is_full(self) -> bool:
        """Whether no further exchange may begin."""
        return self._taken >= self._at_once

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, nor anything kept of what was."""
        return not self._taken and self._devices.are_free and self._accounts.are_free

    def slot(self, device: str, account: str) -> "_Slot":
        """A slot for an exchange of an account's device, to be held by `async with`; raises
        `Problem` when there is none.
        """
        return _Slot(self, device, account)

    async def _enter(self, device: str, account: str) -> None:
        try:
            if not self._devices.begins(device):
                await self._devices.wait(device)
            try:
                if not self._accounts.begins(account):
                    await self._accounts.wait(account)
                try:
                    if account in self._resting:
                        await self._rest(account)
                    if self.is_full:
                        raise _Full
                except BaseException:
                    self._accounts.hand_on(account)
                    raise
            except BaseException:
                self._devices.hand_on(device)
                raise
        except _Full:
            raise retry_later(self.count_refusal()) from None
        self._taken += 1
        former, at = self._latest
        if former != account:
            self._other_at = at
        self._latest = (account, self._clock())

    async def _rest(self, account: str) -> None:
        """Waits until an account has rested; what else it sends meanwhile waits, too."""
        until = self._resting[account]
        left = until - self._clock()
        if left > 0:
            await self._sleep(left)
        if self._resting.get(account) == until:
            del self._resting[account]

    def took(self, account: str, mutations: int, seconds: float) -> None:
        """Notes what a push took; after a large one the account's next exchange begins later, if
        others are about.
        """
        if mutations <= LARGE:
            return
        now = self._clock()
        latest, at = self._latest
        if now - (at if latest != account else self._other_at) < _ABOUT_S + seconds:
            if len(self._resting) >= _RESTING:
                self._resting = {
                    other: until for other, until in self._resting.items() if until > now
                }
            self._resting[account] = max(
                self._resting.get(account, 0.0), now + min(RESTS * seconds, _MAX_REST_S)
            )

    def _leave(self, device: str, account: str) -> None:
        self._taken -= 1
        self._accounts.hand_on(account)
        self._devices.hand_on(device)

    def count_refusal(self) -> int:
        """Counts a refused exchange; the seconds after which to retry, which differ, so that not
        all retry together.
        """
        metrics.shed()
        self._refused += 1
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            log.warning(
                "%d exchanges were asked to come again: %d are under way",
                self._refused,
                self._taken,
            )
            self._told, self._refused = now, 0
        return random.randint(*COME_AGAIN_S)


class _Slot:
    """Holds a slot while it is entered."""

    __slots__ = ("_account", "_concurrency", "_device")

    def __init__(self, concurrency: ConcurrencyLimit, device: str, account: str) -> None:
        self._concurrency = concurrency
        self._device = device
        self._account = account

    async def __aenter__(self) -> None:
        await self._concurrency._enter(self._device, self._account)

    async def __aexit__(self, *_: object) -> None:
        self._concurrency._leave(self._device, self._account)


def retry_later(seconds: int) -> Problem:
    """The answer to a refused exchange: retry later."""
    text = Text(
        "More phones sync just now than the server can serve; try again in {seconds} seconds.",
        seconds=seconds,
    )
    return Problem(UNAVAILABLE, text, {"Retry-After": str(seconds), "Cache-Control": "no-store"})
