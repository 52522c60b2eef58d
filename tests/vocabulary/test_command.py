"""`gridloop calendar import`, as an operator sees it."""

from pathlib import Path

import pytest

from tests.commands import run_command
from tests.vocabulary.asking import BANNER, CITY, due_of, raise_problem
from tests.world import World

NOTICE = "2026-11-24,休,运动会\n2026-11-28,班,\n"


async def test_a_calendar_from_a_file_moves_due_times(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.state.settings
    urls = {
        "DATABASE_URL": str(settings.database_url),
        "OWNER_DATABASE_URL": str(settings.owner_database_url),
    }
    phone = world.phone()
    await phone.sync()
    problem = raise_problem(world, phone)
    await phone.sync()
    file = tmp_path / "2026.csv"
    command = ("calendar", "import", str(file), "--year", "2026")

    file.write_text("2026-11-24,休,\n2026-11-31,休,\n", encoding="gb18030")
    wrong = await run_command(monkeypatch, command, urls)
    assert wrong.exit_code == 1, wrong.output
    assert "第 2 行" in wrong.output
    assert await world.fetch("SELECT FROM calendar_year") == []

    file.write_text(NOTICE, encoding="gb18030")
    done = await run_command(monkeypatch, command, urls)
    assert done.exit_code == 0, done.output
    assert "1 problems are due at another time" in done.output
    assert await due_of(world, problem) == "2026-11-26 10:00"
    local = await run_command(monkeypatch, (*command, "--unit", BANNER), urls)
    assert local.exit_code == 0, local.output
    unknown = await run_command(monkeypatch, (*command, "--unit", "1599"), urls)
    assert unknown.exit_code == 1, unknown.output
    rows = await world.fetch("SELECT unit FROM calendar_year ORDER BY unit")
    assert [row["unit"] for row in rows] == [CITY, BANNER]
