"""Large tables are rewritten while others use them; a migration that is killed goes on where it
was.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

import migrations
from migrations import batches
from simulator.throwaway import ROLES
from tests.commands import run_command
from tests.conftest import cloned
from tests.world import until_none

LINES, LATER = 4_000, "ffffffff-0000-4000-8000-000000000000"
_FILL = """
    INSERT INTO mutation (received_at, device, seq, staff_code, kind, id, grid, stamp, offset_ms,
        digest, body, outcome, rev, verdict)
    SELECT now() + make_interval(secs => n),
           ('00000000-0000-4000-8000-0000000000' || lpad((n % 37)::text, 2, '0'))::uuid, n, 'W',
               'visit',
           'r' || n % 500, '1', n, 0, sha256(n::text::bytea),
           json_build_object('seq', n, 'text', 'é"\\' || n), 'applied', n, '{"a" :1}'
    FROM generate_series(1, $1::int) AS n
"""
_ALL = (
    "SELECT device, seq, received_at, body::text, verdict::text, digest, rev, origin"
    " FROM mutation ORDER BY device, seq, received_at"
)
# All that can be told of the tables from the catalogue.
_SHAPE = """
    SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.attstorage, NULL, c.reloptions::text
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
        AND NOT a.attisdropped
    UNION ALL SELECT tablename, 0, indexname, indexdef, NULL, NULL, NULL, NULL FROM pg_indexes
        WHERE schemaname = 'public'
    UNION ALL SELECT t.tgrelid::regclass::text, 0, t.tgname, NULL, NULL, NULL, NULL, NULL
        FROM pg_trigger t WHERE NOT tgisinternal
    UNION ALL SELECT conrelid::regclass::text, 0, conname, pg_get_constraintdef(oid), NULL, NULL,
        NULL, NULL FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT proname, 0, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT c.relname, 0, a.grantee::regrole::text, a.privilege_type, NULL, NULL, NULL,
        NULL FROM pg_class c, aclexplode(relacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture
async def url(server: str, empty_template: str) -> AsyncIterator[str]:  # which makes the roles
    """A database at revision 0004 with lines in its log, which another role may read."""
    async with cloned(server, "template0") as url:
        await asyncio.to_thread(migrations.upgrade, url, None, "0004")
        connection = await asyncpg.connect(url)
        await connection.execute(_FILL, LINES)
        await connection.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON mutation TO {ROLES.service}"
        )
        await connection.close()
        yield url


async def shape(connection: "asyncpg.Connection[Any]") -> list[tuple[object, ...]]:
    return [tuple(row) for row in await connection.fetch(_SHAPE)]


