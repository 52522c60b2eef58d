"""What a migration over a large log costs: 0006, which turns the bodies of the log to text, over
millions of lines.

`python -m tests.bench.log_rewrite [--rows 5000000] [--keep FOLDER]`. Fills a database at revision
0005 with lines of the log and as many visits, migrates it to 0006 in a process of its own, and
meanwhile reads and writes the log over other connections. Prints how long the migration took, the
longest that a reader and a writer waited, how long locks were held that keep each of them out, and
the memory of the migration and of its session in PostgreSQL. Some 8 GB of disk for 5 million lines.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import asyncpg
import psutil
from alembic import command
from rich.console import Console
from rich.table import Table

import migrations
from service.runtime.postgres import embedded, fresh_database, temporary_folder

ROWS = 5_000_000
BEFORE, AFTER = "0005", "0006"
_AT_ONCE = 250_000
_EVERY_S = 0.02
# Devices that hand in ten visits at a time, as phones do in an evening.
_DEVICES, _PUSH = 4_000, 10
_DEVICE = "lpad(to_hex(({push}) % {devices} + 1), 8, '0') || '-0000-4000-8000-000000000000'"
_LOG = """
    INSERT INTO mutation (received_at, device, seq, staff_code, kind, id, grid, stamp, offset_ms,
        digest, body, outcome, rev)
    SELECT '2026-01-01'::timestamptz + make_interval(secs => n / {push} * 0.5), ({device})::uuid,
           seq, 'W' || grid || '-1', 'visit', id,
           grid, 1767225600000 * 65536 + n, 0, sha256(n::text::bytea),
           json_build_object('seq', seq, 'kind', 'visit', 'id', id, 'grid', grid, 'op', 'put',
           'base', 0,
                'stamp', '019b76da8800' || lpad(to_hex(n % 65536), 4, '0'), 'fields',
                json_build_object(
                'visited_at', '2026-01-01T09:00:00.000+08:00', 'household_id',
                lpad(to_hex(n), 8, '0') || '-0000-5000-8000-000000000000',
                'duties', '{{"add":["emergency"]}}'::json,
                'content', '入户走访，查看取暖炉具和烟道，提醒通风，防止中毒，老人很好。')),
           'applied', n / {devices} + 1
    FROM generate_series($1::bigint, $2::bigint) AS n, LATERAL (
        SELECT n / {push} / {devices} * {push} + n % {push} + 1 AS seq,
               lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000' AS id,
               '1502' || lpad((n / {push} % {devices})::text, 11, '0') AS grid) AS of
"""
_VISITS = """
    INSERT INTO visit (id, grid, rev, deleted, device, seq, stamp, by, created_by, received_at,
        echo, visited_at, duties, content)
    SELECT id::uuid, grid, rev, false, device, seq, stamp, staff_code, staff_code, received_at,
           false, received_at, '{emergency}',
           '入户走访，查看取暖炉具和烟道，提醒通风，防止一氧化碳中毒，家中老人身体状况良好。'
    FROM mutation WHERE received_at >= (SELECT coalesce(max(received_at), '-infinity') FROM visit)
        AND seq > 0
"""
# Kept away while the others are filled, which is quicker.
_LATER = ("mutation_record", "visit_feed", "visit_when", "visit_days")
_WRITE = """
    INSERT INTO mutation (received_at, device, seq, staff_code, kind, id, grid, stamp, offset_ms,
        digest, body, outcome, rev)
    VALUES (now(), 'ffffffff-0000-4000-8000-000000000000', $1, 'W', 'visit', 'x', '1502', 1, 0, 'x',
        '{"seq":1}', 'applied', 1)
"""
_READ = (
    "SELECT count(*) FROM mutation WHERE device = 'ffffffff-0000-4000-8000-000000000000'"
    " AND seq > $1"
)
# Locks on the tables that are rewritten, held by the session that migrates.
_LOCKS = """
    SELECT c.relname AS name, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND c.relname IN ('mutation', 'visit') AND l.pid = ANY ($1::int[])
"""
_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name <> 'bench'"
)


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection of the bench's own, which is not the migration's."""
    return await asyncpg.connect(url, server_settings={"application_name": "bench"})


def to_revision(url: str, revision: str) -> None:
    """Migrates up to a revision."""
    command.upgrade(migrations.configuration(url), revision)


async def fill(url: str, rows: int, console: Console) -> None:
    """Lines of the log as the release of revision 0005 wrote them, and the visits that came of
    them.
    """
    connection = await connect(url)
    values = {
        "push": _PUSH,
        "devices": _DEVICES,
        "device": _DEVICE.format(push=f"n / {_PUSH}", devices=_DEVICES),
    }
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY ($1::text[])",
        list(_LATER),
    )
    for row in indexes:
        await connection.execute(f"DROP INDEX {row['indexname']}")
    began = time.perf_counter()
    for first in range(0, rows, _AT_ONCE):
        last = min(first + _AT_ONCE, rows) - 1
        await connection.execute(_LOG.format(**values), first, last, timeout=None)
        if last % 1_000_000 > 1_000_000 - _AT_ONCE:
            console.print(f"filled {last + 1:,} lines after {time.perf_counter() - began:.0f} s")
    await connection.execute(_VISITS, timeout=None)
    for row in indexes:
        await connection.execute(row["indexdef"], timeout=None)
    await connection.execute("VACUUM ANALYZE", timeout=None)
    await connection.execute("CHECKPOINT", timeout=None)
    console.print(f"filled {rows:,} lines and visits in {time.perf_counter() - began:.0f} s")
    await connection.close()


