"""Upgrades while the service runs: what a migration may do, and processes of a release over tables
of another.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from typer.testing import Result

import migrations
from migrations import operations
from service.app import create_app
from service.kit.database_errors import TablesTooNew
from service.runtime import failpoints, tables, tables_watch
from service.runtime.postgres import as_role
from simulator.places import PASSWORD
from simulator.throwaway import ROLES
from tests.commands import Command, run_command
from tests.conftest import cloned, running
from tests.world import GRID, SECRETARY, Clock, World, first_held_at

ROOT = Path(__file__).parents[2]
NEWEST = migrations.revisions()[0]
LATER = "9999"
# What a later release may do while this one runs, and what it may not.
EXPANDS = """
    ALTER TABLE visit ADD COLUMN weather TEXT;
    ALTER TABLE mutation ADD COLUMN app_version TEXT NOT NULL DEFAULT '';
    ALTER TABLE held ADD COLUMN tries INTEGER DEFAULT 0;
    ALTER TABLE device ADD COLUMN model TEXT;
    CREATE TABLE weather_report (day DATE PRIMARY KEY, report TEXT NOT NULL);
    CREATE INDEX visit_weather ON visit (weather)
"""
CONTRACTS = """
    ALTER TABLE mutation ADD COLUMN app_version TEXT NOT NULL DEFAULT '';
    ALTER TABLE mutation ALTER COLUMN app_version DROP DEFAULT;
    ALTER TABLE problem ADD COLUMN season TEXT NOT NULL DEFAULT '';
    ALTER TABLE problem ALTER COLUMN season DROP DEFAULT;
    ALTER TABLE unit RENAME COLUMN name TO title
"""
BACK = """
    ALTER TABLE mutation DROP COLUMN app_version;
    ALTER TABLE problem DROP COLUMN season;
    ALTER TABLE unit RENAME COLUMN title TO name
