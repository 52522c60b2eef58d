"""A real process that is killed in the middle of an import, and others that go on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from service.runtime.postgres import as_role
from simulator.throwaway import ROLES
from tests.conftest import cloned
from tests.imports.books import GRID, HOUSEHOLDS, OTHER_GRID, book, small

HOUSES = 3_000


def command(url: str, *arguments: str) -> "subprocess.Popen[str]":
    """`gridloop roster …` over a database."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_D")}
    env |= {"GRIDLOOP_DATABASE_URL": as_role(url, ROLES.service), "LANG": "C.UTF-8"}
    return subprocess.Popen(
        [sys.executable, "-m", "service", "roster", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def count(url: str, sql: str = "SELECT count(*) FROM household") -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()


def many_in(file: Path) -> Path:
    """A city with many households in two grids, in a file."""
    rows = [
        [GRID if n % 2 else OTHER_GRID, f"N{n}", f"户{n}", "", f"{n}号", 3, "", ""]
        for n in range(HOUSES)
    ]
    file.write_bytes(book({**small(), "农牧户": [HOUSEHOLDS, *rows]}))
    return file


async def stopped_when(url: str, file: Path, sql: str) -> str:
    """What an import says that is interrupted as soon as a count is not 0 any more."""
    process = command(url, "import", str(file))
    deadline = time.monotonic() + 60
    while not await count(url, sql):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output = await asyncio.to_thread(process.communicate)
    assert process.returncode == 130, output[0]
    return " ".join(output[0].split())


async def test_who_interrupts_an_import_is_told_what_becomes_of_it(
    server: str, empty_template: str, tmp_path: Path
) -> None:
    file, other = many_in(tmp_path / "roster.xlsx"), tmp_path / "other.xlsx"
    other.write_bytes(book(small()))
    checking = "SELECT count(*) FROM roster_import WHERE state = 'checking'"
    async with cloned(server, empty_template) as url:
        said = await stopped_when(url, file, checking)
        assert "was stopped before anything was written" in said
        ended = "SELECT count(*) FROM roster_import WHERE state = 'failed'"
        assert (await count(url, ended), await count(url, "SELECT count(*) FROM unit")) == (1, 0)
        said = await stopped_when(url, file, "SELECT count(*) FROM household")
        assert "was stopped while it was written" in said
        written = await count(url)
        assert 0 < written < HOUSES
        # A trial writes nothing, not even what another import has begun.
        trial = command(url, "import", "--dry-run", str(other))
        output = await asyncio.to_thread(trial.communicate)
        assert "leaves it as it is" in " ".join(output[0].split())
        assert await count(url) == written
        assert trial.returncode == 0, output[0]


async def test_an_import_that_was_killed_goes_on_where_it_was(
    server: str, empty_template: str, tmp_path: Path
) -> None:
    file = many_in(tmp_path / "roster.xlsx")
    async with cloned(server, empty_template) as url:
        process = command(url, "import", str(file))
        deadline = time.monotonic() + 60
        while not 0 < await count(url) < HOUSES:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 0 < await count(url) < HOUSES
        # The same command finishes what was begun, and then finds nothing to do.
        again = command(url, "import", str(file))
        output = await asyncio.to_thread(again.communicate)
        assert again.returncode == 0, output[0]
        assert "was interrupted" in output[0]
        assert await count(url) == HOUSES
        assert await count(url, "SELECT count(DISTINCT head_name) FROM household") == HOUSES
        ids = "SELECT count(DISTINCT import) FROM import_effect"
        assert await count(url, ids) == 1
        assert await count(url, "SELECT count(*) FROM import_effect") == HOUSES + 14
        states = "SELECT count(*) FROM roster_import WHERE state = 'done'"
        assert await count(url, states) == 2
        first = "SELECT id::text FROM roster_import ORDER BY at LIMIT 1"
        connection = await asyncpg.connect(url)
        id = await connection.fetchval(first)
        # As one is found that was interrupted while it was taken back.
        await connection.execute(
            "UPDATE roster_import SET state = 'undoing' WHERE id::text = $1", id
        )
        await connection.close()
        undone = command(url, "undo", id)
        output = await asyncio.to_thread(undone.communicate)
        assert undone.returncode == 0, output[0]
        # The last administrator stays, with the city.
        assert f"{HOUSES + 11} changes" in output[0]
        assert await count(url, "SELECT count(*) FROM household WHERE NOT deleted") == 0
        assert await count(url, "SELECT count(*) FROM unit") == 1
