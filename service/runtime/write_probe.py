"""Whether the database takes writes: reads go on when its disk is full or it is a standby, so
a service process tries a small write now and then, and `/readyz` when it is asked.
"""

import asyncio
import logging
import time
from datetime import datetime

from sqlalchemy import Column, DateTime
from sqlmodel import Field, SQLModel

from service.kit import metrics
from service.kit.database import Database, committing
from service.kit.database_errors import fault_of
from service.kit.errors import Problem, unavailable

log = logging.getLogger("gridloop")

EVERY_S = 3.0
# How often a process tries it by itself, so that the figure is true where nobody asks `/readyz`.
BY_ITSELF_S = 15.0
# How long the start of a process waits for the first.
START_S = 1.0
# Who asks `/readyz` waits for a few seconds only.
_LONGEST_S = 5.0
LIMITS = (
    "SELECT set_config('work_mem', '64kB', true), set_config('lock_timeout', '2s', true),"
    " set_config('statement_timeout', '4s', true)"
)
# Of more than `work_mem`, so that it goes through a temporary file of half a megabyte: on a full
# disk it has no room, where the update of a row may still find some in its page.
_NEEDS_ROOM = "SELECT count(*) FROM generate_series(1, 30000)"
# Committed, for only then the log is written.
_WRITES = "UPDATE write_probe SET at = now()"


class ProbedRow(SQLModel, table=True):
    """One row: when it was last written."""

    __tablename__ = "write_probe"

    one: bool = Field(default=True, primary_key=True)
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class WriteProbe:
    """The probe of a process. All who ask within `every_s` seconds share one write; what it finds
    is logged when it changes.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._probed = -every_s
        self._error: Exception | None = None
        self._was_good = True
        self._probing = asyncio.Lock()

    async def check(self, database: Database) -> None:
        """Raises `Problem` while the database takes no writes."""
        async with self._probing:
            await self._probe_if_due(database)
        error = self._error
        if error is None:
            return
        fault = fault_of(error)
        raise error if fault is None else unavailable(fault, error)

    async def run(self, database: Database) -> None:
        """Tries it now and then, until it is cancelled."""
        while True:
            await asyncio.sleep(BY_ITSELF_S)
            await self.look(database)

    async def begin(self, database: Database) -> "asyncio.Task[None]":
        """Tries it for the first time. A start waits for that only for a moment: over a database
        that hangs the task goes on beside it.
        """
        first = asyncio.create_task(self.look(database))
        await asyncio.wait({first}, timeout=START_S)
        return first

    async def look(self, database: Database) -> None:
        """Tries it, unless that was done a moment ago; what it finds is in the figures and the
        log.
        """
        async with self._probing:
            await self._probe_if_due(database)

    def failed(self, error: Exception) -> None:
        """Notes that the database could not even be read, so that there was no write to try; the
        next who asks tries one.
        """
        self._note(error)
        self._probed = -self._every_s

    async def _probe_if_due(self, database: Database) -> None:
        if time.monotonic() - self._probed >= self._every_s:
            self._error = await self._probe(database)
            self._probed = time.monotonic()

    async def _probe(self, database: Database) -> Exception | None:
        try:
            async with (
                asyncio.timeout(_LONGEST_S),
                database.reading() as connection,
                committing(connection, []),
            ):
                await connection.execute(LIMITS)
                await connection.fetchval(_NEEDS_ROOM)
                await connection.execute(_WRITES)
        except Exception as error:  # whatever it was: no write went through
            return self._note(error)
        metrics.writable.set(1)
        if not self._was_good:
            log.info("the database takes writes again")
        self._was_good = True
        return None

    def _note(self, error: Exception) -> Exception:
        """Says and counts that no write goes through; returns what stands behind it."""
        cause = (
            error.__cause__
            if isinstance(error, Problem) and isinstance(error.__cause__, Exception)
            else error
        )
        fault = fault_of(cause)
        name = fault.name if fault else "internal"
        metrics.write_probe_failures.labels(name).inc()
        metrics.writable.set(0)
        if self._was_good:
            log.error(
                "the database takes no writes: %s (%r); /readyz answers no 200 until it does",
                name,
                cause,
            )
        self._was_good = False
        return cause
