"""A process that begins a job and never ends it: `python -m tests.jobs.hanging`."""

import asyncio
from datetime import UTC, datetime

from service.jobs.kinds import Job, JobKind
from service.jobs.runner import Runner
from service.kit.database import Database, open_pool
from service.kit.settings import Settings


async def hang(job: Job) -> None:
    """Says that the job has begun, and does nothing more."""
    print(job.id, flush=True)
    await asyncio.Event().wait()


async def main() -> None:
    """Carries jobs out until it is killed."""
    settings = Settings()
    pool = await open_pool(str(settings.database_url), 4)
    runner = Runner(
        (JobKind("test", hang, max_concurrency=1),),
        Database(pool),
        settings,
        lambda: datetime.now(UTC),
    )
    await runner.run(start_s=0)


if __name__ == "__main__":
    asyncio.run(main())
