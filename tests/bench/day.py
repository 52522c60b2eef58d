"""A day of the whole city in one run: every phone pulls in the morning, works offline, and hands in
over a line that fails now and then.

`python -m tests.bench.day [--share 1.0] [--keep FOLDER]`; part of `make bench`. The phones are the
reference devices, as light coroutines with their copies in memory; server, database and phones
share the machine's cores. At the end every copy is proved against the server, and every tally
recounted. The clocks are the real ones: the day is as long as it takes.
"""

import argparse
import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvloop
from rich.console import Console
from rich.table import Table

from service.cli.console import bars, progress_bar
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.runtime.postgres import embedded, fresh_database, temporary_folder
from service.tallies.recount import differences as differences_of
from simulator.places import PASSWORD
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.ids import household_id
from sync_protocol.moments import moment_at
from sync_protocol.vocabulary import DUTIES
from tests.bench.load_generator import HOUSES, Phone, now_ms, workers
from tests.bench.service import Service, serving
from tests.bench.sync import PROCESSES, roster_database
from tests.bench.wire import Line

REPORT = Path(__file__).parent / "day.md"
PHONES, VISITS, PROBLEMS = 4_259, 40_000, 800
FAULTS = 0.03
_FAULTS = ("request lost", "answer lost", "sent twice")
AT_ONCE = 48
TABLE = tuple[tuple[str, str], ...]


