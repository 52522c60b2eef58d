"""`gridloop purge` as a job: each night the service clears what was kept for its time."""

import logging

from service.audit.audit_log import record
from service.jobs.kinds import Job, JobKind
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.privacy.purge import TRAIL_KEPT, purge
from service.runtime.tables import refuse_too_new
from service.writes import timelines

log = logging.getLogger("gridloop")

_BY = "purge"
_UTC_FROM_SHANGHAI = -8


async def _purge(job: Job) -> None:
    # Its statements may take longer than those that somebody waits for.
    pool = await open_pool(str(job.settings.database_url), 2, init=timelines.note_timeline)
    try:
        database = Database(pool, look_first=refuse_too_new)
        report = await purge(database, job.settings, job.now())
        async with database.transaction() as connection:
            for what, _, count in report:
                if count:
                    await record(connection, job.now(), _BY, "purged", [str(what)], count)
    finally:
        await pool.close()
    if any(what == TRAIL_KEPT for what, _, _ in report):
        log.info("old lines of the trail stay until ‘gridloop purge’ runs as the tables' owner")


def purge_job(settings: Settings) -> JobKind:
    """The kind of job, by the hour of the settings."""
    hour = settings.purge_hour
    every = None if hour < 0 else f"23 {(hour + _UTC_FROM_SHANGHAI) % 24} * * *"
    return JobKind("purge", _purge, attempts=3, max_concurrency=1, every=every)
