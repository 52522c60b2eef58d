"""How signals end a command: in order, so that an embedded PostgreSQL stops with its last user and
no temporary folder stays.

Ctrl-C raises `KeyboardInterrupt`, which every `with` on the way out sees. SIGTERM, from a service
manager, and SIGHUP, when a terminal goes away, would end Python on the spot; here they are taken
for a Ctrl-C.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

log = logging.getLogger("gridloop")

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_HANG_UP = getattr(signal, "SIGHUP", None)
# How long a worker has for its last requests once the first process is gone.
GRACE_S = 10
# How often a task is asked to end, and how long it has each time.
TIMES_ASKED, ENDS_IN_S = 10, 1.0


class Stopped(SystemExit):
    """A signal asked this command to end; where nobody catches it, that is the exit status, as a
    shell counts it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP do what Ctrl-C does, and then end as `Stopped`; a hang-up that was
    ignored, as under nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        # The handler at present: asyncio has one of its own while it runs, which cancels instead of
        # raising in the middle of a callback.
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if _HANG_UP is not None and signal.getsignal(_HANG_UP) is not signal.SIG_IGN:
        # Uvicorn knows SIGTERM: whatever it does then is right now, too.
        before[_HANG_UP] = signal.signal(
            _HANG_UP, lambda _, __: signal.raise_signal(signal.SIGTERM)
        )
    try:
        yield
    except KeyboardInterrupt:
        if asked:
            raise Stopped(asked[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Within, signals wait: for what must not be half done. Then the first one that came takes
    effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


async def end_tasks(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancels tasks until they end: one may take a cancellation for that of a limit of time that
    passed in the same moment, and go on.
    """
    left = set(tasks)
    for _ in range(TIMES_ASKED):
        if not left:
            return
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=ENDS_IN_S)
        for task in ended:
            if not task.cancelled() and task.exception() is not None:
                log.info("a task ended with %r", task.exception())
    log.warning("did not end: %s", ", ".join(task.get_name() for task in left))


def follow_first_process() -> None:
    """In a worker: ends it when the first process tells it to, or is gone; a hang-up is the first
    process's to handle.
    """
    first = multiprocessing.parent_process()
    if first is None:
        return
    if _HANG_UP is not None:
        signal.signal(_HANG_UP, signal.SIG_IGN)
    threading.Thread(
        target=_end_after, args=(first.sentinel,), name="first process", daemon=True
    ).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    log.warning("the first process of the service has ended; this worker ends, too")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)
