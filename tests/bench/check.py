"""How long `gridloop check` takes over a year of work, and how long it keeps a writer waiting.

`python -m tests.bench.check [--visits 1000000] [--keep FOLDER]`. The writer does what a push does
first and last, every few milliseconds: it locks the counter of a grid, moves it on, and commits.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from service.runtime.postgres import embedded, temporary_folder
from tests.bench.reads import kept, prepare

TARGET_S = 30
_EVERY_S = 0.02


async def write(url: str, done: asyncio.Event, waits: list[float]) -> None:
    """Moves counters on until `done`, and notes how long each transaction took, in seconds."""
    connection = await asyncpg.connect(url)
    grids = [
        row["grid"]
        for row in await connection.fetch(
            "SELECT grid FROM counter WHERE length(grid) = 15 ORDER BY grid"
        )
    ]
    place = 0
    while not done.is_set():
        place += 1
        began = time.perf_counter()
        async with connection.transaction():
            grid = grids[place * 37 % len(grids)]
            await connection.execute("SELECT FROM counter WHERE grid = $1 FOR NO KEY UPDATE", grid)
            await connection.execute("UPDATE counter SET rev = rev + 1 WHERE grid = $1", grid)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(_EVERY_S)
    await connection.close()


async def measure(url: str) -> tuple[float, int, list[float]]:
    """Seconds of a check, its exit code, and those of the writer's transactions meanwhile."""
    done, waits = asyncio.Event(), list[float]()
    writing = asyncio.create_task(write(url, done, waits))
    environment = os.environ | {"GRIDLOOP_DATABASE_URL": url}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "check"), env=environment, stdout=subprocess.DEVNULL
    )
    code = await process.wait()
    took = time.perf_counter() - began
    done.set()
    await writing
    return took, code, waits


def main() -> None:
    """Fills, or takes what an earlier run has filled, and measures three times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=1_000_000)
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of the database server; filled databases in it are used again",
    )
    options = parser.parse_args()
    console = Console()
    table = Table(title=f"gridloop check over {options.visits:,} visits, target {TARGET_S} s")
    for column in ("run", "seconds", "exit code", "writes meanwhile", "longest, ms", "median, ms"):
        table.add_column(column, justify="right")
    good = True
    with temporary_folder("bench") as temporary, embedded(options.keep or temporary) as server:
        url = asyncio.run(kept(server, options.visits)) or asyncio.run(
            prepare(server, options.visits)
        )
        for run in range(1, 4):
            took, code, waits = asyncio.run(measure(url))
            good = good and took <= TARGET_S and code == 0
            ordered = sorted(waits)
            figures = (
                f"{took:.1f}",
                str(code),
                str(len(waits)),
                f"{1000 * ordered[-1]:.0f}",
                f"{1000 * ordered[len(ordered) // 2]:.1f}",
            )
            table.add_row(str(run), *figures)
    console.print(table)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
