"""Deadlines that cost next to nothing to set: all of an event loop are looked after by one timer, a
quarter of a second apart.

`asyncio.timeout` sets a timer of the loop for each, and takes it back: for a phone's exchange,
which has two of them and takes a millisecond, that is felt.
"""

import asyncio
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

SWEEP_S = 0.25


class Deadline:
    """`with Deadline(until):` raises `TimeoutError` in place of what is awaited there once the
    loop's time is past `until`.

    `until` may be moved meanwhile; 0 ends it with the next sweep. To be entered once.
    """

    __slots__ = ("_cancelling", "_sweeper", "_task", "has_passed", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.has_passed = False
        self._task: asyncio.Task[Any] | None = None
        self._sweeper: _Sweeper | None = None
        self._cancelling = 0

    def __enter__(self) -> "Deadline":
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a deadline is one of a task"
        self._task, self._cancelling, self._sweeper = task, task.cancelling(), _sweeper_of(loop)
        self._sweeper.add(self, loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._task is not None
        assert self._sweeper is not None
        self._sweeper.discard(self)
        # Another cancellation that came besides goes on, as in asyncio.timeout.
        if (
            self.has_passed
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def pass_now(self) -> None:
        """Ends what is awaited, whatever the time is."""
        if not self.has_passed and self._task is not None:
            self.has_passed = True
            self._task.cancel()


class _Sweeper:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self._deadlines: dict[Deadline, None] = {}
        self._is_armed = False

    def add(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        """Looks after a deadline from now on."""
        self._deadlines[deadline] = None
        if not self._is_armed:
            self._is_armed = True
            loop.call_later(SWEEP_S, self._sweep, loop)

    def discard(self, deadline: Deadline) -> None:
        """Forgets one."""
        self._deadlines.pop(deadline, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [deadline for deadline in self._deadlines if deadline.until <= now]:
            deadline.pass_now()
        self._is_armed = bool(self._deadlines)
        if self._is_armed:
            loop.call_later(SWEEP_S, self._sweep, loop)


_sweepers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sweeper] = WeakKeyDictionary()


def _sweeper_of(loop: asyncio.AbstractEventLoop) -> _Sweeper:
    sweeper = _sweepers.get(loop)
    if sweeper is None:
        sweeper = _sweepers[loop] = _Sweeper()
    return sweeper
