"""Real processes killed with SIGKILL under load: two service processes and PostgreSQL with fsync
on.

Loopback only, bounded in rounds; whatever was started here is ended here.
"""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import asyncpg
import httpx
import psutil

from service.kit.settings import Settings
from service.runtime.postgres import embedded
from service.tallies.recount import differences
from simulator.places import PASSWORD
from sync_protocol.clock import make_stamp
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.ids import household_id, uuid7
from sync_protocol.moments import moment_at
from sync_protocol.periods import from_ms
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER

WRITERS, ROUNDS = 6, 25
CADRES = [WORKER, SECRETARY, f"W{OTHER_GRID}-1", SECRETARY[:-1] + "3"]
STARTUP_TRIES = 600


class Service:
    """`gridloop serve` with two processes, or another number, over an embedded PostgreSQL in
    `folder`.
    """

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self.workers = workers
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {
            name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")
        }
        self._env["GRIDLOOP_HOUSEHOLDS_PER_GRID"] = "0"

    def load_roster(self) -> None:
        """Units and cadres with the demo's passwords."""
        subprocess.run(
            [
                sys.executable,
                "-m",
                "service",
                "roster",
                "load",
                "--demo",
                "--data",
                str(self.folder),
            ],
            env=self._env,
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Starts the processes."""
        command = [
            "serve",
            "--demo",
            "--workers",
            str(self.workers),
            "--port",
            str(self.port),
            "--data",
            str(self.folder),
        ]
        self._log = (self.folder / "serve.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service", *command],
            env=self._env,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def pid(self) -> int:
        """The first process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the first process has ended."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ends them in order."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)
        self._log.close()

    def kill_worker(self, rng: random.Random) -> None:
        """Kills one of the service processes."""
        workers = [
            child
            for child in psutil.Process(self.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        rng.choice(workers).kill()

    def kill_postgres(self) -> None:
        """Kills PostgreSQL's first process; its others end when they notice."""
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    async def ready(self) -> None:
        """Until the service can serve."""
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:
            for _ in range(STARTUP_TRIES):
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                assert not self.has_ended, (self.folder / "serve.log").read_text()[-3000:]
                await asyncio.sleep(0.1)
        raise AssertionError("the service did not get ready")


async def brief(seconds: float) -> None:
    """A wait between tries, shorter than in the field."""
    await asyncio.sleep(min(seconds, 0.3))


def now_ms() -> int:
    """The wall clock; these processes live in real time."""
    return time.time_ns() // 1_000_000


class Puller:
    """Pulls pages by hand and remembers what it was given."""

    def __init__(self, client: httpx.AsyncClient, place: int) -> None:
        self.client = client
        self.device = uuid7(now_ms(), random.Random(place))
        self.cursor: str | None = None
        self.seen: dict[str, tuple[str, int]] = {}
        self.token = ""

    async def pull(self) -> bool:
        """One page, if the service is up; whether there is more."""
        if not self.token:
            form = {
                "grant_type": "password",
                "username": SECRETARY,
                "password": PASSWORD,
                "device_id": self.device,
            }
            response = await self.client.post("/v1/auth/token", data=form)
            if response.status_code != 200:
                return True
            self.token = response.json()["access_token"]
        body = {
            "protocol": 1,
            "sent_at": from_ms(now_ms()).isoformat(),
            "cursor": self.cursor,
            "limit": 20,
            "queued": 0,
            "mutations": [],
        }
        response = await self.client.post(
            "/v1/sync", json=body, headers={"Authorization": f"Bearer {self.token}"}
        )
        if response.status_code >= 500:
            return True
        assert response.status_code == 200, response.text
        answer = response.json()
        for change in answer["changes"]:
            before = self.seen.get(change["id"])
            assert before is None or before[0] != change["grid"] or before[1] < change["rev"], (
                "a page comes once"
            )
            self.seen[change["id"]] = (change["grid"], change["rev"])
        self.cursor = answer["cursor"]
        return bool(answer["more"])

    async def watch(self, done: asyncio.Event) -> None:
        """Pulls until the writers are done."""
        while not done.is_set():
            try:
                await self.pull()
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.01)


def a_phone(client: httpx.AsyncClient, folder: Path, place: int) -> Device:
    return Device(
        Store(folder / f"phone{place}.sqlite3"),
        Transport(client),
        Account(CADRES[place % len(CADRES)], PASSWORD),
        rng=random.Random(place),
        sleep=brief,
        max_tries=40,
    )


async def work(phone: Device, rng: random.Random, killing: "Killing") -> None:
    """Visits, and edits of households that every phone edits too, each handed in at once."""
    mine = [
        grid
        for grid in (GRID, OTHER_GRID)
        if phone.account.staff_code[0] == "C" or grid in phone.account.staff_code
    ]
    for _ in range(killing.rounds):
        for _ in range(rng.randint(1, 4)):
            grid = rng.choice(mine)
            phone.put(
                "visit",
                {"visited_at": moment_at(now_ms()), "content": f"{rng.random()}"},
                grid=grid,
            )
        grid = rng.choice(mine)
        house = household_id(grid, rng.randint(1, 3))
        phone.put(
            "household", {"head_name": "苏和", "phone": f"{rng.random()}"}, grid=grid, id=house
        )
        await phone.sync()
        killing.step()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    service = Service(folder)
    await asyncio.to_thread(service.load_roster)
    service.start()
    try:
        await service.ready()
        yield service
    finally:
        await asyncio.to_thread(service.stop)


class Killing:
    """What is killed, one after the other while phones work `rounds` rounds: `postgres` or
    `worker`. `done`: how often each was.
    """

    def __init__(self, targets: Sequence[str], rounds: int = ROUNDS) -> None:
        self.targets = targets
        self.rounds = rounds
        self.done: Counter[str] = Counter()
        self.took: list[float] = []
        self._rng = random.Random(9)
        self._progress = 0
        self._moved = asyncio.Event()

    def step(self) -> None:
        """A phone is through with a round."""
        self._progress += 1
        self._moved.set()

    async def go_on(self, service: Service) -> None:
        """Kills whenever a further part of all rounds is done; notes the seconds until the service
        is ready again.
        """
        total = WRITERS * self.rounds
        for place, target in enumerate(self.targets, 1):
            while self._progress < total * place / (len(self.targets) + 2):
                self._moved.clear()
                await self._moved.wait()
            if target == "postgres":
                service.kill_postgres()
            else:
                service.kill_worker(self._rng)
            began = time.monotonic()
            await service.ready()
            self.took.append(time.monotonic() - began)
            self.done[target] += 1


class Figures(NamedTuple):
    """Mutations that were acknowledged, and seconds until the service was ready after a kill."""

    acknowledged: int
    median_s: float
    longest_s: float


async def killed_under_load(data_folder: Path, killing: Killing) -> Figures:
    """Phones work while processes are killed; asserts that nothing is lost, and that nobody skips a
    revision.
    """
    async with (
        serving(data_folder) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        phones = [a_phone(client, data_folder, place) for place in range(WRITERS)]
        pullers = [Puller(client, place) for place in range(2)]
        done = asyncio.Event()
        watching = [asyncio.create_task(puller.watch(done)) for puller in pullers]
        going = asyncio.create_task(killing.go_on(service))
        await asyncio.gather(
            *(work(phone, random.Random(place), killing) for place, phone in enumerate(phones))
        )
        await going
        done.set()
        await asyncio.gather(*watching)
        for phone in phones:
            await phone.sync()
        for puller in pullers:
            while await puller.pull():
                pass
        assert [await phone.verify() for phone in phones] == [[]] * WRITERS

    with embedded(data_folder) as url:
        connection = await asyncpg.connect(url)
        try:
            await check(connection, url, phones, pullers)
        finally:
            await connection.close()
    acknowledged = sum(phone.store.acked for phone in phones)
    for phone in phones:
        phone.store.close()
    return Figures(acknowledged, median(killing.took), max(killing.took))


async def test_nothing_acknowledged_is_missing_and_no_puller_skips_a_revision(
    data_folder: Path,
) -> None:
    killing = Killing(["postgres", "worker"] * 2)
    await killed_under_load(data_folder, killing)
    assert killing.done == {"postgres": 2, "worker": 2}


async def check(connection: Any, url: str, phones: list[Device], pullers: list[Puller]) -> None:
    """Every acknowledged mutation is in the log once; the pullers have the newest revision of every
    record; derived rows are right.
    """
    for phone in phones:
        seqs = [
            row["seq"]
            for row in await connection.fetch(
                "SELECT seq FROM mutation WHERE device = $1 ORDER BY seq", phone.id
            )
        ]
        assert seqs == list(range(1, phone.store.acked + 1))
        assert phone.store.count_unsent() == 0
    rows = await connection.fetch(
        "SELECT id::text, grid, rev FROM visit UNION ALL SELECT id::text, grid, rev FROM household"
    )
    kept = {row["id"]: (row["grid"], row["rev"]) for row in rows}
    for puller in pullers:
        assert puller.seen == kept
    for grid in (GRID, OTHER_GRID):
        head = await connection.fetchval("SELECT rev FROM counter WHERE grid = $1", grid)
        revs = await connection.fetch(
            "SELECT rev FROM mutation WHERE grid = $1 AND rev IS NOT NULL ORDER BY rev", grid
        )
        assert [row["rev"] for row in revs] == list(range(1, head + 1))
    assert await differences(connection, Settings(database_url=url)) == []
    assert make_stamp(now_ms()) > max(phone.store.last_stamp() for phone in phones)
