"""`gridloop check` as a process: parts side by side, progress without a terminal, exit codes, and
Ctrl-C.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest

from service.runtime.postgres import as_role
from simulator.places import WAITING_FOR_LOCKS
from simulator.throwaway import ROLES
from tests.conftest import cloned
from tests.world import GRID, until_none

OTHERS = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Database(NamedTuple):
    """A database, and a connection to it, as its superuser."""

    url: str
    connection: asyncpg.Connection


@pytest.fixture
async def many_parts(server: str, template: str) -> AsyncIterator[Database]:
    """A database that is checked in three parts."""
    async with cloned(server, template) as url:
        connection = await asyncpg.connect(url)
        # Heads of grids may lie above what is there; so much of them makes a part.
        await connection.execute(
            "UPDATE counter SET rev = rev + 50000"
            " WHERE grid IN ('150202100200001', '150221104200001', '150221104201001')"
        )
        yield Database(url, connection)
        await connection.close()


async def check_of(database: "Database", *arguments: str) -> asyncio.subprocess.Process:
    """The command, as the service's role."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "check", *arguments),
        env=environment
        | {"GRIDLOOP_DATABASE_URL": as_role(database.url, ROLES.service), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """How it ended, and what it said."""
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_parts_are_checked_and_mended_side_by_side(many_parts: Database) -> None:
    await many_parts.connection.execute(
        "UPDATE household_tally SET households = households + 1 WHERE grid = $1", GRID
    )
    await many_parts.connection.execute(
        "INSERT INTO week_tally (week, grid, visits_1) VALUES ('2026-W01', '150221104201001', 1)"
    )
    code, said = await ended(await check_of(many_parts))
    assert code == 1, said
    assert "parts checked: 3 of 3" in said
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines() if "│" in line]
    assert ["", "household_tally", GRID, "households", "4", "3", ""] in rows, said
    assert any(row[1] == "week_tally" and row[3:6] == ["visits_1", "1", "0"] for row in rows), said
    assert all(text in said for text in ("2 differences were found", "--mend", "共有 2 处差异"))
    code, said = await ended(await check_of(many_parts, "--mend"))
    assert (code, "2 differences were found and mended." in said) == (0, True), said
    assert (
        await many_parts.connection.fetch(
            "SELECT FROM household_tally WHERE households <> 3 AND grid = $1", GRID
        )
        == []
    )
    assert await many_parts.connection.fetch("SELECT FROM week_tally") == []
    lines = await many_parts.connection.fetch(
        "SELECT count FROM audit WHERE action = 'tallies-mended'"
    )
    assert [row["count"] for row in lines] == [1, 1]


@pytest.mark.parametrize(
    ("number", "arguments"), [(signal.SIGINT, ()), (signal.SIGKILL, ("--mend",))]
)
async def test_an_interrupt_ends_a_check_with_a_sentence_and_no_process_of_it_stays(
    many_parts: Database, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    other = await asyncpg.connect(many_parts.url)
    await other.execute("BEGIN; LOCK TABLE week_tally")
    try:
        process = await check_of(many_parts, *arguments)

        async def none_waits() -> list[int]:
            return [] if await many_parts.connection.fetchval(WAITING_FOR_LOCKS) else [1]

        await until_none(none_waits)
        process.send_signal(number)
        code, said = await ended(process)
    finally:
        await other.close()
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert code == 128 + number, said
        assert "Stopped after 0 of 3 parts" in said
        assert "已停止" in said

    async def still_connected() -> list[object]:
        return list(await many_parts.connection.fetch(OTHERS))

    await until_none(still_connected)
