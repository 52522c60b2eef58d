"""What is held and can go through without anybody's decision is tried again: after an upgrade, and
now and then while the service runs.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from service.jobs.kinds import Job, JobKind
from service.kit.database import Connection, Database, retry_on_conflict
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.writes.apply import release
from service.writes.held_queries import HeldRow, Search, lock_open_of_kinds, lock_overdue
from sync_protocol.records import KINDS

log = logging.getLogger("gridloop")

_AT_ONCE = 200


async def release_unknown_kinds(database: Database, settings: Settings, now: datetime) -> int:
    """Releases held mutations of kinds that are known by now (promise 11), in the order in which
    they were written; returns how many went through. Those that still have a flaw stay held, with
    the newest reason.
    """

    async def find(connection: Connection, search: Search, cipher: FieldCipher) -> list[HeldRow]:
        return await lock_open_of_kinds(connection, "kind-unknown", list(KINDS), search, cipher)

    return await _release(database, settings, now, find)


async def release_overdue(database: Database, settings: Settings, now: datetime) -> int:
    """The same for those that wait for a record which is here.

    What comes releases what waits for it. But of a mutation in one grid that is just being held,
    and the record in another that is just being made, neither can see the other.
    """

    return await _release(database, settings, now, lock_overdue)


_Find = Callable[[Connection, Search, FieldCipher], Awaitable[list[HeldRow]]]


async def _release(database: Database, settings: Settings, now: datetime, find: _Find) -> int:
    search = Search(_AT_ONCE)

    async def some() -> tuple[int, int]:
        async with database.transaction() as connection:
            rows = await find(connection, search, await cipher_of(connection, settings))
            verdicts = await release(connection, rows, now, settings)
            return len(rows), sum(verdict.outcome != "held" for verdict in verdicts)

    released = 0
    while True:
        tried, through = await retry_on_conflict(some)
        released += through
        if not tried:
            return released


async def _work(job: Job) -> None:
    released = await release_overdue(job.database, job.settings, job.now())
    if released:
        log.info("%d held mutations went through: what they waited for is here", released)


RELEASE = JobKind("release-held", _work, max_concurrency=1, every="* * * * *")
