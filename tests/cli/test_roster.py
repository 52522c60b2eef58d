"""`gridloop roster …`, `account slips` and what `serve --demo` finds, as an operator sees them."""

import csv
import json
import os
import re
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
import pypdfium2  # type: ignore[import-untyped]
import pytest
from typer.testing import Result

from service.runtime.postgres import as_role
from simulator.throwaway import ROLES
from tests.commands import run_command
from tests.conftest import cloned
from tests.imports.books import GRID, HOUSEHOLDS, book, small

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
    assert len(found.worksheets) == 6
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
    assert {row[0] for row in rows[1::3]} >= {"某旗 某镇 某村", "某旗 某镇 某村 第1网格", "某市"}
    again = await run("account", "slips", str(file), "--unit", "159921100201001")
    assert "so many: 1." in again.output
    for arguments, code in (
        ([str(tmp_path / "slips.doc")], 2),
        ([str(file), "--unit", "159921999"], 1),
        ([str(tmp_path / "slips.pdf"), "--font", str(tmp_path / "roster.xlsx")], 2),
    ):
        refused = await run("account", "slips", *arguments)
        assert refused.exit_code == code, refused.output
    assert await count(url, "one_time_code") == 4


async def test_slips_are_pages_to_cut_with_the_codes_by_which_people_get_in(
    empty: Any, tmp_path: Path
) -> None:
    run, url = empty
    (tmp_path / "roster.xlsx").write_bytes(book(small()))
    assert (await run("roster", "import", str(tmp_path / "roster.xlsx"))).exit_code == 0
    file = tmp_path / "slips.pdf"
    made = await run("account", "slips", str(file))
    assert made.exit_code == 0, made.output
    assert file.stat().st_mode & 0o077 == 0
    pages = pypdfium2.PdfDocument(file)
    assert len(pages) == 1
    assert [round(size) for size in pages[0].get_size()] == [595, 842]
    text = pages[0].get_textpage().get_text_range()
    for part in ("王建国", "李秀英", "乌兰", "W1", "W2", "S1", "A1", "某旗 某镇 某村", "忘记密码"):
        assert part in text, (part, text)
    codes = re.findall(r"Code: ([A-Z0-9-]{8,})", text)
    assert len({*codes}) == 4
    connection = await asyncpg.connect(url)
    kept = await connection.fetchval("SELECT count(*) FROM one_time_code")
    await connection.close()
    assert kept == 4
    assert not any(code in made.output for code in codes)


@pytest.mark.parametrize(("columns", "suffix"), [("60", "csv"), ("160", "xlsx")])
async def test_all_faults_are_written_into_a_file_and_the_first_shown_in_any_width(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str, suffix: str
) -> None:
    run, _ = empty
    monkeypatch.setenv("COLUMNS", columns)
    wrong = [[GRID, f"H{n}", f"户主{n}", f"电话{n}", f"{n}号", "", "", ""] for n in range(1_100)]
    file = tmp_path / "roster.xlsx"
    file.write_bytes(book({**small(), "农牧户": [HOUSEHOLDS, *wrong]}))
    report = tmp_path / f"faults.{suffix}"
    told = await run("roster", "import", str(file), "--dry-run", "--report", str(report))
    assert told.exit_code == 1, told.output
    assert "All faults are in" in told.output
    assert "This is no telephone number." in told.output.replace("\n", "")
    assert "Units: new 6" in told.output
    assert "row 2: 1599" in told.output
    if suffix == "csv":
        rows = [*csv.reader(report.read_text(encoding="utf-8-sig").splitlines())]
    else:
        sheet = openpyxl.load_workbook(report).active
        rows = [[str(v) for v in row] for row in sheet.iter_rows(values_only=True)]  # type: ignore[union-attr]
    assert len(rows) == 1 + 1_100
    assert rows[-1][:4] == ["roster.xlsx", "农牧户", "1101", "电话"]
    assert "电话1099" not in str(rows)
    again = await run("roster", "import", str(file), "--report", str(tmp_path / "faults.doc"))
    assert again.exit_code == 2


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
