"""A process that tells webhooks what happens: `python -m tests.webhooks.telling`."""

import asyncio
from datetime import UTC, datetime

from service.jobs.runner import Runner
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.webhooks.delivering import WEBHOOKS


async def main() -> None:
    """Until it is killed."""
    settings = Settings()
    pool = await open_pool(str(settings.database_url), 4)
    runner = Runner((WEBHOOKS,), Database(pool), settings, lambda: datetime.now(UTC))
    await runner.run(start_s=0)


if __name__ == "__main__":
    asyncio.run(main())