class Meanwhile:
    """What happens to others while a migration runs. Seconds."""

    def __init__(self) -> None:
        self.waits: dict[str, list[float]] = {"read": [], "write": []}
        self.held: Counter[str] = Counter()
        self.memory = {"process": 0, "session": 0}
        self.over = asyncio.Event()

    async def read(self, url: str) -> None:
        """Reads lines of a device now and then."""
        await self._again_and_again(url, "read", _READ)

    async def write(self, url: str) -> None:
        """Adds lines of a device now and then."""
        await self._again_and_again(url, "write", _WRITE)

    async def _again_and_again(self, url: str, what: str, statement: str) -> None:
        connection = await connect(url)
        number = 0
        while not self.over.is_set():
            number += 1
            began = time.perf_counter()
            await connection.execute(statement, number, timeout=None)
            self.waits[what].append(time.perf_counter() - began)
            await asyncio.sleep(_EVERY_S)
        await connection.close()

    async def watch(self, url: str, process: psutil.Process) -> None:
        """Looks at locks and memory."""
        connection = await connect(url)
        before = time.perf_counter()
        while not self.over.is_set():
            pids = [row["pid"] for row in await connection.fetch(_SESSIONS)]
            now = time.perf_counter()
            for row in await connection.fetch(_LOCKS, pids):
                self.held[f"{row['name']} {row['mode']}"] += now - before  # type: ignore[assignment]
            before = now
            try:
                self.memory["process"] = max(self.memory["process"], process.memory_info().rss)
                sessions = [psutil.Process(pid).memory_full_info().uss for pid in pids]
                self.memory["session"] = max([self.memory["session"], *sessions])
            except psutil.Error:
                pass  # it has ended
            await asyncio.sleep(_EVERY_S)
        await connection.close()


async def measure(url: str) -> tuple[float, Meanwhile]:
    """The seconds of the migration, and what happened meanwhile."""
    code = f"from tests.bench.log_rewrite import to_revision; to_revision({url!r}, {AFTER!r})"
    seen = Meanwhile()
    others = [asyncio.create_task(seen.read(url)), asyncio.create_task(seen.write(url))]
    await asyncio.sleep(1)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    others.append(asyncio.create_task(seen.watch(url, psutil.Process(process.pid))))
    exit_code = await process.wait()
    took = time.perf_counter() - began
    await asyncio.sleep(1)
    seen.over.set()
    await asyncio.gather(*others)
    assert exit_code == 0, "the migration failed"
    await verify(url, len(seen.waits["write"]))
    return took, seen


async def verify(url: str, written: int) -> None:
    """Nothing that was written meanwhile is missing, and the bodies are text."""
    connection = await connect(url)
    kept = await connection.fetchval(
        "SELECT count(*) FROM mutation WHERE device = 'ffffffff-0000-4000-8000-000000000000'"
    )
    assert kept == written, (
        f"{written} lines were written while the migration ran, {kept} are there"
    )
    assert await connection.fetchval("SELECT pg_typeof(body)::text FROM mutation LIMIT 1") == "text"
    await connection.close()


def main() -> None:
    """Fills, migrates, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of the database server; what was filled in it is used again",
    )
    options = parser.parse_args()
    console = Console()
    with temporary_folder("bench") as temporary, embedded(options.keep or temporary) as server:
        filled = f"log_{options.rows}"
        if not asyncio.run(is_there(server, filled)):
            url = asyncio.run(fresh_database(server, "log_filling"))
            to_revision(url, BEFORE)
            asyncio.run(fill(url, options.rows, console))
            asyncio.run(rename(server, "log_filling", filled))
        url = asyncio.run(fresh_database(server, "log_measured", filled))
        took, seen = asyncio.run(measure(url))
        size = asyncio.run(size_of(url))
    table = Table(
        title=f"migration {AFTER} over {options.rows:,} lines of the log and as many visits"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_row("seconds", f"{took:.1f}")
    table.add_row("the log afterwards, with indexes, MB", f"{size / 1e6:.0f}")
    for what, waits in seen.waits.items():
        table.add_row(f"{what}s meanwhile", str(len(waits)))
        table.add_row(f"longest {what}, s", f"{max(waits):.2f}")
        table.add_row(f"median {what}, ms", f"{1000 * sorted(waits)[len(waits) // 2]:.1f}")
    for name, seconds in sorted(seen.held.items()):
        table.add_row(f"lock held: {name}, s", f"{seconds:.1f}")
    for name, bytes_ in seen.memory.items():
        table.add_row(f"memory of the {name}, MB", f"{bytes_ / 1e6:.0f}")
    console.print(table)


async def is_there(server: str, name: str) -> bool:
    """Whether the server has a database."""
    connection = await connect(server)
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name
    )
    await connection.close()
    return bool(found)


async def rename(server: str, old: str, new: str) -> None:
    """Gives a database another name."""
    connection = await connect(server)
    await connection.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    await connection.close()


async def size_of(url: str) -> int:
    """Bytes of the log on disk."""
    connection = await connect(url)
    size: int = await connection.fetchval("SELECT pg_total_relation_size('mutation')")
    await connection.close()
    return size


if __name__ == "__main__":
    main()
