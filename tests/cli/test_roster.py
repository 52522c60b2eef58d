"""`gridloop roster …`, `account slips` and what `serve --demo` finds, as an operator sees them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import openpyxl
import pytest
from typer.testing import Result

from service.runtime.postgres import as_role
from simulator.throwaway import ROLES
from tests.commands import run_command
from tests.conftest import cloned
from tests.imports.books import HOUSEHOLDS, book, small

Gridloop = Callable[..., Awaitable[Result]]


@pytest.fixture
async def empty(server: str, empty_template: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs commands over a database without units; and its URL."""
    async with cloned(server, empty_template) as url:
        urls = {
            "DATABASE_URL": as_role(url, ROLES.service),
            "OWNER_DATABASE_URL": as_role(url, ROLES.owner),
        }

        async def run(*arguments: str) -> Result:
            return await run_command(monkeypatch, arguments, urls)

        yield run, url


async def count(url: str, table: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_the_template_is_read_and_its_examples_are_passed_over(
    empty: Any, tmp_path: Path, lang: str
) -> None:
    run, url = empty
    file = tmp_path / "roster.xlsx"
    made = await run("roster", "template", str(file), "--lang", lang)
    assert made.exit_code == 0, made.output
    found = openpyxl.load_workbook(file)
    assert len(found.worksheets) == 5
    assert found.worksheets[2].data_validations.dataValidation
    done = await run("roster", "import", str(file))
    assert done.exit_code == 0, done.output
    assert [await count(url, table) for table in ("unit", "cadre", "household")] == [0, 0, 0]


async def test_a_roster_is_checked_imported_listed_and_taken_back(
    empty: Any, tmp_path: Path
) -> None:
    run, url = empty
    file = tmp_path / "roster.xlsx"
    wrong = {**small(), "农牧户": [HOUSEHOLDS, ["1599", "", "", "1380000000x", "", "", "", ""]]}
    file.write_bytes(book(wrong))
    for options in ([], ["--dry-run"]):
        told = await run("roster", "import", str(file), *options)
        assert told.exit_code == 1
        assert "Nothing was written" in told.output
        assert "1380000000x" not in told.output
    assert await count(url, "unit") == 0
    file.write_bytes(book(small()))
    assert (await run("roster", "import", str(file), "--as", "A1")).exit_code == 1
    assert (await run("roster", "import", str(file))).exit_code == 0
    again = await run("roster", "import", str(file), "--as", "A1")
    assert again.exit_code == 0, again.output
    listed = await run("roster", "imports")
    assert listed.output.count("done") == 2
    connection = await asyncpg.connect(url)
    first = await connection.fetchval(
        "SELECT id::text FROM roster_import WHERE state = 'done' ORDER BY at"
    )
    await connection.close()
    undone = await run("roster", "undo", first)
    assert undone.exit_code == 0, undone.output
    # The last administrator stays, with the city.
    assert "last" in undone.output
    assert (await count(url, "unit"), await count(url, "post")) == (1, 1)


async def test_slips_let_people_choose_their_first_password(empty: Any, tmp_path: Path) -> None:
    run, url = empty
    (tmp_path / "roster.xlsx").write_bytes(book(small()))
    assert (await run("roster", "import", str(tmp_path / "roster.xlsx"))).exit_code == 0
    file = tmp_path / "slips.xlsx"
    made = await run("account", "slips", str(file))
    assert made.exit_code == 0, made.output
    assert file.stat().st_mode & 0o077 == 0
    rows = [*openpyxl.load_workbook(file).active.iter_rows(values_only=True)]  # type: ignore[union-attr]
    slips = {row[3]: row[4] for row in rows[1::3]}
    assert slips.keys() == {"A1", "S1", "W1", "W2"}
    assert await count(url, "one_time_code") == 4
    assert not any(code in made.output for code in slips.values())
    again = await run("account", "slips", str(file), "--unit", "159921100201001")
    assert "1 slips" in again.output
    assert (await run("account", "slips", str(tmp_path / "slips.doc"))).exit_code == 1


async def test_loading_without_demo_makes_nobody_up(empty: Any) -> None:
    run, url = empty
    assert (await run("roster", "load")).exit_code == 0
    assert [await count(url, table) for table in ("unit", "cadre", "post", "household")] == [
        *(584, 0, 0, 0)
    ]


def test_the_demo_is_served_over_an_empty_folder(data_folder: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}
    env |= {"GRIDLOOP_HOUSEHOLDS_PER_GRID": "0", "GRIDLOOP_LOG_LEVEL": "error"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["serve", "--demo", "--data", str(data_folder), "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "service", *command], env=env)
    try:
        form = {"grant_type": "password", "username": "admin", "password": "gridloop-demo"}
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/v1/auth/token", data=form)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.text)["access_token"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
