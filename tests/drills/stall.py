"""PostgreSQL stalls under phones: a grid is locked, a table is locked, a backend that phones use is
stopped, the whole server is stopped.

When the phones learn of it, what they get, and what the p99 of other grids is beside that of a
quiet while right before, in several rounds where they are not to notice it. Run with `python -m
tests.drills.stall`; stopping processes of PostgreSQL needs to be their user, or root.
"""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import psutil

from tests.drills.common import (
    UNNOTICED_MS,
    WANTED_RATIO,
    Phone,
    Report,
    count_kept,
    main,
    p99_ms,
    prepared_server,
    service_over,
    service_url,
    sign_in,
)

ONSET_S = 1.0
GRIDS, PHONES, WARM_UP_S, QUIET_S, STALL_S, AFTER_S, GIVES_UP_S = 4, 24, 1, 7, 10, 4, 30
# Of a stall that other grids are not to notice.
ROUNDS = 3
Stalled = Callable[[asyncpg.Connection, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def a_grid(connection: asyncpg.Connection, grid: str) -> AsyncIterator[None]:
    """Somebody holds the counter of a grid."""
    async with connection.transaction():
        assert await connection.fetchval(
            "SELECT grid FROM counter WHERE grid = $1 FOR UPDATE", grid
        )
        yield


@asynccontextmanager
async def a_table(connection: asyncpg.Connection, grid: str) -> AsyncIterator[None]:
    """Somebody holds the table of visits."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE visit IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def a_backend(connection: asyncpg.Connection, grid: str) -> AsyncIterator[None]:
    """One process of PostgreSQL that serves phones is stopped between two transactions."""
    async with stopped(connection, holding=False):
        yield


@asynccontextmanager
async def a_backend_with_locks(connection: asyncpg.Connection, grid: str) -> AsyncIterator[None]:
    """One that has just locked grids."""
    async with stopped(connection, holding=True):
        yield


@asynccontextmanager
async def stopped(connection: asyncpg.Connection, holding: bool) -> AsyncIterator[None]:
    """Stops a process, with SIGSTOP, that serves phones, and holds a transaction's locks or none;
    goes on in the end.
    """
    locked = (
        "EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'counter'::regclass)"
    )
    is_wanted = locked if holding else "a.state = 'idle' AND a.query LIKE 'COMMIT%'"
    sql = f"""
        SELECT a.pid FROM pg_stat_activity a
        WHERE a.application_name = 'gridloop' AND a.datname = current_database() AND {is_wanted}
        ORDER BY a.state_change DESC LIMIT 1
    """
    for _ in range(2_000):
        pid = await connection.fetchval(sql)
        if pid is None:
            continue
        process = psutil.Process(pid)
        process.suspend()
        held = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE pid = $1 AND relation = 'counter'::regclass", pid
        )
        if bool(held) == holding:
            break
        process.resume()
    else:
        raise AssertionError("no such process was met")
    try:
        yield
    finally:
        process.resume()


@asynccontextmanager
async def the_server(connection: asyncpg.Connection, grid: str) -> AsyncIterator[None]:
    """Every process of PostgreSQL is stopped, as on a host that hangs."""
    first = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
    assert first is not None
    family = [first, *first.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


# What is stalled, and whether other grids are to notice nothing of it.
STALLS: tuple[tuple[str, Stalled, bool], ...] = (
    ("a grid is locked", a_grid, True),
    ("the table of visits is locked", a_table, False),
    ("an idle backend is stopped", a_backend, True),
    # It holds the grids of all phones that shared its transaction.
    ("a backend that has locked grids is stopped", a_backend_with_locks, False),
    ("all of PostgreSQL is stopped", the_server, False),
)


class Round(NamedTuple):
    """One stall after a quiet while: when it began and ended, on the clock of the process."""

    quiet_from: float
    begins: float
    ends: float

    def quiet_ms(self, phones: Sequence[Phone]) -> float:
        """The p99 of what was answered in the quiet while."""
        return p99_ms(
            took
            for phone in phones
            for at, took, _ in phone.took
            if self.quiet_from < at and at + took < self.begins
        )

    def beside_ms(self, phones: Sequence[Phone]) -> float:
        """The p99 of what was waiting or asked while it lasted."""
        return p99_ms(
            took
            for phone in phones
            for at, took, _ in phone.took
            if self.begins <= at + took and self.quiet_from < at < self.ends
        )

    def later_ms(self, phones: Sequence[Phone]) -> float:
        """The same of what was asked after the first moment: those who shared a transaction when
        it began have waited, and from then on nobody is to.
        """
        return p99_ms(
            took
            for phone in phones
            for at, took, _ in phone.took
            if self.begins + ONSET_S <= at < self.ends
        )


async def one(
    url: str,
    clients: list[httpx.AsyncClient],
    name: str,
    stalled: Stalled,
    spares_others: bool,
    report: Report,
) -> None:
    """Phones live through a kind of stall, each time after a quiet while."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT code FROM unit WHERE length(code) = 15 ORDER BY code LIMIT $1", GRIDS
    )
    grids = [row["code"] for row in rows]
    seen: Counter[str] = Counter()
    phones = [
        Phone(client, seen, f"W{grids[number % GRIDS]}-1", grids[number % GRIDS], visits=5)
        for number, client in enumerate(clients)
    ]
    await sign_in(phones)
    over = asyncio.Event()
    living = [
        asyncio.create_task(phone.live(over, random.Random(number)))
        for number, phone in enumerate(phones)
    ]
    await asyncio.sleep(WARM_UP_S)
    rounds = []
    for _ in range(ROUNDS if spares_others else 1):
        quiet_from = time.monotonic()
        await asyncio.sleep(QUIET_S)
        begins = time.monotonic()
        async with stalled(connection, grids[0]):
            await asyncio.sleep(STALL_S)
        rounds.append(Round(quiet_from, begins, time.monotonic()))
        await asyncio.sleep(AFTER_S)
    over.set()
    await asyncio.gather(*living)
    report_learning(report, name, phones, rounds[0].begins)
    others = [phone for phone in phones if phone.grid != grids[0]]
    report_others(report, name, others, rounds, spares_others)
    report.answered(Counter(seen), f"phones, {name}")
    await count_kept(url, report, phones, [])
    await connection.close()


def report_learning(report: Report, name: str, phones: Sequence[Phone], begins: float) -> None:
    """When the phones learned of it, and how long the longest of them waited."""
    refused = [at + took - begins for phone in phones for at, took, good in phone.took if not good]
    longest = max(took for phone in phones for _, took, _ in phone.took)
    learned = f"the first 503 after {min(refused):.1f} s" if refused else "no 503"
    report.row(
        f"{name}: phones learn",
        f"{learned}; the longest answer {longest:.1f} s",
        f"under {GIVES_UP_S} s",
        longest < GIVES_UP_S,
    )


def report_others(
    report: Report,
    name: str,
    others: Sequence[Phone],
    rounds: Sequence[Round],
    spares_others: bool,
) -> None:
    """What phones of other grids felt: the median of the rounds, for one quiet while is not like
    the next.
    """
    quiet = [each.quiet_ms(others) for each in rounds]
    beside = [each.beside_ms(others) for each in rounds]
    later = [each.later_ms(others) for each in rounds]
    report.row(
        f"{name}: p99 of other grids, quiet, and beside it in all",
        f"{listed(quiet)} ms, {listed(beside)} ms: {ratio(beside, quiet):.1f} x",
    )
    report.row(
        f"{name}: p99 of other grids after the first {ONSET_S:g} s",
        f"{listed(later)} ms: {ratio(later, quiet):.1f} x",
        f"{WANTED_RATIO:g} x quiet, or {UNNOTICED_MS} ms" if spares_others else "",
        not spares_others
        or ratio(later, quiet) <= WANTED_RATIO
        or statistics.median(later) <= UNNOTICED_MS,
    )
    if spares_others:
        report.figures.append(
            f"{name}: p99 of others {ratio(beside, quiet):.1f} x quiet, after the first"
            f" {ONSET_S:g} s {ratio(later, quiet):.1f} x, median of {len(rounds)} rounds"
        )


def listed(times_ms: Sequence[float]) -> str:
    """Times as a row of the table shows them."""
    return ", ".join(f"{each:.0f}" for each in times_ms)


def ratio(times: Sequence[float], quiet: Sequence[float]) -> float:
    """The median of the ratios, each of its own round."""
    return statistics.median(one / other for one, other in zip(times, quiet, strict=True))


async def live_through(url: str, folder: Path, report: Report) -> None:
    """Every stall, over one service of two processes."""
    async with service_over(service_url(url), folder) as service:
        for name, stalled, spares_others in STALLS:
            # A connection a phone, as in the field: those of one client would all come to one
            # process.
            clients = [
                httpx.AsyncClient(base_url=service.url, timeout=GIVES_UP_S) for _ in range(PHONES)
            ]
            await one(url, clients, name, stalled, spares_others, report)
            for client in clients:
                await client.aclose()


def drill() -> Report:
    """The drill."""
    report = Report(
        f"PostgreSQL stalls for {STALL_S} s; {PHONES} phones of {GRIDS} grids, two processes of"
        " the service"
    )
    with prepared_server() as (url, folder):
        asyncio.run(live_through(url, folder, report))
    return report


if __name__ == "__main__":
    main(drill)
