"""One grid is locked by somebody else while phones of many grids sync: only its own phones wait.

Prints what the phones of the locked grid and the others were answered, and how long it took at
most: with the shorter wait for a lock that a batch has, and without it. Run with `python -m
tests.drills.locked_grid`.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import asyncpg

from migrations.roles import migrate
from service.app import create_app
from service.kit.settings import Settings
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from service.sync import exchange
from simulator.throwaway import ROLES
from tests.conftest import running
from tests.drills.common import (
    CONFIG,
    WANTED_RATIO,
    Phone,
    Report,
    count_kept,
    main,
    p99_ms,
    prepare,
)

GRIDS, PHONES, QUIET_S, LOCKED_S, GIVES_UP_S = 4, 24, 10, 15, 30
SHIPPED_S = exchange.BATCH_LOCK_S


async def live_through(url: str, keys: Path, batch_lock_s: float, report: Report) -> None:
    """Locks a grid under phones, after a quiet while."""
    exchange.BATCH_LOCK_S = batch_lock_s
    settings = Settings(
        database_url=as_role(url, ROLES.service), owner_database_url=url, demo=True, data=keys
    )
    async with running(create_app(settings)) as client:
        connection = await asyncpg.connect(url)
        grids = [
            row["code"]
            for row in await connection.fetch(
                "SELECT code FROM unit WHERE length(code) = 15 ORDER BY code LIMIT $1", GRIDS
            )
        ]
        phones = [
            Phone(client, Counter(), f"W{grids[number % GRIDS]}-1", grids[number % GRIDS], visits=5)
            for number in range(PHONES)
        ]
        for phone in phones:
            await phone.sign_in()
        over = asyncio.Event()
        living = [
            asyncio.create_task(phone.live(over, random.Random(number)))
            for number, phone in enumerate(phones)
        ]
        await asyncio.sleep(QUIET_S)
        locked_at = time.monotonic()
        async with connection.transaction():
            assert await connection.fetchval(
                "SELECT grid FROM counter WHERE grid = $1 FOR UPDATE", grids[0]
            )
            await asyncio.sleep(LOCKED_S)
        freed_at = time.monotonic()
        await asyncio.sleep(3)
        over.set()
        await asyncio.gather(*living)
        await connection.close()
    mode = f"batches wait {batch_lock_s:g} s"
    others = [phone for phone in phones if phone.grid != grids[0]]
    for name, some in (
        ("locked grid", [phone for phone in phones if phone.grid == grids[0]]),
        ("other grids", others),
    ):
        longest = max(took for phone in some for _, took, _ in phone.took)
        report.row(
            f"{mode}: longest answer, {name}",
            f"{longest:.1f} s",
            f"under {GIVES_UP_S} s",
            longest < GIVES_UP_S,
        )
        report.answered(sum((phone.seen for phone in some), Counter()), f"{name}, {mode}")
    quiet = p99_ms(took for phone in others for at, took, _ in phone.took if at < locked_at)
    beside = p99_ms(
        took for phone in others for at, took, _ in phone.took if locked_at <= at < freed_at
    )
    is_shipped = batch_lock_s == SHIPPED_S
    report.row(f"{mode}: p99 of other grids, quiet", f"{quiet:.0f} ms")
    wanted = f"{WANTED_RATIO:g} x quiet at most" if is_shipped else ""
    met = beside <= WANTED_RATIO * quiet or not is_shipped
    report.row(
        f"{mode}: p99 of other grids beside it",
        f"{beside:.0f} ms, {beside / quiet:.1f} x quiet",
        wanted,
        met,
        figure=is_shipped,
    )
    await count_kept(url, report, phones, [])


async def in_database(url: str, name: str, batch_lock_s: float, report: Report) -> None:
    """The same in a database of its own."""
    with tempfile.TemporaryDirectory(prefix="gridloop-drill-") as keys:
        await live_through(
            await fresh_database(url, name, "prepared"), Path(keys), batch_lock_s, report
        )


def drill() -> Report:
    """Both, over one server."""
    report = Report(f"{PHONES} phones, one of {GRIDS} grids locked for {LOCKED_S} s")
    with temporary_folder("gridloop-drill-") as folder, embedded(folder, CONFIG) as url:
        prepared = asyncio.run(fresh_database(url, "prepared"))
        migrate(prepared, ROLES)
        asyncio.run(prepare(prepared))
        for number, batch_lock_s in enumerate((5.0, SHIPPED_S)):
            asyncio.run(in_database(url, f"drill{number}", batch_lock_s, report))
    return report


if __name__ == "__main__":
    main(drill)
