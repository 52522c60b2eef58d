"""How fast the sync path is, against what PostgreSQL alone does with the same rows in the same run."""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

import migrations
from service.app import utc_now
from service.database import Database, open_pool
from service.postgres import embedded, fresh_database
from service.roster.load import load
from service.settings import Settings
from tests.bench.crowd import Phone, Unexpected, in_turn, packed, workers
from tests.bench.service import Service, serving
from tests.bench.wire import Line, Packed
from tests.conftest import CHEAP
from tests.world import PASSWORD

DEVICES = 64
CONCURRENCY = 16


async def roster_database(server: str, name: str = "bench_roster") -> str:
    """The name of a database with the whole roster and no work yet, made once a folder."""
    connection = await asyncpg.connect(server)
    there = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
    await connection.close()
    if not there:
        draft = await fresh_database(server, name + "_draft")
        await asyncio.to_thread(migrations.upgrade, draft)
        pool = await open_pool(draft, 2, command_timeout=None)
        await load(Database(pool), Settings(database_url=draft), utc_now(), password=CHEAP.hash(PASSWORD))
        await pool.execute("VACUUM ANALYZE")
        await pool.close()
        connection = await asyncpg.connect(server)
        await connection.execute(f'ALTER DATABASE "{name}_draft" RENAME TO "{name}"')
        await connection.close()
    return name


async def signed_in(service: Service, count: int, seed: int, one_a_grid: bool = True) -> list[Phone]:
    """Phones that have pulled all there is."""
    phones = [Phone(staff, grid, random.Random(f"{seed} {staff}")) for staff, grid in workers(count, one_a_grid)]

    def arrive(phone: Phone) -> Any:
        async def work(line: Line) -> None:
            await phone.sign_in(line)
            await phone.catch_up(line)

        return work

    await in_turn(service.url, [arrive(phone) for phone in phones], 8)
    return phones


async def push(
    service: Service,
    work: Sequence[tuple[Phone, Sequence[Packed]]],
    concurrency: int = CONCURRENCY,
    count: int = 0,
    good: bytes = b'"applied"',
) -> tuple[float, list[float]]:
    """Sends prepared batches, those of a phone in turn; the seconds of the whole and of each exchange."""
    todo = deque((phone, deque(batches)) for phone, batches in work)
    times: list[float] = []

    async def send() -> None:
        line = await Line.open(service.url)
        while todo:
            phone, batches = todo.popleft()
            began = time.perf_counter()
            answer = await phone.exchange(line, batches.popleft())
            times.append(time.perf_counter() - began)
            if answer.status != 200 or (count and answer.body.count(good) != count):
                raise Unexpected(f"{answer.status} {answer.body[:500]!r}")
            if batches:
                todo.append((phone, batches))
        line.close()

    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(concurrency)))
    return time.perf_counter() - began, times


async def idle(service: Service, phones: Sequence[Phone], polls: int, concurrency: int = CONCURRENCY) -> tuple[float, list[float]]:
    """Exchanges with nothing to hand in and nothing to fetch."""
    times: list[float] = []
    left = polls

    async def poll(own: list[Phone]) -> None:
        nonlocal left
        line = await Line.open(service.url)
        place = 0
        while left > 0:
            left -= 1
            place += 1
            began = time.perf_counter()
            answer = await own[place % len(own)].exchange(line)
            times.append(time.perf_counter() - began)
            if answer.status != 200 or b'"changes":[]' not in answer.body:
                raise Unexpected(f"{answer.status} {answer.body[:500]!r}")
        line.close()

    began = time.perf_counter()
    await asyncio.gather(*(poll(list(phones[place::concurrency])) for place in range(concurrency)))
    return time.perf_counter() - began, times


