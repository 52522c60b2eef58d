"""Carries imports out while the service runs: whatever was asked for, and what a process began that
was killed.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from service.imports import queries
from service.imports.runs import Busy, Run
from service.kit.database import Database
from service.kit.database_errors import WITHOUT_RIGHTS, WITHOUT_TABLES
from service.kit.encryption import KeyMissing
from service.kit.errors import Problem
from service.kit.settings import Settings

log = logging.getLogger("gridloop")

EVERY_S = 10.0


class Importer:
    """The imports of a process."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def wake(self) -> None:
        """Something was asked for."""
        self._asked.set()

    async def run(
        self, database: Database, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        """Looks for imports now and then, and when something was asked for, for as long as the
        service runs.
        """
        while True:
            try:
                await self.carry_out_all(database, settings, now)
            except (Problem, KeyMissing, WITHOUT_RIGHTS, *WITHOUT_TABLES):
                pass  # the database is down, lacks its tables, rights or its key, and said so
            except Exception:
                log.exception("an import could not go on; it is tried again")
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()

    async def carry_out_all(
        self, database: Database, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        """Carries out what is there, one after the other; files that nobody had applied go."""
        async with database.reading() as connection:
            kept_since = now() - timedelta(hours=settings.import_files_hours)
            await queries.drop_old_files(connection, kept_since)
            rows = await queries.unfinished(connection)
        for row in rows:
            try:
                await Run(database, settings, row["id"], now, gently=True).carry_out()
            except Busy:
                continue  # another process does
            log.info("import %s has ended", row["id"])
