"""Whether phones are ever behind an unfair one: what ordinary phones wait, alone and beside each
kind of client that takes too much.

`python -m tests.bench.fairness [--seconds 12] [--rounds 3] [--processes 2]`. Server, database,
phones and the unfair ones share the machine's cores. Each nuisance is measured right after the
phones alone, in several rounds: a ratio compares what ran side by side.
"""

import argparse
import asyncio
import os
import platform
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    suppress,
)
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.table import Table

import migrations
from service.http.crowding import room_for_files
from service.kit.database import Database, open_pool
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.organisation.load import load as load_roster
from service.runtime.postgres import embedded, fresh_database
from simulator.places import PASSWORD
from simulator.throwaway import CHEAP
from tests.bench.load_generator import Phone, Unexpected, in_turn, packed, workers
from tests.bench.measures import applied, new_phone
from tests.bench.service import Service, serving
from tests.bench.wire import Line, Packed, inflated

REPORT = Path(__file__).parent / "fairness.md"
PHONES = 50
EVERY_S = 0.5  # of each phone
VISITS = 3
GREEDY_BATCH = 1_000
GREEDY_BATCHES = 60
READERS = 200
PAGES = 2  # that each of them asks for
SETTLE_S = 2  # until what they ask for is answered, and only the taking is left
IDLE = 2_000
SLOW_BODIES = 64
WANTED = 2.0

Nuisance = Callable[[], AbstractAsyncContextManager[None]]


class Crowd:
    """The ordinary phones, and those who take too much.

    `tolerant`: ordinary phones may be asked to come again; how often they were is counted in
    `refused`.
    """

    def __init__(self, service: Service, rounds: int, tolerant: bool = False) -> None:
        self.service = service
        self.tolerant = tolerant
        self.refused = 0
        greedy = 2 * rounds
        every = workers(PHONES + greedy + 3)
        self.phones = [new_phone(staff, grid, "ordinary") for staff, grid in every[:PHONES]]
        self.greedy = [
            new_phone(staff, grid, "greedy") for staff, grid in every[PHONES : PHONES + greedy]
        ]
        self.reader, self.archive, self.slow = [
            new_phone(staff, grid, "slow") for staff, grid in every[PHONES + greedy :]
        ]
        self.batches: dict[str, list[Packed]] = {}
        self.pushed = 0

    async def settle_in(self) -> None:
        """Signs everybody in, and makes what will be sent."""
        everybody = [*self.phones, *self.greedy, self.reader, self.archive, self.slow]
        await in_turn(self.service.url, [phone.sign_in for phone in everybody], 4)
        await in_turn(self.service.url, [phone.catch_up for phone in everybody], 4)
        line = await Line.open(self.service.url)
        for _ in range(5):
            await self.archive.exchange(line, packed(self.archive.visits(500)))
        line.close()
        for phone in self.greedy:
            self.batches[phone.device] = [
                packed(phone.visits(GREEDY_BATCH)) for _ in range(GREEDY_BATCHES)
            ]

    async def measure(self, seconds: float) -> list[float]:
        """What each exchange of the ordinary phones took, in seconds."""
        took: list[float] = []
        await asyncio.gather(*[self._live(phone, seconds, took) for phone in self.phones])
        return took

    async def _live(self, phone: Phone, seconds: float, took: list[float]) -> None:
        line = await Line.open(self.service.url)
        until = time.perf_counter() + seconds
        await asyncio.sleep(random.random() * EVERY_S)
        while time.perf_counter() < until:
            batch = packed(phone.visits(VISITS))
            began = time.perf_counter()
            answer = await phone.exchange(line, batch)
            took.append(time.perf_counter() - began)
            if self.tolerant and answer.status == 503:
                self.refused += 1
                while answer.status == 503:
                    await asyncio.sleep(EVERY_S)
                    answer = await phone.exchange(line, batch)
            if answer.status != 200 or not applied(VISITS)(answer.body):
                raise Unexpected(f"an ordinary phone: {answer.status} {answer.body[:300]!r}")
            await asyncio.sleep(EVERY_S * random.uniform(0.6, 1.4))
        line.close()

    @asynccontextmanager
    async def greed(self) -> AsyncIterator[None]:
        """One phone pushes batches of 1,000 without pause."""
        phone = next(phone for phone in self.greedy if self.batches[phone.device])
        batches = self.batches.pop(phone.device)
        self.batches[phone.device] = []

        async def push() -> None:
            await asyncio.sleep(SETTLE_S)  # alone it would be done before it is measured
            line = await Line.open(self.service.url)
            for batch in batches:
                answer = inflated(await line.send(phone.request(batch)))
                if answer.status != 200:
                    raise Unexpected(f"the greedy phone: {answer.status} {answer.body[:300]!r}")
                phone.take(answer)
                self.pushed += GREEDY_BATCH
            raise Unexpected("the greedy phone has nothing more to push; prepare more batches")

        async with running(push()):
            yield

    @asynccontextmanager
    async def slow_readers(self) -> AsyncIterator[None]:
        """Clients who take their answers at a byte a second."""
        request = self.reader.request()
        async with sockets(self.service.url, READERS, small=True) as made:
            loop = asyncio.get_running_loop()
            for one in made:
                await loop.sock_sendall(one, request * PAGES)

            async def read() -> None:
                while True:
                    for one in made:
                        with suppress(OSError):
                            one.recv(1)
                    await asyncio.sleep(1)

            async with running(read()):
                yield

    @asynccontextmanager
    async def slow_bodies(self, count: int = SLOW_BODIES) -> AsyncIterator[None]:
        """Requests of one account whose bodies come at a byte a second."""
        head = (
            self.slow.request()
            .partition(b"\r\n\r\n")[0]
            .replace(b"Content-Length: ", b"Content-Length: 9")
        )
        async with sockets(self.service.url, count) as made:
            loop = asyncio.get_running_loop()
            for one in made:
                await loop.sock_sendall(one, head + b"\r\n\r\n{")

            async def write() -> None:
                while True:
                    for one in made:
                        with suppress(OSError):
                            one.send(b" ")
                    await asyncio.sleep(1)

            async with running(write()):
                yield

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Connections on which nothing comes."""
        async with sockets(self.service.url, IDLE):
            yield

    @asynccontextmanager
    async def everything(self) -> AsyncIterator[None]:
        """All of it at once."""
        async with AsyncExitStack() as stack:
            for nuisance in (self.greed, self.slow_readers, self.slow_bodies, self.idle):
                await stack.enter_async_context(nuisance())
            yield


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that goes on meanwhile; what it ends in by itself is raised."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def sockets(url: str, count: int, small: bool = False) -> AsyncIterator[list[socket.socket]]:
    """Plain connections; `small`: with little room for what is received."""
    at = urlsplit(url)
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            if small:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, (at.hostname, at.port))
            made.append(one)
        yield made
    finally:
        for one in made:
            one.close()


def at(took: list[float], part: float) -> float:
    """What so many of the exchanges stayed within, milliseconds."""
    return 1000 * sorted(took)[int(len(took) * part)]


class Measured(NamedTuple):
    """What the ordinary phones waited beside a nuisance, and alone right before it, in each
    round.
    """

    name: str
    beside: list[list[float]]
    alone: list[list[float]]

    @property
    def ratio(self) -> float:
        """The middle one of the rounds' ratios of the p99."""
        return median(
            at(one, 0.99) / at(other, 0.99)
            for one, other in zip(self.beside, self.alone, strict=True)
        )