"""


async def migrate_by_hand(
    world: World, statements: str, compatible_from: str, revision: str = LATER
) -> None:
    """What a migration of a later release does, in one transaction, again when somebody is in its
    way.
    """
    connection = await asyncpg.connect(
        str(world.state.settings.owner_database_url), server_settings={"lock_timeout": "500ms"}
    )
    try:
        while True:
            with suppress(asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                async with connection.transaction():
                    await connection.execute(statements)
                    await connection.execute(
                        "UPDATE alembic_version SET version_num = $1", revision
                    )
                    await connection.execute(
                        f"COMMENT ON TABLE alembic_version IS 'compatible from {compatible_from}'"
                    )
                return
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


class Load:
    """Three phones that push, each with somebody who writes over REST. `seen`: statuses of answers;
    `acknowledged`: mutations.
    """

    def __init__(self, world: World) -> None:
        self.seen: Counter[int] = Counter()
        self.acknowledged = 0
        self._world = world
        self._over = False

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """The load goes on inside, and has ended afterwards."""
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(self._go_on())
            try:
                yield
            finally:
                self._over = True

    async def until(self, status: int, more: int) -> None:
        """Until there were so many more answers with a status."""
        count = self.seen[status]
        while self.seen[status] < count + more:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.02)

    async def _go_on(self) -> None:
        phone = self._world.wire()
        seq, pushed = 1, list[dict[str, Any]]()
        while not self._over:
            await asyncio.sleep(0.01)  # a refusal waits for nothing
            pushed = pushed or [phone.mutation(seq), phone.mutation(seq + 1, "telegram")]
            answer = await phone.send(*pushed)
            self.seen[answer.status_code] += 1
            if answer.status_code == 200:
                seq, pushed = seq + 2, []
                self.acknowledged += 2
            else:
                assert "Retry-After" in answer.headers, answer.text
            body = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}}
            made = await self._world.post("/v1/problems", body, SECRETARY)
            self.seen[made.status_code] += 1
            assert made.status_code == 201 or "Retry-After" in made.headers, made.text

    async def assert_kept(self) -> None:
        """What was acknowledged is there, once."""
        rows = await self._world.fetch(
            "SELECT kind, count(*) FROM mutation WHERE kind IN ('visit', 'telegram') GROUP BY kind"
        )
        assert sum(row["count"] for row in rows) == self.acknowledged
        assert [
            row["count"] for row in await self._world.fetch("SELECT count(*) FROM problem")
        ] == [self.seen[201]]


async def test_the_load_goes_on_while_a_later_release_expands_the_tables(
    world: World, clock: Clock
) -> None:
    before = (await world.client.get("/readyz")).json()
    assert (before["tables"], before["tables_newer"], before["warnings"]) == (NEWEST, False, [])
    load = Load(world)
    async with load.going_on():
        await load.until(200, 5)
        await migrate_by_hand(world, EXPANDS, NEWEST)
        await load.until(200, 15)
        ready = await world.client.get("/readyz")
        assert (ready.status_code, ready.json()["tables"], ready.json()["tables_newer"]) == (
            200,
            LATER,
            True,
        )
        assert LATER in ready.json()["warnings"][0]
        assert "gridloop_tables_newer 1.0" in (await world.client.get("/metrics")).text
    assert load.seen.keys() == {200, 201}, load.seen
    await load.assert_kept()
    # A process that starts over them serves, too.
    async with running(create_app(world.state.settings, clock.now)) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_tables_that_are_too_new_are_503_and_not_500_and_all_goes_on_once_they_fit_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    load = Load(world)
    async with load.going_on():
        await load.until(200, 5)
        await migrate_by_hand(world, CONTRACTS, LATER)
        await load.until(503, 30)
        ready = await world.client.get("/readyz")
        assert (ready.status_code, ready.headers["Retry-After"]) == (503, "30")
        assert all(revision in ready.json()["detail"] for revision in (LATER, NEWEST))
        assert (await world.client.get("/healthz")).status_code == 200
        assert "gridloop_tables_newer 2.0" in (await world.client.get("/metrics")).text
        read = await world.client.get("/v1/units", headers={"Authorization": "Bearer x"})
        assert (read.status_code, read.headers["Retry-After"]) == (503, "30")
        assert ready.json()["tables"] == LATER
        assert (
            'gridloop_database_errors_total{fault="tables-too-new"}'
            in (await world.client.get("/metrics")).text
        )
        assert caplog.text.count("may not run") == 1
        await migrate_by_hand(world, BACK, "0013", NEWEST)
        assert (await world.client.get("/readyz")).status_code == 200
        await load.until(201, 5)
    assert load.seen.keys() == {200, 201, 503}, load.seen
    await load.assert_kept()


# ------------------------------------------------------- no write over tables that are too new

_ONE_MORE = '''"""A revision of a later release."""

from alembic import op

from sync_protocol.texts import Text

revision = "{later}"
down_revision = "{newest}"
branch_labels = None
depends_on = None
summary = Text("Adds the weather.")
loses = None


def upgrade() -> None:
    """Lets none of the releases before run, though their statements still do."""
    op.execute("ALTER TABLE unit ADD COLUMN weather TEXT")
'''


@pytest.fixture(scope="module")
def later_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of a release with one more revision, over whose tables this one may not run."""
    folder = tmp_path_factory.mktemp("later")
    for package in ("migrations", "service", "sync_protocol"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    revision = folder / "migrations" / "versions" / f"{LATER}_weather.py"
    revision.write_text(_ONE_MORE.format(later=LATER, newest=NEWEST), encoding="utf-8")
    return folder


async def begin_migrating(world: World, release: Path) -> asyncio.subprocess.Process:
    """`gridloop migrate` of a release, in a process of its own."""
    settings = world.state.settings
    environment = os.environ | {
        "PYTHONPATH": str(release),
        "GRIDLOOP_DATABASE_URL": str(settings.owner_database_url),
        "GRIDLOOP_DATA": str(release / "data"),
        "GRIDLOOP_TRUST_CLOCK": "1",
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "migrate"),
        cwd=release,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def end_migrating(world: World, process: asyncio.subprocess.Process) -> None:
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    assert [row[0] for row in await world.fetch("SELECT version_num FROM alembic_version")] == [
        LATER
    ]


async def test_the_first_write_over_tables_that_were_just_declared_too_new_is_refused(
    world: World, later_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_watch, "EVERY_S", 3600)
    phone = world.wire()
    assert (await phone.send(phone.mutation(1))).status_code == 200
    body = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}}
    assert (await world.post("/v1/problems", body, SECRETARY)).status_code == 201
    before = await counted(world)
    await end_migrating(world, await begin_migrating(world, later_release))
    form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
    writes: tuple[Callable[[], Awaitable[httpx.Response]], ...] = (
        lambda: phone.send(phone.mutation(2)),
        phone.send,
        lambda: world.post("/v1/problems", body, SECRETARY),
        lambda: world.client.post("/v1/auth/token", data=form),
    )
    for write in writes:
        # As a process that has not looked yet.
        world.app.state.tables.note(tables.Tables(NEWEST))
        answer = await write()
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "30"), answer.text
        assert "newer release" in answer.json()["detail"]
        assert world.app.state.tables.tables == tables.Tables(LATER, LATER), "it knows by now"
    assert await counted(world) == before


