"""pgqueuer under our names: its tables are made by a migration, and nothing of its own settings
from the environment counts. Here, in `runner` and in `outcomes` is all that knows the library.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import cast

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel, JobId

from service.kit.database import Connection

CHANNEL = Channel("gridloop_jobs")


@cache
def names() -> DBSettings:
    """The names of its tables, which are those of migration 0032."""
    return DBSettings(
        prefix="",
        db_schema=None,
        channel=CHANNEL,
        function="note_job",
        queue_status_type="job_status",
        queue_table="job",
        queue_table_log="job_log",
        statistics_table="job_statistics",
        schedules_table="job_schedule",
        trigger="job_noted",
        durability=Durability.durable,
    )


def queries(connection: Connection) -> Queries:
    """What the library asks of the database, over one connection."""
    return Queries(
        # Of a pool, it does the same.
        AsyncpgDriver(cast("asyncpg.Connection[asyncpg.Record]", connection)),
        QueryBuilderEnvironment(names()),
        QueryQueueBuilder(names()),
        QuerySchedulerBuilder(names()),
    )


def job_ids(numbers: Sequence[int]) -> list[JobId]:
    """Numbers of jobs as the library takes them."""
    return [JobId(number) for number in numbers]


class _WithoutOurs(logging.Filter):
    """What a job ended in is logged by `runner`, with what the library does not know of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.msg.startswith("Exception while processing")


logging.getLogger("pgqueuer").addFilter(_WithoutOurs())
