"""The commands over a database with its two roles: each finds the rights that it needs, and says
which are missing.
"""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import Result

from service.app import create_app
from service.kit.settings import Settings
from service.runtime.postgres import as_role
from simulator.throwaway import ROLES
from tests.commands import Command, run_command
from tests.conftest import cloned, running
from tests.world import Clock


@pytest.fixture
async def empty_url(server: str, empty_template: str) -> AsyncIterator[str]:
    """A migrated database without rows."""
    async with cloned(server, empty_template) as url:
        yield url


@pytest.fixture
def gridloop(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command over both roles of a database; keywords set GRIDLOOP_… otherwise, None
    unsets.
    """

    async def run(*arguments: str, **variables: str | None) -> Result:
        urls = {
            "DATABASE_URL": as_role(empty_url, ROLES.service),
            "OWNER_DATABASE_URL": as_role(empty_url, ROLES.owner),
            "HOUSEHOLDS_PER_GRID": "0",
        }
        return await run_command(monkeypatch, arguments, urls | variables)

    return run


async def test_every_command_works_over_the_two_roles(gridloop: Command) -> None:
    for arguments in (
        ["migrate"],
        ["roster", "load", "--demo"],
        ["fill", "--visits", "500", "--days", "20"],
        ["check"],
        ["check", "--mend"],
        ["epoch", "new"],
        ["keys", "rotate"],
        ["keys", "reseal"],
        ["account", "password", "admin", "--password", "a long and unusual one"],
        ["account", "app", "herders", "--unit", "1502", "--scope", "articles:read"],
        ["account", "end-app", "herders"],
        ["purge", "--dry-run"],
        ["purge"],
    ):
        result = await gridloop(*arguments)
        assert (result.exit_code, result.exception) == (0, None), (arguments, result.output)


async def test_migrating_without_the_owner_says_what_to_set(gridloop: Command) -> None:
    result = await gridloop("migrate", OWNER_DATABASE_URL=None)
    assert result.exit_code == 1
    assert f"‘{ROLES.service}’ may not change the tables" in result.output
    assert "GRIDLOOP_OWNER_DATABASE_URL" in result.output


async def test_purging_without_the_owner_ends_with_an_error_that_says_what_to_set(
    gridloop: Command, empty_url: str
) -> None:
    result = await gridloop("purge", OWNER_DATABASE_URL=None)
    assert result.exit_code == 1
    assert "GRIDLOOP_OWNER_DATABASE_URL" in result.output.replace("\n", "")


async def test_statements_that_an_administrator_must_run_are_printed(
    gridloop: Command, empty_url: str
) -> None:
    connection = await asyncpg.connect(empty_url)
    service = f"{await connection.fetchval('SELECT current_database()')}_new"
    await connection.close()
    result = await gridloop(
        "migrate", DATABASE_URL=as_role(empty_url, service).replace(":@", ":secret@")
    )
    assert result.exit_code == 1
    assert (
        f"CREATE ROLE \"{service}\" LOGIN PASSWORD '(the one in GRIDLOOP_DATABASE_URL)';"
        in result.output
    )
    assert "secret" not in result.output


async def test_a_deployment_with_one_superuser_works_as_before_and_is_told_at_start_and_once(
    gridloop: Command, empty_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    result = await gridloop("migrate", DATABASE_URL=empty_url, OWNER_DATABASE_URL=None)
    assert (result.exit_code, result.exception) == (0, None), result.output
    with caplog.at_level(logging.WARNING, "gridloop"):
        async with running(create_app(Settings(database_url=empty_url), clock.now)) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
    assert caplog.text.count("GRIDLOOP_OWNER_DATABASE_URL") == 1


async def test_with_the_two_roles_nothing_is_said(
    empty_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "gridloop"):
        async with running(
            create_app(Settings(database_url=as_role(empty_url, ROLES.service)), clock.now)
        ) as client:
            assert (await client.get("/readyz")).status_code == 200
    assert caplog.text == ""


async def test_as_root_one_line_says_so(
    gridloop: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # It is of the embedded server alone, here one that is not there.
    folder = ["--data", str(tmp_path / "none")]
    embedded: dict[str, str | None] = {"DATABASE_URL": None, "OWNER_DATABASE_URL": None}
    for user, lines in ((0, 1), (1000, 0)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        for arguments, variables, said in (
            (list[str](), dict[str, str | None](), 0),
            (folder, embedded, lines),
        ):
            result = await gridloop("check", *arguments, **variables)
            assert result.exit_code == (1 if variables else 0)
            assert [result.output.count(text) for text in ("runs as root", "以 root 运行")] == [
                said,
                said,
            ]