async def test_in_batches_the_result_is_the_same_as_at_once(
    url: str, server: str, empty_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(url)
    lines = await connection.fetch(_ALL)
    name = await connection.fetchval("SELECT current_database()")
    await connection.close()
    async with cloned(server, name) as other:
        await asyncio.to_thread(migrations.upgrade, other)
        monkeypatch.setattr(batches, "SMALL_BYTES", 0)
        monkeypatch.setattr(batches, "ROWS", 700)
        await asyncio.to_thread(migrations.upgrade, url)
        connection, at_once = await asyncpg.connect(url), await asyncpg.connect(other)
        assert await connection.fetch(_ALL) == await at_once.fetch(_ALL) == lines
        assert await shape(connection) == await shape(at_once)
        assert (
            await connection.fetchval("SELECT pg_typeof(body)::text FROM mutation LIMIT 1")
            == "text"
        )
        await connection.close()
        await at_once.close()


async def come(connection: "asyncpg.Connection[Any]") -> int:
    """How many rows of the log a migration has rewritten so far, as it keeps it."""
    if await connection.fetchval("SELECT to_regclass('rewrite_position') IS NULL"):
        return 0
    with suppress(asyncpg.UndefinedTableError):
        return int(
            await connection.fetchval(
                "SELECT rows FROM rewrite_position WHERE name = 'rewrite mutation'"
            )
            or 0
        )
    return 0


async def write(url: str, over: asyncio.Event) -> int:
    """Adds, changes and takes away lines as the service's role until it is over; how many it
    added.
    """
    connection = await asyncpg.connect(url)
    await connection.execute(f"SET ROLE {ROLES.service}")
    number = 0
    while not over.is_set():
        number += 1
        await connection.execute(_FILL.replace("'00000000-0000-4000-8000-0000000000' || lpad((n %"
                                               " 37)::text, 2, '0')", f"'{LATER}'")
                                 .replace("n, 'W'", f"{number}, 'W'"), 1)  # fmt: skip
        await connection.execute(
            "UPDATE mutation SET rev = -1 WHERE seq = $1 AND device <> $2::uuid",
            number * 7 % LINES + 1,
            LATER,
        )
        await connection.execute(
            "DELETE FROM mutation WHERE seq = $1 AND device <> $2::uuid",
            number * 11 % LINES + 1,
            LATER,
        )
        await asyncio.sleep(0.005)
    await connection.close()
    return number


@pytest.mark.parametrize(("ends", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("the session", 1)])
async def test_a_migration_that_is_ended_within_a_rewrite_says_how_far_it_came_and_what_to_do(
    url: str, ends: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = (
        "from migrations import batches\n"
        "batches.SMALL_BYTES, batches.ROWS, batches.PAUSE_S = 0, 100, 0.02\n"
        "from service.cli.app import app\napp()"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", begun, "migrate", "--to", "0006"),
        env=clean | {"GRIDLOOP_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(30):
        while await come(connection) < LINES // 4:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    if ends == "the session":
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    else:
        process.send_signal(getattr(signal, ends))
    output = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode == code, output
    assert "Traceback" not in output
    english, chinese = (
        next(line for line in output.splitlines() if begins in line)
        for begins in ("Migrating ", "迁移")
    )
    for named in ("0005", "mutation", "gridloop migrate"):
        assert named in english
        assert named in chinese
    assert "rewrite" not in chinese
    kept = f"{await come(connection):,} rows done"
    await connection.close()
    for arguments in (["--plan"], []):
        again = await run_command(
            monkeypatch, ["migrate", "--to", "0006", *arguments], {"DATABASE_URL": url}
        )
        assert again.exit_code == 0, again.output
        assert kept in again.output, again.output
    # What it ran is listed.
    assert "0006  Keeps the bodies of the log as text" in again.output


async def test_a_migration_that_waits_says_who_is_in_its_way_and_a_second_that_it_waits(
    url: str,
) -> None:
    connection = await asyncpg.connect(url)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")}

    async def migrating() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "migrate", "--to", "0005"),
            env=clean | {"GRIDLOOP_DATABASE_URL": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    async with connection.transaction():
        await connection.execute("LOCK TABLE visit, mutation IN ACCESS SHARE MODE")
        await connection.execute("LOCK TABLE visit, mutation IN ACCESS EXCLUSIVE MODE")
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        first = await migrating()
        assert first.stderr is not None
        said = [(await asyncio.wait_for(first.stderr.readline(), 30)).decode() for _ in range(2)]
        second = await migrating()
        assert second.stderr is not None
        waits = [(await asyncio.wait_for(second.stderr.readline(), 30)).decode() for _ in range(2)]
    assert all(str(pid) in line for line in said), said
    assert any(table in said[0] for table in ("table visit", "table mutation")), said
    assert "gives up" in said[0]
    assert "放弃" in said[1]
    assert "Another ‘gridloop migrate’" in waits[0]
    assert "另一个" in waits[1]
    for process in (first, second):
        assert await asyncio.wait_for(process.wait(), 30) == 0
    await connection.close()


async def test_a_killed_migration_goes_on_where_it_was_and_others_write_meanwhile(url: str) -> None:
    code = f"""
import migrations
from migrations import batches
batches.SMALL_BYTES, batches.ROWS, batches.PAUSE_S = 0, 100, 0.02
migrations.upgrade({url!r}, None, "0006")
"""

    async def migrating() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stderr=subprocess.PIPE
        )

    connection = await asyncpg.connect(url)
    over = asyncio.Event()
    writing = asyncio.create_task(write(url, over))
    process = await migrating()
    async with asyncio.timeout(30):
        while await come(connection) < LINES // 4:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    at_work = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE 'WITH part%'"
    )
    await until_none(lambda: connection.fetch(at_work))
    kept = await come(connection)
    assert LINES // 4 <= kept < LINES
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0005"
    second = await migrating()
    began = 0
    while second.returncode is None:
        began = began or await come(connection)
        await asyncio.sleep(0.01)
        await asyncio.wait([asyncio.create_task(second.wait())], timeout=0.01)
    assert second.returncode == 0, (await second.communicate())[1].decode()
    assert began >= kept, "it began again from the start"
    over.set()
    added = await writing
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0006"
    assert (
        await connection.fetchval("SELECT count(*) FROM mutation WHERE device = $1::uuid", LATER)
        == added
    )
    removed = {number * 11 % LINES + 1 for number in range(1, added + 1)}
    left = {
        row["seq"]: row["rev"]
        for row in await connection.fetch(
            "SELECT seq, rev FROM mutation WHERE device <> $1::uuid", LATER
        )
    }
    assert left.keys() == {*range(1, LINES + 1)} - removed
    changed: set[int] = {number * 7 % LINES + 1 for number in range(1, added + 1)}
    assert {seq for seq, rev in left.items() if rev == -1} == changed & left.keys()
    left_over = (
        "relname LIKE '%\\_new' OR relname LIKE 'mutation\\_new%' OR relname = 'rewrite_position'"
    )
    assert await connection.fetch(f"SELECT relname FROM pg_class WHERE {left_over}") == []
    await connection.close()


async def test_work_that_has_begun_goes_on_though_the_table_is_small_by_now(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        """In place of a signal."""

    def end(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(batches, "SMALL_BYTES", 0)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "in_ranges", end)
        with pytest.raises(Killed):
            await asyncio.to_thread(migrations.upgrade, url)
    monkeypatch.setattr(batches, "SMALL_BYTES", 1 << 40)
    await asyncio.to_thread(migrations.upgrade, url)
    connection = await asyncpg.connect(url)
    left = "SELECT relname FROM pg_class WHERE relname ~ '_new$|rewrite_position'"
    assert await connection.fetch(left) == []
    assert await connection.fetch("SELECT tgname FROM pg_trigger WHERE tgname ~ 'alike'") == []
    assert await connection.fetchval("SELECT count(*) FROM mutation") == LINES
    await connection.close()
