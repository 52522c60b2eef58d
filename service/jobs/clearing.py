"""Clears results whose time is over, the old log of jobs, and failures that came again."""

from service.jobs import queries
from service.jobs.kinds import Job, JobKind

LOG_DAYS = 7
_AT_ONCE = 100
_LINES_AT_ONCE = 10_000


async def _clear(job: Job) -> None:
    async with job.database.transaction(bookkeeping=True) as connection:
        await queries.drop_repeated(connection)
    while True:
        async with job.database.transaction(bookkeeping=True) as connection:
            ids = await queries.expired(connection, job.now(), _AT_ONCE)
        for id in ids:
            async with job.database.transaction(bookkeeping=True) as connection:
                await queries.delete_result(connection, id)
        async with job.database.transaction(bookkeeping=True) as connection:
            lines = await queries.clear_log(connection, LOG_DAYS, _LINES_AT_ONCE)
        if len(ids) < _AT_ONCE and lines < _LINES_AT_ONCE:
            return


CLEAR = JobKind("clear-jobs", _clear, max_concurrency=1, every="17 * * * *")