async def raw_insert(url: str, since_rev: dict[str, int], batch: int, connections: int = 8) -> tuple[float, int]:
    """The visits that were pushed since, inserted by PostgreSQL alone into a table like theirs."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS raw_visit (LIKE visit INCLUDING ALL)")
    names = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'visit'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    ]
    types = {
        row["attname"]: row["format_type"]
        for row in await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'visit'::regclass AND attnum > 0"
        )
    }
    selected = ", ".join(f'v."{name}"::text' if types[name] in ("text[]",) else f'v."{name}"' for name in names)
    rows = await connection.fetch(
        f"SELECT {selected} FROM visit v JOIN unnest($1::text[], $2::bigint[]) AS s(grid, rev) ON v.grid = s.grid AND v.rev > s.rev ORDER BY v.grid, v.rev",
        list(since_rev),
        list(since_rev.values()),
    )
    await connection.close()
    arrays = ", ".join(f"${i}::{'text' if types[n] == 'text[]' else types[n]}[]" for i, n in enumerate(names, 1))
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(f'r."{n}"::text[]' if types[n] == "text[]" else f'r."{n}"' for n in names)
    sql = f"INSERT INTO raw_visit ({quoted}) SELECT {values} FROM unnest({arrays}) AS r({quoted})"
    batches = [list(map(list, zip(*rows[i : i + batch]))) for i in range(0, len(rows), batch)]
    random.Random(1).shuffle(batches)
    pool = await asyncpg.create_pool(url, min_size=connections, max_size=connections)

    async def work() -> None:
        async with pool.acquire() as lent:
            while batches:
                await lent.execute(sql, *batches.pop())

    await asyncio.gather(*(lent_warm(pool, sql, len(names)) for _ in range(connections)))
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    took = time.perf_counter() - began
    await pool.close()
    return took, len(rows)


async def lent_warm(pool: Any, sql: str, columns: int) -> None:
    async with pool.acquire() as lent:
        await lent.execute(sql, *[[] for _ in range(columns)])


def p99(times: list[float]) -> float:
    return 1000 * sorted(times)[int(len(times) * 0.99)]


async def heads(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT grid, rev FROM counter WHERE grid ~ '^[0-9]{15}$'")
    await connection.close()
    return {row["grid"]: row["rev"] for row in rows}


async def main_async(server: str, folder: Path, options: Any) -> None:
    template = await roster_database(server)
    url = await fresh_database(server, "bench_sync", template)
    for kind in options.only:
        print(kind)
    with serving(url, folder, 2) as service:
        phones = await signed_in(service, DEVICES, 1)
        for size, per in ((50, options.batches), (500, max(1, options.batches // 8))):
            if f"push{size}" not in options.only:
                continue
            for _ in range(options.rounds):
                before = await heads(url)
                work = [(phone, [packed(phone.visits(size)) for _ in range(per)]) for phone in phones]
                cpu = service.cpu_s()
                seconds, times = await push(service, work, count=size)
                cpu = service.cpu_s() - cpu
                raw, rows = await raw_insert(url, before, size)
                assert rows == size * per * DEVICES, rows
                print(
                    f"push {size}: {rows / seconds:,.0f}/s raw {rows / raw:,.0f}/s ratio {raw / seconds:.3f} p50 {1000 * statistics.median(times):.0f} p99 {p99(times):.0f} ms; cpu {cpu / seconds:.2f}; us/record {1e6 * cpu / rows:.0f}",
                    flush=True,
                )
        if "idle" in options.only:
            for _ in range(options.rounds):
                cpu = service.cpu_s()
                seconds, times = await idle(service, phones, 6000)
                cpu = service.cpu_s() - cpu
                print(
                    f"idle {6000 / seconds:,.0f}/s p50 {1000 * statistics.median(times):.1f} p99 {p99(times):.1f} cpu {cpu / seconds:.2f} us/poll {1e6 * cpu / 6000:.0f}",
                    flush=True,
                )
        print([w.cpu_times()[:2] for w in service.workers()], service.memory_mb())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--only", nargs="+", default=["push50", "push500", "idle"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as temporary, embedded(options.keep or Path(temporary)) as server:
        uvloop.run(main_async(server, Path(temporary) / "service", options))


if __name__ == "__main__":
    main()