async def counted(world: World) -> list[int]:
    """How many rows writes have made."""
    names = ("mutation", "visit", "problem", "refresh_token", "audit WHERE action <> 'migrated'")
    return [(await world.fetch(f"SELECT count(*) FROM {name}"))[0][0] for name in names]


async def test_tables_become_too_new_when_writes_that_began_before_have_ended(
    world: World, later_release: Path
) -> None:
    held = "SELECT mode FROM pg_locks WHERE relation = 'alembic_version'::regclass"
    phone = world.wire()
    with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
        pushing = asyncio.create_task(phone.send(phone.mutation(1)))
        await reached.wait()
        assert [row["mode"] for row in await world.fetch(held)] == ["AccessShareLock"]
        go_on.set()
        assert (await pushing).status_code == 200
    # What a push and a write over REST read first, in a transaction that nobody's limit ends.
    writing = await asyncpg.connect(str(world.state.settings.database_url))
    async with writing.transaction():
        await tables.refuse_too_new(writing)
        process = await begin_migrating(world, later_release)
        async with asyncio.timeout(60):
            while not await world.fetch(  # noqa: ASYNC110 - the database tells nobody
                f"{held} AND NOT granted AND mode = 'AccessExclusiveLock'"
            ):
                await asyncio.sleep(0.01)
    await end_migrating(world, process)
    with pytest.raises(TablesTooNew):
        await tables.refuse_too_new(writing)
    await writing.close()
    assert (await phone.send(phone.mutation(2))).status_code == 503
    assert len(await world.fetch("SELECT FROM visit")) == 1


@pytest.mark.parametrize(
    ("marked", "starts"),
    [(f"compatible from {LATER}", False), (None, False), (f"compatible from {NEWEST}", True)],
)
async def test_a_release_starts_only_over_tables_that_let_it(
    world: World, tmp_path: Path, marked: str | None, starts: bool
) -> None:
    await world.fetch("UPDATE alembic_version SET version_num = $1", LATER)
    await world.fetch(
        f"COMMENT ON TABLE alembic_version IS {'NULL' if marked is None else repr(marked)}"
    )
    environment = os.environ | {
        "GRIDLOOP_DATABASE_URL": str(world.state.settings.database_url),
        "GRIDLOOP_TRUST_CLOCK": "1",
    }
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    if starts:
        while b"Application startup complete" not in (
            line := await asyncio.wait_for(process.stdout.readline(), 30)
        ):
            assert line, "the service ended"
        process.terminate()
        await process.communicate()
    else:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 3
        assert all(said in output.decode() for said in (f"newer release ({LATER})", "更新的版本"))
        assert "Traceback" not in output.decode()


# -------------------------------------------------------------------------- what a migration may do


