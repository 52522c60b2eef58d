"""What operators do wrong is told in a sentence or two, in English and Chinese, with what to do;
and nothing is done.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import Result

import migrations
from service.app import create_app
from service.cli.database import AS_ROOT
from service.kit.key_file import new_key
from service.kit.localization import in_language
from service.kit.settings_reading import WrongSetting, read_settings
from service.runtime.migrating import tables_at
from service.runtime.postgres import as_role, embedded, fresh_database
from simulator.database_proxy import fatal
from simulator.throwaway import ROLES, TEST_CONFIG
from tests.commands import Command, run_command
from tests.conftest import cloned, running
from tests.world import GRID, SECRETARY, WORKER, Clock, World

PASSWORD = ["--password", "a long and unusual one"]


@pytest.fixture
def gridloop(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command; keywords set GRIDLOOP_…, None unsets."""

    async def run(*arguments: str, **variables: str | None) -> Result:
        return await run_command(monkeypatch, arguments, variables)

    return run


def assert_told(result: Result, code: int, *named: str) -> None:
    """A command that ended with that exit code, and a sentence in both languages that names these;
    root is told of that before.
    """
    assert (result.exit_code, type(result.exception)) == (code, SystemExit), (
        result.output,
        result.exception,
    )
    as_root = {in_language(AS_ROOT, "en"), in_language(AS_ROOT, "zh")}
    lines = [line for line in result.output.strip().splitlines() if line not in as_root]
    assert len(lines) == 2, result.output
    assert not any("一" <= character <= "鿿" for character in lines[0].split("‘")[0]), lines
    assert any("一" <= character <= "鿿" for character in lines[1]), lines
    for name in named:
        assert all(name in line for line in lines), (name, lines)
    assert "s3cret" not in result.output


# ----------------------------------------------------------------------------------- which database


@pytest.mark.parametrize(
    "arguments",
    [
        ["purge"],
        ["check"],
        ["epoch", "new"],
        ["keys", "rotate"],
        ["keys", "reencrypt"],
        ["account", "password", "admin", *PASSWORD],
        ["account", "reset-otp", "admin"],
        ["account", "end-app", "herders"],
        ["erase", "cadre", WORKER, "--reason", "x", "--yes"],
    ],
)
async def test_a_command_in_the_wrong_folder_makes_no_database_there(
    gridloop: Command, tmp_path: Path, arguments: list[str]
) -> None:
    folder = tmp_path / "elsewhere"
    result = await gridloop(
        *arguments, "--data", str(folder), DATABASE_URL=None, OWNER_DATABASE_URL=None
    )
    assert_told(result, 1, str(folder), "GRIDLOOP_DATA", "--data")
    assert not folder.exists()


async def test_a_database_that_cannot_be_connected_to_is_named_by_its_setting(
    gridloop: Command, settings: object, server: str
) -> None:
    url, owner = str(settings.database_url), str(settings.owner_database_url)  # type: ignore[attr-defined]
    nowhere = "postgresql://one:s3cret@127.0.0.1:1/none"
    stranger = as_role(url, "nobody").replace(":@", ":s3cret@")
    for given, named in (
        ({"DATABASE_URL": nowhere}, "GRIDLOOP_DATABASE_URL"),
        ({"DATABASE_URL": stranger}, "GRIDLOOP_DATABASE_URL"),
        ({"DATABASE_URL": "mysql://one:s3cret@here/there"}, "GRIDLOOP_DATABASE_URL"),
        (
            {"DATABASE_URL": as_role(server, ROLES.service).replace("/postgres?", "/none?")},
            "GRIDLOOP_DATABASE_URL",
        ),
        (
            {"OWNER_DATABASE_URL": as_role(owner, "nobody").replace(":@", ":s3cret@")},
            "GRIDLOOP_OWNER_DATABASE_URL",
        ),
    ):
        for command in (
            (["purge"], ["migrate"]) if "OWNER_DATABASE_URL" in given else (["purge"], ["check"])
        ):
            result = await gridloop(
                *command, **({"DATABASE_URL": url, "OWNER_DATABASE_URL": owner} | given)
            )
            assert_told(result, 2 if "mysql" in given.get("DATABASE_URL", "") else 1, named)