class FaultyLines(httpx.AsyncBaseTransport):
    """Light connections to the service; of a hundred exchanges three go wrong: the request or the
    answer is lost, or it comes twice.
    """

    def __init__(self, url: str, rng: random.Random) -> None:
        self._url = url
        self._rng = rng
        self._lines: deque[Line] = deque()
        self.faults = 0.0
        self.counts: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, or what becomes of it."""
        fault = self._rng.choice(_FAULTS) if self._rng.random() < self.faults else ""
        if fault:
            self.counts[fault] += 1
        if fault == "request lost":
            raise httpx.ConnectError("no coverage")
        head = b"\r\n".join(name + b": " + value for name, value in request.headers.raw)
        whole = (
            b"POST "
            + request.url.raw_path
            + b" HTTP/1.1\r\n"
            + head
            + b"\r\n\r\n"
            + await request.aread()
        )
        line = self._lines.popleft() if self._lines else await Line.open(self._url)
        try:
            answer = await line.send(whole)
            if fault == "sent twice":
                answer = await line.send(whole)
        finally:
            self._lines.append(line)
        self.counts["exchanges"] += request.url.path == "/v1/sync"
        self.counts["requests"] += 1
        self.counts["bytes up"] += len(whole)
        self.counts["bytes down"] += len(answer.head) + answer.size
        if fault == "answer lost":
            raise httpx.ReadError("the line broke")
        pairs = [tuple(part.split(b": ", 1)) for part in answer.head.split(b"\r\n")[1:]]
        return httpx.Response(
            answer.status, headers=[(pair[0], pair[1]) for pair in pairs], content=answer.body
        )

    async def aclose(self) -> None:
        """Ends the connections."""
        for line in self._lines:
            line.close()


class City:
    """All phones of the city, with what they have written."""

    def __init__(self, service: Service, share: float) -> None:
        self.rng = random.Random(2026)
        self.service = service
        self.lines = FaultyLines(service.url, self.rng)
        self._client = httpx.AsyncClient(base_url=service.url, transport=self.lines)
        self.visits = round(VISITS * share)
        self.problems = round(PROBLEMS * share)
        every = workers(PHONES, one_a_grid=False)
        self.phones = [
            (self._device(staff), grid)
            for staff, grid in self.rng.sample(every, round(PHONES * share))
        ]
        self._writer = Phone("", "", random.Random(7))

    def _device(self, staff_code: str) -> Device:
        return Device(
            Store(":memory:"),
            Transport(self._client),
            Account(staff_code, PASSWORD),
            rng=random.Random(staff_code),
            max_tries=20,
            sleep=_soon,
        )

    def work(self) -> None:
        """A day's visits and problems, written offline."""
        share, more = divmod(self.visits, len(self.phones))
        for place, (device, grid) in enumerate(self.phones):
            for _ in range(share + (place < more)):
                at = now_ms() - self.rng.randrange(60_000, 9 * 3_600_000)
                fields = {
                    "household_id": household_id(grid, self.rng.randint(1, HOUSES)),
                    "visited_at": moment_at(at),
                    "duties": {"add": [self.rng.choice(tuple(DUTIES))]},
                    "content": self._writer.note(),
                }
                device.put("visit", fields, grid=grid)
        for place in range(self.problems):
            device, grid = self.phones[place * len(self.phones) // self.problems]
            now = moment_at(now_ms() - self.rng.randrange(60_000, 3_600_000))
            problem = device.put(
                "problem",
                {
                    "duty": self.rng.choice(tuple(DUTIES)),
                    "title": self._writer.note()[:60],
                    "raised_at": now,
                    "severity": "ordinary",
                },
                grid=grid,
            )
            for action in ("accept", "resolve") if place % 2 else ("accept",):
                device.put(
                    "step",
                    {"problem_id": problem, "action": action, "at": moment_at(now_ms())},
                    grid=grid,
                )

    async def all(
        self,
        what: str,
        act: Callable[[Device], Awaitable[Any]],
        show: Callable[[str, int, int], None],
    ) -> list[Any]:
        """Has every phone do something, so many at once, in no order."""
        todo = deque(self.rng.sample(self.phones, len(self.phones)))
        total = len(todo)
        results: list[Any] = []

        async def take() -> None:
            while todo:
                device, _ = todo.popleft()
                results.append(await act(device))
                show(what, len(results), total)

        await asyncio.gather(*(take() for _ in range(AT_ONCE)))
        return results

    async def close(self) -> None:
        """Ends the connections and the copies."""
        await self._client.aclose()
        for device, _ in self.phones:
            device.store.close()


async def _soon(seconds: float) -> None:
    """A phone that was refused or failed waits, but not as long as in the field."""
    await asyncio.sleep(min(seconds, 0.2))


async def live(
    server: str, folder: Path, share: float, show: Callable[[str, int, int], None]
) -> tuple[TABLE, bool]:
    """The day; what happened, and whether every copy and every tally is as it must be."""
    url = await fresh_database(server, "bench_day", await roster_database(server))
    with serving(url, folder, PROCESSES) as service:
        city = City(service, share)
        try:
            began = time.perf_counter()
            await city.all("morning", Device.sync, show)
            morning = time.perf_counter() - began
            city.work()
            city.lines.faults = FAULTS
            began = time.perf_counter()
            await city.all("evening", Device.sync, show)
            evening = time.perf_counter() - began
            city.lines.faults = 0
            await city.all("what others wrote", Device.sync, show)
            mismatched = await city.all("proof", Device.verify, show)
            doubtful = sum(map(bool, mismatched))
            waiting = sum(device.store.count_unsent() for device, _ in city.phones)
            counts = city.lines.counts
            memory = service.memory_mb()
        finally:
            await city.close()
        kept, differences = await audit(url)
    stored = kept["visit"] == city.visits and kept["problem"] == city.problems and kept["held"] == 0
    good = not doubtful and not waiting and not differences and stored
    failed = sum(counts[name] for name in _FAULTS)
    return (
        ("phones", f"{len(city.phones):,}"),
        (
            "visits · problems kept",
            f"{kept['visit']:,} of {city.visits:,} · {kept['problem']:,} of {city.problems:,}",
        ),
        ("morning: sign-in and first pull, s", f"{morning:.1f}"),
        ("evening: the day is handed in, s", f"{evening:.1f}"),
        ("visits a second in the evening", f"{city.visits / evening:,.0f}"),
        ("exchanges · requests in all", f"{counts['exchanges']:,} · {counts['requests']:,}"),
        ("went wrong: " + " · ".join(_FAULTS), " · ".join(f"{counts[name]:,}" for name in _FAULTS)),
        (
            "MB up · down, headers included",
            f"{counts['bytes up'] / 1e6:.1f} · {counts['bytes down'] / 1e6:.1f}",
        ),
        ("copies that differ from the server's", f"{doubtful:,}"),
        ("mutations still waiting on phones · held", f"{waiting:,} · {kept['held']:,}"),
        ("tallies that differ from the records", f"{len(differences):,}"),
        ("largest service process, MB", f"{memory:.0f}"),
    ), good and failed > 0


async def audit(url: str) -> tuple[dict[str, int], Sequence[Any]]:
    """What the database holds of the day, and what a recount finds wrong."""
    connection = await asyncpg.connect(url)
    kept = {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("visit", "problem", "held")
    }
    await connection.close()
    pool = await open_pool(url, 1)
    async with Database(pool).reading() as lent:
        differences = await differences_of(lent, Settings(database_url=url))
    await pool.close()
    return kept, differences


def main() -> None:
    """Lives the day and reports it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keep", type=Path, help="folder of the database server; its roster is used again"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the city's phones and work")
    options = parser.parse_args()
    console = Console()
    with temporary_folder("bench") as temporary, embedded(options.keep or temporary) as server:
        with progress_bar() as progress:
            show = bars(progress)
            began = time.perf_counter()
            rows, good = uvloop.run(live(server, temporary / "service", options.share, show))
        rows = (
            *rows,
            ("wall time of all, s", f"{time.perf_counter() - began:.0f}"),
            ("all copies converged", "yes" if good else "NO"),
        )
    table = Table(title="a day of the city")
    table.add_column("")
    table.add_column("", justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if options.share == 1.0:
        lines = [
            "# A day of the city",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, two shared cores.",
            "",
            "| | |",
            "|---|---|",
        ]
        REPORT.write_text(
            "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n",
            encoding="utf-8",
        )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
