"""Data folders of any name: the service starts in them, phones sync, it ends, and a second start
finds what was handed in.

Run with `python -m tests.drills.data_paths`.
"""

import asyncio
import time
from pathlib import Path

import asyncpg
import httpx

from service.runtime.postgres import embedded, temporary_folder
from sync_protocol.moments import moment_at
from tests.drills.common import Report, main
from tests.stress.test_kills import Service, a_phone, now_ms
from tests.world import GRID

NAMES = ("with spaces  two", "plus+plus %20 %d", "网格 数据", "quote'and\"$HOME`x`;a&b|c")


async def lived_in(folder: Path) -> tuple[float, int]:
    """Seconds from nothing to a sync, and how many visits a second start finds."""
    service = Service(folder, workers=1)
    began = time.monotonic()
    await asyncio.to_thread(service.load_roster)
    service.start()
    try:
        await service.ready()
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            phone = a_phone(client, folder.parent, 0)
            try:
                phone.put(
                    "visit", {"visited_at": moment_at(now_ms()), "content": "走访"}, grid=GRID
                )
                await phone.sync()
                took = time.monotonic() - began
            finally:
                phone.store.close()
                phone_file = folder.parent / "phone0.sqlite3"
                for left in folder.parent.glob(phone_file.name + "*"):
                    left.unlink()
    finally:
        await asyncio.to_thread(service.stop)
    return took, await kept(folder)


async def kept(folder: Path) -> int:
    """The visits that a second start finds."""
    context = embedded(folder)
    url = await asyncio.to_thread(context.__enter__)
    try:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM visit"))
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def drill() -> Report:
    """The drill."""
    report = Report("Data folders of any name")
    good = 0
    for name in NAMES:
        with temporary_folder("gridloop-drill-") as parent:
            folder = parent / name
            folder.mkdir()
            folder.chmod(0o711)
            took, visits = asyncio.run(lived_in(folder))
            good += visits == 1
            report.row(
                f"{name!r}",
                f"first sync after {took:.1f} s, visits at the second start: {visits}",
                "1",
                visits == 1,
            )
    report.row("names", f"{good} of {len(NAMES)}", "all", good == len(NAMES), figure=True)
    return report


if __name__ == "__main__":
    main(drill)
