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


async def test_an_import_that_was_killed_goes_on_where_it_was(
    server: str, empty_template: str, tmp_path: Path
) -> None:
    sheets = small()
    rows = [
        [
            GRID if number % 2 else OTHER_GRID,
            f"N{number}",
            f"户{number}",
            "",
            f"{number}号",
            3,
            "",
            "",
        ]
        for number in range(HOUSES)
    ]
    file = tmp_path / "roster.xlsx"
    file.write_bytes(book({**sheets, "农牧户": [HOUSEHOLDS, *rows]}))
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
        await connection.close()
        undone = command(url, "undo", id)
        output = await asyncio.to_thread(undone.communicate)
        assert undone.returncode == 0, output[0]
        # The last administrator stays, with the city.
        assert f"{HOUSES + 11} changes" in output[0]
        assert await count(url, "SELECT count(*) FROM household WHERE NOT deleted") == 0
        assert await count(url, "SELECT count(*) FROM unit") == 1