async def measured(
    service: Service, seconds: float, rounds: int, console: Console
) -> list[Measured]:
    """Every situation with what the ordinary phones waited in it."""
    crowd = Crowd(service, rounds)
    await crowd.settle_in()
    await crowd.measure(3)
    nuisances: list[tuple[str, Nuisance]] = [
        ("one pushes batches of 1,000 without pause", crowd.greed),
        (f"{READERS} clients read at a byte a second", crowd.slow_readers),
        (f"{SLOW_BODIES} bodies of one account come at a byte a second", crowd.slow_bodies),
        (f"{IDLE:,} idle connections are open", crowd.idle),
        ("all of it at once", crowd.everything),
    ]
    found = [Measured(name, [], []) for name, _ in nuisances]
    for _ in range(rounds):
        for one, (name, nuisance) in zip(found, nuisances, strict=True):
            one.alone.append(await crowd.measure(seconds))
            before = crowd.pushed
            async with nuisance():
                await asyncio.sleep(SETTLE_S)
                one.beside.append(await crowd.measure(seconds))
            figures = (
                f"p99 {at(one.beside[-1], 0.99):.1f} ms, alone {at(one.alone[-1], 0.99):.1f} ms"
            )
            console.print(
                f"{name}: {figures} ({(crowd.pushed - before) / seconds:.0f} greedy records/s)"
            )
    return found


def report(
    found: list[Measured], processes: int, seconds: float, load: float, console: Console
) -> None:
    """The table, on the console and in the file."""
    rounds = len(found[0].alone)
    table = Table(
        "beside them", "exchanges", "median", "p99", "p99 alone", "ratio", title="fairness"
    )
    lines = [
        "# Fair shares",
        "",
        f"{PHONES} ordinary phones, each handing in {VISITS} visits about every {EVERY_S} s over"
        f" {seconds:.0f} s,",
        f"against {processes} service processes. Each nuisance is measured right after the phones"
        f" alone, in {rounds} rounds; the ratio is",
        "that of the p99 beside it to the p99 alone, the middle one of the rounds. Times are of"
        f" all rounds. Wanted: {WANTED:.0f} at most.",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared by all, {platform.system()},"
        f" Python {platform.python_version()};",
        f"load average before it began: {load:.1f} (above 1 something else ran, and the figures"
        " mean little).",
        "",
        "| beside them | exchanges | median ms | p99 ms | p99 alone ms | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        beside, alone = [*chain(*one.beside)], [*chain(*one.alone)]
        values = [
            str(len(beside)),
            f"{at(beside, 0.5):.1f}",
            f"{at(beside, 0.99):.1f}",
            f"{at(alone, 0.99):.1f}",
            f"{one.ratio:.1f}",
        ]
        table.add_row(one.name, *values)
        lines.append(f"| {one.name} | {' | '.join(values)} |")
    console.print(table)
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def prepared(server: str) -> str:
    """A database with the roster."""
    url = await fresh_database(server, "gridloop_fairness")
    await asyncio.to_thread(migrations.upgrade, url)
    pool = await open_pool(url, 2)
    await load_roster(
        Database(pool), Settings(database_url=url), utc_now(), password=CHEAP.hash(PASSWORD)
    )
    await pool.close()
    return url


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    console = Console()
    room_for_files(IDLE)
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gridloop-fairness-")))
        server = stack.enter_context(embedded(folder / "data"))
        url = asyncio.run(prepared(server))
        service = stack.enter_context(serving(url, folder / "service", asked.processes))
        found = uvloop.run(measured(service, asked.seconds, asked.rounds, console))
    report(found, asked.processes, asked.seconds, load, console)


if __name__ == "__main__":
    main()
