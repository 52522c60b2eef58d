"""The numbers of jobs at `/metrics`."""

import asyncio
import logging

from service.jobs import queries
from service.kit import metrics
from service.kit.database import Database
from service.kit.errors import Problem

log = logging.getLogger("gridloop")

# Who asks for figures is not kept waiting by a database that is slow or down.
LONGEST_S = 2.0
STATES = ("waiting", "later", "running", "failed")


class Figures:
    """Reads them when figures are asked for; a kind that is gone from the queue counts as 0."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    async def note(self, database: Database) -> None:
        """Sets the gauges; those from before stay while the database cannot be asked."""
        try:
            async with asyncio.timeout(LONGEST_S), database.reading() as connection:
                rows = {row["kind"]: row for row in await queries.numbers(connection)}
        except Problem:
            return  # the database is down, and said so
        except Exception as error:  # whatever it is, the other figures are asked for
            log.warning("the numbers of jobs could not be read: %r", error)
            return
        self._known |= rows.keys()
        for kind in self._known:
            row = rows.get(kind)
            for state in STATES:
                metrics.jobs.labels(kind, state).set(row[state] if row else 0)
            metrics.jobs_oldest.labels(kind).set(row["oldest_s"] if row else 0)
