"""What `gridloop check` does: goes through the parts of the database, several side by side, each in
a process of its own.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

import asyncpg

from service.audit.audit_log import record_operator
from service.kit.database import Connection
from service.kit.database_limits import UNLIMITED
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.runtime.stopping import follow_first_process
from service.tallies import recount
from service.tallies.recount import Difference, Progress
from service.tallies.recount_part import Part

T = TypeVar("T")
_SIDE_BY_SIDE = 4


class Checked:
    """How far a check has come: `found` are the differences of the `done` of `parts` parts, mended
    if that was asked for.
    """

    def __init__(self) -> None:
        self.done = 0
        self.parts = 0
        self.found: list[Difference] = []


def go_through(settings: Settings, mend: bool, checked: Checked, progress: Progress) -> None:
    """Checks every part, and mends what differs if asked to; tells `progress` how many of how many
    are done.

    An interrupt ends it at once; what was mended until then stays, and of a part that was under way
    nothing.
    """
    parts = asyncio.run(_parts(settings))
    checked.parts = len(parts)
    progress(0, len(parts))
    for found in _each(settings, mend, parts):
        checked.done += 1
        checked.found += found
        progress(checked.done, checked.parts)
    checked.found.sort(key=lambda item: (item.what, item.key))


def _each(settings: Settings, mend: bool, parts: list[Part]) -> Iterator[list[Difference]]:
    """What was found in each part, in the order in which they are done."""
    count = min(
        len(parts),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        _SIDE_BY_SIDE,
    )
    if count == 1:
        for part in parts:
            yield asyncio.run(_one(settings, mend, part))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _begin) as pool:
        futures: list[Future[list[Difference]]] = [
            pool.submit(_in_process, settings, mend, part) for part in parts
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin() -> None:
    """In a process of the check: who is at the terminal speaks to the first process, and this one
    ends with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    follow_first_process()
    # Nothing here refers to itself; to look for that again and again would take a third of the
    # time.
    gc.disable()


def _in_process(settings: Settings, mend: bool, part: Part) -> list[Difference]:
    found = asyncio.run(_one(settings, mend, part))
    for item in found:
        item.row = item.wanted = None  # what mends a row is of no use outside
    return found


async def _parts(settings: Settings) -> list[Part]:
    return await _connected(settings, recount.parts_of)


async def _one(settings: Settings, mend: bool, part: Part) -> list[Difference]:
    async def look(connection: Connection) -> list[Difference]:
        found = await recount.check(connection, settings, part)
        return await recount.mend(connection, settings, part, _note) if found and mend else found

    return await _connected(settings, look)


async def _note(connection: Connection, count: int) -> None:
    await record_operator(connection, utc_now(), "tallies-mended", "tallies", count)


async def _connected(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    connection = await asyncpg.connect(
        str(settings.database_url),
        timeout=10,
        server_settings={"timezone": "UTC", **UNLIMITED.server_settings()},
    )
    try:
        return await work(connection)
    finally:
        await connection.close()