async def test_migrate_with_the_owners_url_alone_touches_no_embedded_database(
    gridloop: Command, settings: object, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    owner = str(settings.owner_database_url)  # type: ignore[attr-defined]
    for arguments in (["migrate"], ["migrate", "--plan"], ["check"]):
        result = await gridloop(
            *arguments, "--data", str(folder), DATABASE_URL=None, OWNER_DATABASE_URL=owner
        )
        assert_told(result, 2, "GRIDLOOP_DATABASE_URL", "GRIDLOOP_OWNER_DATABASE_URL", str(folder))
    assert not folder.exists()


async def test_a_role_that_is_not_there_yet_is_made_by_migrate(
    gridloop: Command, settings: object
) -> None:
    url = as_role(str(settings.database_url), "nobody")  # type: ignore[attr-defined]
    result = await gridloop("check", DATABASE_URL=url, OWNER_DATABASE_URL=None)
    assert_told(result, 1, "GRIDLOOP_DATABASE_URL", "gridloop migrate")


async def test_why_a_database_cannot_be_reached_is_said_for_people(gridloop: Command) -> None:
    for url, english, chinese in (
        ("postgresql://one@/none?host=/nowhere", "there is no such socket", "套接字"),
        ("postgresql://one@nowhere.invalid/none", "the host name is unknown", "主机名"),
        ("postgresql://one@127.0.0.1:1/none", "nobody listens there", "监听"),
    ):
        result = await gridloop("check", DATABASE_URL=url, OWNER_DATABASE_URL=None)
        assert_told(result, 1, "GRIDLOOP_DATABASE_URL")
        assert english in result.output
        assert chinese in result.output


async def test_a_full_disk_at_connecting_is_no_wrong_host_or_port(gridloop: Command) -> None:
    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(fatal("53100"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(full, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://one@127.0.0.1:{port}/none?sslmode=disable"
        result = await gridloop("check", DATABASE_URL=url, OWNER_DATABASE_URL=None)
    assert_told(result, 1, "GRIDLOOP_DATABASE_URL", "disk-full")
    assert "The disk of the database is full." in result.output
    assert "port" not in result.output


async def test_a_database_that_takes_no_writes_ends_migrate_with_a_sentence(
    gridloop: Command, bare_url: str, server: str
) -> None:
    connection = await asyncpg.connect(bare_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await connection.close()
    for owner in (None, bare_url):
        result = await gridloop("migrate", DATABASE_URL=bare_url, OWNER_DATABASE_URL=owner)
        assert_told(result, 1, "gridloop migrate", "read-only")
        assert "takes no writes" in result.output


async def test_only_what_makes_tables_migrates_an_embedded_database(
    gridloop: Command, data_folder: Path
) -> None:
    nothing = {"DATABASE_URL": None, "OWNER_DATABASE_URL": None}
    folder = ["--data", str(data_folder)]
    # A wrong revision is noticed before a server is started, and a wrong folder gets none.
    assert_told(await gridloop("migrate", "--to", "77", *folder, **nothing), 2, "77")
    assert_told(await gridloop("migrate", "--to", "", *folder, **nothing), 2)
    assert_told(await gridloop("migrate", *folder, **nothing), 1, str(data_folder))
    assert not (data_folder / "postgres").exists()
    with embedded(data_folder, TEST_CONFIG) as url:
        assert_told(await gridloop("check", *folder, **nothing), 1, "gridloop migrate")
        assert (await gridloop("migrate", "--to", "0014", *folder, **nothing)).exit_code == 0
        for arguments in (["check"], ["purge"], ["keys", "rotate"]):
            refused = await gridloop(*arguments, *folder, **nothing)
            assert_told(refused, 1, "0014", "gridloop migrate")
        assert (await tables_at(url)).revision == "0014"
        assert (await gridloop("migrate", *folder, **nothing)).exit_code == 0
        assert (await gridloop("check", *folder, **nothing)).exit_code == 0


async def test_a_command_that_needs_the_owner_says_which_setting_names_it(
    gridloop: Command, settings: object
) -> None:
    url = str(settings.database_url)  # type: ignore[attr-defined]
    assert_told(
        await gridloop("migrate", DATABASE_URL=url, OWNER_DATABASE_URL=None),
        1,
        "GRIDLOOP_OWNER_DATABASE_URL",
    )
    filled = await gridloop(
        "fill",
        "--visits",
        "10",
        "--days",
        "7",
        DATABASE_URL=url,
        OWNER_DATABASE_URL=None,
        HOUSEHOLDS_PER_GRID="0",
    )
    assert (filled.exit_code, type(filled.exception)) == (1, SystemExit), (
        filled.output,
        filled.exception,
    )
    assert "GRIDLOOP_OWNER_DATABASE_URL" in filled.output


# -------------------------------------------------------------------------------- tables, forgotten


@pytest.fixture
async def bare_url(server: str) -> AsyncIterator[str]:
    """A database without any table."""
    await fresh_database(server, "gridloop_bare")
    async with cloned(server, "gridloop_bare") as url:
        yield url


async def test_where_migrating_was_forgotten_commands_and_requests_say_so(
    gridloop: Command, bare_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for arguments in (["account", "password", "admin", *PASSWORD], ["purge"], ["check"]):
        assert_told(
            await gridloop(*arguments, DATABASE_URL=bare_url, OWNER_DATABASE_URL=None),
            1,
            "gridloop migrate",
        )
    async with running(create_app(read_settings(), clock.now)) as client:
        assert "run ‘gridloop migrate’ first" in caplog.text
        form = {"grant_type": "password", "username": "admin", "password": "x"}
        for answer in (await client.get("/readyz"), await client.post("/v1/auth/token", data=form)):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable"), (
                answer.text
            )
            assert "gridloop migrate" in answer.json()["detail"]
        assert (await gridloop("migrate")).exit_code == 0
        assert (await client.get("/readyz")).status_code == 200


async def test_older_tables_are_told_at_start_and_newer_ones_are_served(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for revision, told in (("0012", True), ("9999", False)):
        caplog.clear()
        await world.fetch("UPDATE alembic_version SET version_num = $1", revision)
        async with running(create_app(world.state.settings, clock.now)) as client:
            assert ("older release (0012)" in caplog.text) == told
            assert (await client.get("/readyz")).status_code == 200


async def test_an_older_release_does_not_migrate_the_tables_of_a_newer_one(
    gridloop: Command, bare_url: str
) -> None:
    arguments = {"DATABASE_URL": bare_url, "OWNER_DATABASE_URL": None}
    assert (await gridloop("migrate", **arguments)).exit_code == 0
    connection = await asyncpg.connect(bare_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.execute("COMMENT ON TABLE alembic_version IS 'compatible from 9999'")
    assert_told(await gridloop("migrate", **arguments), 1, "9999")
    assert_told(await gridloop("migrate", "--plan", **arguments), 1, "9999")
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await connection.close()


# ----------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("OTP_ROLE", '["supervisor"]', "GRIDLOOP_OTP_ROLES"),
        ("BACKUP_KEPT", "35 days", "GRIDLOOP_BACKUPS_KEPT"),
        ("SECRET_KEY", "s3cret", "GRIDLOOP_SECRET_KEYS"),
        ("NOTHING_LIKE_IT_AT_ALL", "1", "NOTHING_LIKE_IT_AT_ALL"),
        ("OTP_ROLES", "supervisor,admin", "JSON"),
        ("OTP_ROLES", '["boss"]', "boss"),
        ("AUDIT_DAYS", "30", "180"),
        ("AUDIT_DAYS", "s3cret", "GRIDLOOP_AUDIT_DAYS"),
        ("ATTEMPTS_HERE", "many", "10/15minutes"),
        ("PROXIES", '["localhost"]', "localhost"),
        ("LOG_LEVEL", "loud", "GRIDLOOP_LOG_LEVEL"),
        ("OWNER_ROLE", "Robert'); --", "GRIDLOOP_OWNER_ROLE"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_with_what_to_write_instead(
    gridloop: Command, name: str, value: str, named: str
) -> None:
    result = await gridloop("purge", **{name: value})
    assert_told(result, 2, f"GRIDLOOP_{name}", named)
    assert "pydantic" not in result.output


def test_what_tests_and_orchestrators_set_is_no_misspelt_setting() -> None:
    mine = {
        "GRIDLOOP_TEST_SEEDS": "1",
        "GRIDLOOP_TEST_EVERY": "1",
        "GRIDLOOP_NO_SKIPS": "1",
        "GRIDLOOP_SERVICE_HOST": "10.0.0.1",
        "PATH": "/bin",
    }
    read_settings(
        mine
        | {
            "GRIDLOOP_PORT": "tcp://10.0.0.1:80",
            "GRIDLOOP_PORT_80_TCP_ADDR": "10.0.0.1",
            "gridloop_data": "x",
        }
    )
    with pytest.raises(WrongSetting, match="GRIDLOOP_DATA meant"):
        read_settings({"GRIDLOOP_DATAS": "x"})


async def test_a_proxy_that_is_no_address_is_refused_wherever_it_stands(
    gridloop: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_told(await gridloop("serve", "--proxy", "localhost"), 1, "--proxy", "localhost")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.5, nginx")
    assert_told(await gridloop("serve"), 1, "FORWARDED_ALLOW_IPS", "nginx")


# --------------------------------------------------------------------------------------------- keys


async def test_keys_that_are_missing_end_reencryption_with_an_error_unless_they_are_given_up(
    gridloop: Command, world: World
) -> None:
    await world.token(WORKER)
    urls = {
        "DATABASE_URL": world.state.settings.database_url,
        "OWNER_DATABASE_URL": world.state.settings.owner_database_url,
    }
    result = await gridloop("keys", "reencrypt", SECRET_KEYS=new_key(), **urls)
    assert result.exit_code == 1
    assert "Keys are missing" in result.output
    assert (await gridloop("keys", "reencrypt", "--give-up")).exit_code == 0


async def test_no_command_writes_by_a_key_that_is_not_the_databases(
    gridloop: Command, world: World
) -> None:
    await world.token(WORKER)
    urls = {
        "DATABASE_URL": world.state.settings.database_url,
        "OWNER_DATABASE_URL": world.state.settings.owner_database_url,
    }
    for arguments in (["roster", "load"], ["purge"], ["keys", "rotate"]):
        assert_told(
            await gridloop(*arguments, SECRET_KEYS=new_key(), HOUSEHOLDS_PER_GRID="0", **urls),
            1,
            "GRIDLOOP_SECRET_KEYS",
        )
    migrated = await gridloop("migrate")
    assert migrated.exit_code == 0, migrated.output
    assert "was not tried again" in migrated.output


UNSEEN = (
    "from service.cli import app, serve\nasync def no(_): pass\nserve.look_before_start ="
    " no\napp.app()"
)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "begun", [["-m", "service"], ["-c", UNSEEN]], ids=["at the start", "in the processes"]
)
def test_a_service_that_cannot_start_ends_with_3_however_many_its_processes(
    workers: str, begun: list[str], settings: object
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}
    url = str(settings.database_url)  # type: ignore[attr-defined]
    environment = clean | {"GRIDLOOP_DATABASE_URL": url, "GRIDLOOP_SECRET_KEYS": "not-a-key"}
    command = [sys.executable, *begun, "serve", "--workers", workers, "--port", "0"]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 3, ended.stderr[-2000:]
    assert "key 1 of GRIDLOOP_SECRET_KEYS" in ended.stdout + ended.stderr
    assert "not-a-key" not in ended.stdout + ended.stderr


# ------------------------------------------------------------------------------------- who and what


async def test_an_id_that_is_none_is_told_before_anything_is_erased(gridloop: Command) -> None:
    assert_told(
        await gridloop("erase", "household", "123", "--reason", "x", "--yes"), 1, "123", "UUID"
    )


async def test_no_password_is_given_to_who_has_no_post_or_was_erased(
    gridloop: Command, world: World
) -> None:
    urls = {
        "DATABASE_URL": world.state.settings.database_url,
        "OWNER_DATABASE_URL": world.state.settings.owner_database_url,
    }
    await world.fetch("UPDATE post SET valid_to = now() WHERE staff_code = $1", WORKER)
    assert_told(await gridloop("account", "password", WORKER, *PASSWORD, **urls), 1, WORKER)
    assert_told(await gridloop("account", "password", "nobody", *PASSWORD), 1, "nobody")
    assert (await gridloop("erase", "cadre", SECRETARY, "--reason", "x", "--yes")).exit_code == 0
    told = await gridloop("account", "password", SECRETARY, *PASSWORD)
    assert_told(told, 1, SECRETARY)
    assert "was erased" in told.output
    assert await world.fetch("SELECT FROM audit WHERE action = 'password-set'") == []
    assert_told(await gridloop("erase", "cadre", "admin", "--reason", "x", "--yes"), 1, "admin")


async def test_taking_away_what_is_not_there_changes_nothing(
    gridloop: Command, world: World
) -> None:
    urls = {
        "DATABASE_URL": world.state.settings.database_url,
        "OWNER_DATABASE_URL": world.state.settings.owner_database_url,
    }
    token = await world.token(WORKER)
    assert_told(await gridloop("account", "reset-otp", WORKER, **urls), 1, WORKER)
    assert (
        await world.client.get("/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    ).status_code == 200
    made = await gridloop("account", "app", "herders", "--unit", "1502", "--scope", "articles:read")
    assert made.exit_code == 0, made.output
    assert (await gridloop("account", "end-app", "herders")).exit_code == 0
    assert_told(await gridloop("account", "end-app", "herders"), 1, "herders")
    actions = [
        row["action"]
        for row in await world.fetch(
            "SELECT action FROM audit WHERE staff_code = 'command line' ORDER BY at"
        )
    ]
    assert actions == ["app-account-made", "app-account-ended"]


# ---------------------------------------------------------------------------------------- the trail


async def operators_lines(world: World) -> list[tuple[str, list[str], int]]:
    rows = await world.fetch(
        "SELECT action, subjects, count FROM audit WHERE staff_code = 'command line'"
        " ORDER BY at, action"
    )
    return [(row["action"], row["subjects"], row["count"]) for row in rows]


async def test_what_operators_do_stands_in_the_trail_and_what_changed_nothing_does_not(
    gridloop: Command, world: World
) -> None:
    await world.token(WORKER)
    urls = {
        "DATABASE_URL": world.state.settings.database_url,
        "OWNER_DATABASE_URL": world.state.settings.owner_database_url,
    }
    for arguments in (
        ["keys", "rotate"],
        ["keys", "rotate", "--at-once"],
        ["keys", "reencrypt"],
        ["epoch", "new"],
    ):
        assert (await gridloop(*arguments, HOUSEHOLDS_PER_GRID="0", **urls)).exit_code == 0
    await world.fetch(
        "DELETE FROM attempt"
    )  # the windows of the sign-in, which are old by the wall clock
    for arguments in (["check", "--mend"], ["migrate"], ["purge"]):
        assert (await gridloop(*arguments)).exit_code == 0, arguments
    [state] = await world.fetch("SELECT epoch::text FROM server")
    assert await operators_lines(world) == [
        ("signing-keys-rotated", [], 1),
        ("signing-keys-rotated", ["at once"], 1),
        ("reencrypted", [world.state.settings.keyring.kid], 0),
        ("epoch-renewed", [state["epoch"]], 1),
    ]
    await world.fetch(
        "INSERT INTO idempotency (caller, key, at, request)"
        " VALUES ('a', 'b', now() - interval '9 days', '')"
    )
    assert (await gridloop("purge", "--dry-run")).exit_code == 0
    assert len(await operators_lines(world)) == 4
    assert (await gridloop("purge")).exit_code == 0
    assert (await operators_lines(world))[4:] == [
        ("purged", ["answers kept for repeated requests"], 1)
    ]


async def test_a_migration_and_tallies_that_were_mended_stand_in_the_trail(
    gridloop: Command, bare_url: str, server: str
) -> None:
    await gridloop(
        "migrate", DATABASE_URL=bare_url, OWNER_DATABASE_URL=None, HOUSEHOLDS_PER_GRID="0"
    )
    connection = await asyncpg.connect(bare_url)
    try:
        assert (await gridloop("roster", "load")).exit_code == 0
        await connection.execute(
            "INSERT INTO tally (day, grid, cadre, visits) VALUES ('2026-11-20', $1, $2, 7)",
            GRID,
            WORKER,
        )
        assert (await gridloop("check")).exit_code == 1
        assert (await gridloop("check", "--mend")).exit_code == 0
        assert (await gridloop("migrate")).exit_code == 0
        rows = await connection.fetch("SELECT action, subjects, count FROM audit ORDER BY at")
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [
        ("migrated", [migrations.revisions()[0]], 1),
        ("roster-loaded", ["roster"], 1),
        ("tallies-mended", ["tallies"], 1),
    ]


def test_a_data_folder_without_its_key_is_not_served_and_gets_no_other_key(
    data_folder: Path,
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}
    environment = clean | {"GRIDLOOP_HOUSEHOLDS_PER_GRID": "0", "GRIDLOOP_DATA": str(data_folder)}

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        whole = [sys.executable, "-m", "service", *arguments]
        return subprocess.run(
            whole, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    loaded = command("roster", "load", "--demo")  # with people, whose phones are encrypted
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    key = data_folder / "secret.key"
    key.rename(data_folder / "elsewhere.key")
    for arguments, code in (
        (["serve", "--port", "0"], 3),
        (["serve", "--port", "0", "--workers", "2"], 3),
        (["roster", "load"], 1),
    ):
        refused = command(*arguments)
        assert refused.returncode == code, (arguments, refused.stdout, refused.stderr)
        assert str(key) in refused.stdout
        assert "Traceback" not in refused.stdout + refused.stderr
        assert not key.exists()
    (data_folder / "elsewhere.key").rename(key)
    assert command("keys", "rotate").returncode == 0