@pytest.mark.parametrize("declared", migrations.declared(), ids=lambda declared: declared.revision)
def test_a_migration_that_takes_something_away_says_so(declared: migrations.Declared) -> None:
    found = operations.operations_of(declared.revision)
    assert found, "a migration does something"
    assert operations.undeclared(declared, found) == []


@pytest.mark.parametrize("item", migrations.declared(), ids=lambda item: item.revision)
def test_a_migration_says_what_it_does_and_what_its_way_back_loses(
    item: migrations.Declared,
) -> None:
    module = migrations.scripts().get_revision(item.revision).module
    said = (
        ("summary", "loses", "compatible_from") if item.revision > "0013" else ("summary", "loses")
    )
    assert [name for name in said if not hasattr(module, name)] == []
    known = migrations.revisions()[::-1]
    assert known.index(item.compatible_from) <= known.index(item.revision)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE visit",
        "ALTER TABLE visit DROP COLUMN note",
        "ALTER TABLE visit DROP CONSTRAINT visit_pkey",
        "ALTER TABLE visit RENAME TO call",
        "ALTER TABLE visit RENAME COLUMN note TO text",
        "ALTER TABLE visit ALTER COLUMN note TYPE varchar(5)",
        "ALTER TABLE visit ALTER note TYPE varchar(5)",
        "ALTER TABLE visit ALTER COLUMN note SET NOT NULL",
        "ALTER TABLE visit ALTER COLUMN note DROP DEFAULT",
        "ALTER TABLE visit ADD COLUMN a TEXT NOT NULL",
        "ALTER TABLE visit ADD COLUMN a TEXT, ADD COLUMN b INTEGER NOT NULL",
        "ALTER TABLE visit ADD COLUMN a UUID NOT NULL DEFAULT gen_random_uuid()",
        "ALTER TABLE visit ADD COLUMN a INTEGER DEFAULT 0 CHECK (a > 0)",
        "ALTER TABLE visit ADD COLUMN a UUID REFERENCES unit",
        "ALTER TABLE visit ADD COLUMN a TEXT GENERATED ALWAYS AS (note) STORED",
        "ALTER TABLE visit ADD CONSTRAINT short CHECK (length(note) < 9) NOT VALID",
        "ALTER TABLE visit ADD CHECK (length(note) < 9)",
        "ALTER TABLE visit ADD UNIQUE (note)",
        "ALTER TABLE visit ADD COLUMN a TEXT, DROP COLUMN note",
        "CREATE UNIQUE INDEX CONCURRENTLY one ON visit (note)",
        "CREATE INDEX one ON visit (note)",
        "CREATE TABLE a (visit UUID REFERENCES visit (id))",
        "DROP INDEX visit_feed",
        "DROP FUNCTION f",
        "DELETE FROM visit",
        "TRUNCATE visit",
        "REVOKE SELECT ON visit FROM gridloop_service",
        "DO $$ BEGIN EXECUTE 'DROP TABLE visit'; END $$",
        "ALTER TYPE t RENAME VALUE 'a' TO 'b'",
        "VACUUM FULL visit",
    ],
)
def test_what_takes_something_away_is_noticed(statement: str) -> None:
    declared = migrations.Declared(LATER, migrations.declared()[0].summary, NEWEST, None, (), False)
    assert operations.undeclared(declared, operations.read([statement]))
    contraction = declared._replace(compatible_from=LATER)
    assert operations.undeclared(contraction, operations.read([statement])) == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a (b INTEGER NOT NULL CHECK (b > 0))",
        "ALTER TABLE visit ADD COLUMN a TEXT",
        "ALTER TABLE visit ADD COLUMN a TEXT COLLATE \"C\" NOT NULL DEFAULT ''",
        "ALTER TABLE visit ADD COLUMN a TEXT[] NOT NULL DEFAULT '{}', ADD COLUMN b BOOLEAN"
        " NOT NULL DEFAULT false",
        "ALTER TABLE visit ADD COLUMN a TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()",
        "ALTER TABLE visit ADD COLUMN a INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE visit ALTER COLUMN note DROP NOT NULL",
        "ALTER TABLE visit SET (fillfactor = 80)",
        "CREATE INDEX CONCURRENTLY one ON visit (note)",
        "CREATE TRIGGER both BEFORE INSERT OR UPDATE ON visit FOR EACH ROW EXECUTE FUNCTION both()",
        "CREATE FUNCTION both() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := NEW.note;"
        " RETURN NEW; END $$",
        "UPDATE server SET timeline = ''",
    ],
)
def test_an_expansion_is_let_through(statement: str) -> None:
    declared = migrations.Declared(LATER, migrations.declared()[0].summary, NEWEST, None, (), False)
    assert operations.undeclared(declared, operations.read([statement])) == []


