"""Jobs that somebody asks for: how far they are, and what they made, kept encrypted for a day."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from time import monotonic

from service.jobs import queries
from service.kit.database import Database
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.errors import NOT_NOW, Problem
from service.kit.settings import Settings
from sync_protocol.texts import Text

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
# How long something is kept that is done; and what never came to its end.
KEPT = timedelta(days=1)
AT_LONGEST = timedelta(days=7)
PART_BYTES = 1024 * 1024
_TOLD_EVERY_S = 1.0


def part_place(id: str, part: int) -> Place:
    """Where a part of a result is encrypted for."""
    return Place("job_result_part", "body", f"{id}\0{part}")


class Result:
    """What a job tells of its progress, and where it puts what it makes."""

    def __init__(
        self, id: str, database: Database, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self.id = id
        self._database = database
        self._settings = settings
        self._now = now
        self._told = -_TOLD_EVERY_S

    async def progress(self, done: int, total: int) -> None:
        """Tells how far the job has come; at most once a second is it written down."""
        if monotonic() - self._told < _TOLD_EVERY_S and done < total:
            return
        self._told = monotonic()
        async with self._database.transaction(bookkeeping=True) as connection:
            await queries.set_progress(connection, self.id, done, total)

    async def keep(self, name: str, media_type: str, content: AsyncIterator[bytes]) -> None:
        """Keeps a file in place of what an attempt before has left. It is taken in part by part,
        each in a transaction of its own, so that neither memory nor a transaction grows with it.
        Raises `Problem` where what it was made from was erased meanwhile: it is made anew.
        """
        async with self._database.transaction(bookkeeping=True) as connection:
            await queries.delete_parts(connection, self.id)
        size = number = 0
        waiting = bytearray()
        async for piece in content:
            waiting += piece
            while len(waiting) >= PART_BYTES:
                await self._add(number, bytes(waiting[:PART_BYTES]))
                del waiting[:PART_BYTES]
                number, size = number + 1, size + PART_BYTES
        if waiting:
            await self._add(number, bytes(waiting))
            size += len(waiting)
        now = self._now()
        async with self._database.transaction(bookkeeping=True) as connection:
            file = (name, media_type, size)
            if not await queries.finish_result(connection, self.id, file, now, now + KEPT):
                raise _dropped(self.id)

    async def set_state(self, state: str) -> None:
        """Notes that the job begins, waits again, or has failed."""
        async with self._database.transaction(bookkeeping=True) as connection:
            await queries.set_state(connection, self.id, state)

    async def _add(self, number: int, body: bytes) -> None:
        async with self._database.transaction(bookkeeping=True) as connection:
            cipher = await cipher_of(connection, self._settings)
            encrypted = cipher.encrypt_bytes(part_place(self.id, number), body)
            if not await queries.add_part(connection, self.id, number, encrypted):
                raise _dropped(self.id)


def _dropped(id: str) -> Problem:
    return Problem(
        NOT_NOW, Text("The result {id} was dropped, as somebody's data was erased.", id=id)
    )


async def read(database: Database, settings: Settings, id: str) -> AsyncIterator[bytes]:
    """What a job made, part by part; raises `Problem` for a part that cannot be decrypted."""
    number = 0
    while True:
        async with database.reading() as connection:
            stored = await queries.part(connection, id, number)
            cipher = await cipher_of(connection, settings)
        if stored is None:
            return
        body = cipher.decrypt_bytes(part_place(id, number), stored)
        if body is None:
            raise Problem(NOT_NOW, Text("The result {id} cannot be read; ask for it anew.", id=id))
        yield body
        number += 1
