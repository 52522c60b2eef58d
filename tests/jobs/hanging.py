"""A process that begins jobs and never ends one: `python -m tests.jobs.hanging`; with `kill` as an
argument it kills itself at the first.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from service.jobs.kinds import Job, JobKind
from service.jobs.runner import Runner
from service.kit.database import Database, open_pool
from service.kit.settings import Settings


async def hang(job: Job) -> None:
    """Says that the job has begun, and does nothing more."""
    print(job.id, flush=True)
    if "kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


async def main() -> None:
    """Carries jobs out until it is killed."""
    settings = Settings()
    pool = await open_pool(str(settings.database_url), 4)
    runner = Runner(
        (JobKind("test", hang, max_concurrency=1, delay=lambda _: timedelta(0)),),
        Database(pool),
        settings,
        lambda: datetime.now(UTC),
    )
    await runner.run(start_s=0)


if __name__ == "__main__":
    asyncio.run(main())
