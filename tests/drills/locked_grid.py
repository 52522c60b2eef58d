"""One grid is locked by somebody else while phones of many grids sync: only its own phones wait.

Prints what the phones of the locked grid and the others were answered, and how long it took at most: with the shorter wait for a lock
that a batch has, and without it. Run with `python -m tests.drills.locked_grid`.
"""

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

import asyncpg
import httpx

from migrations.roles import migrate
from service.app import create_app
from service.postgres import as_role, embedded, fresh_database, temporary_folder
from service.settings import Settings
from service.sync import exchange
from tests.conftest import running
from tests.drills.disk_full import CONFIG, ROLES, Phone, prepare

GRIDS, PHONES, LOCKED_S, GIVES_UP_S = 4, 24, 20, 30


class Measured(Phone):
    """A phone of one grid that counts its answers and the longest it waited for one."""

    def __init__(self, client: httpx.AsyncClient, grid: str) -> None:
        super().__init__(client, Counter(), f"W{grid}-1", grid, visits=5)
        self.longest = 0.0

    async def live(self, over: asyncio.Event, rng: random.Random) -> None:
        """Pushes now and then until all is over."""
        loop = asyncio.get_running_loop()
        while not over.is_set():
            began = loop.time()
            await self.push_once()
            self.longest = max(self.longest, loop.time() - began)
            await asyncio.sleep(rng.uniform(0.05, 0.3))


async def live_through(url: str, keys: Path, batch_lock_s: float) -> None:
    """Locks a grid under phones, and prints what they saw."""
    exchange.BATCH_LOCK_S = batch_lock_s
    settings = Settings(database_url=as_role(url, ROLES.service), owner_database_url=url, demo=True, data=keys)
    async with running(create_app(settings)) as client:
        connection = await asyncpg.connect(url)
        grids = [
            row["code"] for row in await connection.fetch("SELECT code FROM unit WHERE length(code) = 15 ORDER BY code LIMIT $1", GRIDS)
        ]
        phones = [Measured(client, grids[number % GRIDS]) for number in range(PHONES)]
        for phone in phones:
            await phone.sign_in()
        over = asyncio.Event()
        living = [asyncio.create_task(phone.live(over, random.Random(number))) for number, phone in enumerate(phones)]
        await asyncio.sleep(2)
        async with connection.transaction():
            assert await connection.fetchval("SELECT grid FROM counter WHERE grid = $1 FOR UPDATE", grids[0])
            await asyncio.sleep(LOCKED_S)
        await asyncio.sleep(3)
        over.set()
        await asyncio.gather(*living)
        kept = await connection.fetchval("SELECT count(*) FROM mutation")
        await connection.close()
    print(f"\nbatches wait {batch_lock_s:g} s for a lock; {PHONES} phones, one of {GRIDS} grids locked for {LOCKED_S} s")
    for name, some in (
        ("locked grid", [p for p in phones if p.grid == grids[0]]),
        ("other grids", [p for p in phones if p.grid != grids[0]]),
    ):
        seen = sum((phone.seen for phone in some), Counter())
        longest = max(phone.longest for phone in some)
        assert longest < GIVES_UP_S
        print(f"  {name}: the longest answer took {longest:.1f} s")
        for line, count in sorted(seen.items()):
            print(f"    {count:>6}  {line}")
    acknowledged = sum(phone.acked for phone in phones)
    print(f"  {acknowledged} mutations acknowledged, {kept} kept")
    assert acknowledged == kept


async def in_database(url: str, name: str, batch_lock_s: float) -> None:
    """The same in a database of its own."""
    with tempfile.TemporaryDirectory(prefix="gridloop-drill-") as keys:
        await live_through(await fresh_database(url, name, "prepared"), Path(keys), batch_lock_s)


def main() -> None:
    """Both, over one server."""
    with temporary_folder("gridloop-drill-") as folder, embedded(folder, CONFIG) as url:
        prepared = asyncio.run(fresh_database(url, "prepared"))
        migrate(prepared, ROLES)
        asyncio.run(prepare(prepared))
        for number, batch_lock_s in enumerate((5.0, 1.0)):
            asyncio.run(in_database(url, f"drill{number}", batch_lock_s))


if __name__ == "__main__":
    main()