def test_a_constraint_is_made_wider_by_saying_so() -> None:
    wider = [
        "ALTER TABLE visit DROP CONSTRAINT short",
        "ALTER TABLE visit ADD CONSTRAINT short CHECK (length(note) < 99) NOT VALID",
    ]
    assert [bool(operation.contracts) for operation in operations.read(wider)] == [True, True]
    assert [bool(operation.contracts) for operation in operations.read(wider, ["short"])] == [
        False,
        False,
    ]


# -------------------------------------------------------------------------- plan, and the way there


@pytest.fixture
def gridloop(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command; keywords set GRIDLOOP_…"""

    async def run(*arguments: str, **variables: str | None) -> Result:
        monkeypatch.setenv("COLUMNS", "200")
        return await run_command(monkeypatch, arguments, variables)

    return run


async def dumped(url: str) -> list[tuple[object, ...]]:
    """What stands in the catalogue of a database."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, data_type, is_nullable, ordinal_position"
            " FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 5"
        )
        return [tuple(row) for row in rows] + [
            tuple(await connection.fetchrow("SELECT version_num FROM alembic_version") or ())
        ]
    finally:
        await connection.close()


async def test_a_plan_names_each_migration_and_changes_nothing(
    gridloop: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloned(server, "template0") as url:
        urls = {"DATABASE_URL": as_role(url, ROLES.service), "OWNER_DATABASE_URL": url}
        assert (await gridloop("migrate", "--to", "0012", **urls)).exit_code == 0
        before = await dumped(url)
        shown = await gridloop("migrate", "--plan", **urls)
        assert (shown.exit_code, shown.exception) == (0, None), shown.output
        for revision in migrations.revisions()[:3]:
            assert revision in shown.output
        assert all(
            said in shown.output for said in ("End all processes of the release before", "erasures")
        )
        monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
        chinese = await gridloop("migrate", "--plan", **urls)
        assert all(said in chinese.output for said in ("修订版", "请先停止上一版本的全部进程"))
        monkeypatch.delenv("LC_ALL")
        assert await dumped(url) == before
        assert (await gridloop("migrate", "--to", "0013", **urls)).exit_code == 0
        shown = await gridloop("migrate", "--plan", **urls)
        assert all(said in shown.output for said in ("may run on meanwhile", "0013"))
        assert (await gridloop("migrate", **urls)).exit_code == 0
        assert "nothing to migrate" in (await gridloop("migrate", "--plan", **urls)).output


async def test_a_plan_shows_names_whole_where_the_screen_is_narrow(
    gridloop: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloned(server, "template0") as url:
        urls = {"DATABASE_URL": as_role(url, ROLES.service), "OWNER_DATABASE_URL": url}
        empty = await gridloop("migrate", "--plan", **urls)
        assert empty.exit_code == 0
        assert f"all {len(migrations.revisions())} migrations" in empty.output
        assert "0001  " not in empty.output
        assert (await gridloop("migrate", "--to", "0001", **urls)).exit_code == 0
        for language in ("C", "zh_CN.UTF-8"):
            monkeypatch.setenv("LC_ALL", language)
            monkeypatch.setenv("COLUMNS", "80")
            narrow = (await run_command(monkeypatch, ["migrate", "--plan"], urls)).output
            assert "…" not in narrow
            rows = [line for line in narrow.splitlines() if line.startswith("│")]
            assert rows
            assert all(line.endswith("│") for line in rows), narrow
            joined = [
                "".join(cell.strip() for cell in cells)
                for cells in zip(*(line.split("│") for line in rows), strict=True)
            ]
            for item in migrations.declared()[1:]:
                assert item.revision in narrow
                assert "refresh_token" in joined[3], narrow
            assert "visited_household" in joined[4], narrow


async def test_a_plan_says_how_large_the_tables_are_that_are_rewritten(
    gridloop: Command, server: str
) -> None:
    async with cloned(server, "template0") as url:
        await asyncio.to_thread(migrations.upgrade, url, None, "0009")
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO case_file (problem, grid, state, duty, severity, handler_unit, raised_at,"
            " raised_by, escalated, received_at)"
            " SELECT gen_random_uuid(), '1', 'raised', 'd', 's', 'u', now(), 'x', 0, now()"
            " FROM generate_series(1, 4321)"
        )
        await connection.close()
        shown = await gridloop(
            "migrate", "--plan", "--to", "0010", DATABASE_URL=url, OWNER_DATABASE_URL=None
        )
        assert "4,321" in shown.output, shown.output
        assert "0011" not in shown.output


async def test_the_way_to_a_revision_and_back(gridloop: Command, server: str) -> None:
    async with cloned(server, "template0") as url:
        urls = {"DATABASE_URL": as_role(url, ROLES.service), "OWNER_DATABASE_URL": url}

        async def revision() -> object:
            return (await dumped(url))[-1][0]

        assert (await gridloop("migrate", "--to", "0014", **urls)).exit_code == 0
        assert await revision() == "0014"
        before = await dumped(url)
        assert (await gridloop("migrate", "--to", "0015", **urls)).exit_code == 0
        assert await revision() == "0015"
        assert "0015" in (await gridloop("migrate", "--plan", "--to", "0014", **urls)).output
        back = await gridloop("migrate", "--to", "0014", **urls)
        assert back.exit_code == 0
        assert "end them first" in back.output
        assert await dumped(url) == before
        refused = await gridloop("migrate", "--to", "0013", **urls)
        assert refused.exit_code == 1
        assert all(said in refused.output for said in ("0014", "timelines", "时间线"))
        planned = await gridloop("migrate", "--plan", "--to", "0013", **urls)
        assert planned.exit_code == 1
        assert "would lose" in planned.output
        # All that would be lost is named.
        refused = await gridloop("migrate", "--to", "0012", **urls)
        assert all(f"{revision}: " in refused.output for revision in ("0014", "0013"))
        assert await revision() == "0014"
        unknown = await gridloop("migrate", "--to", "0099", **urls)
        assert unknown.exit_code == 2
        assert all(name in unknown.output for name in ("0099", *migrations.revisions()))
        assert (await gridloop("migrate", "--plan", "--to", "0099", **urls)).exit_code == 2


async def test_a_release_migrates_nothing_over_newer_tables_that_let_it_run(
    gridloop: Command, server: str
) -> None:
    async with cloned(server, "template0") as url:
        urls: dict[str, str | None] = {"DATABASE_URL": url, "OWNER_DATABASE_URL": None}
        assert (await gridloop("migrate", **urls)).exit_code == 0
        connection = await asyncpg.connect(url)
        await connection.execute(f"UPDATE alembic_version SET version_num = '{LATER}'")
        await connection.close()
        result = await gridloop("migrate", **urls)
        assert (result.exit_code, result.exception) == (0, None)
        assert f"newer release ({LATER})" in result.output
        assert (await gridloop("migrate", "--plan", **urls)).exit_code == 0
        for arguments in (["--to", "0014"], ["--plan", "--to", "0014"]):
            refused = await gridloop("migrate", *arguments, **urls)
            assert refused.exit_code == 1
            assert f"newer release ({LATER})" in refused.output
        assert (await dumped(url))[-1] == (LATER,)
        assert (await gridloop("check", **urls)).exit_code == 0
