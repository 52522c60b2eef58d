"""What the drills share: phones and an app that send until they are told that it was taken in, a
prepared database, and the report.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import secrets
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from rich.console import Console
from rich.table import Table

from migrations.roles import migrate
from service.identity.passwords import hasher
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from simulator.places import PASSWORD
from simulator.throwaway import ROLES
from sync_protocol.clock import make_stamp
from tests.bench.service import Service, serving
from tests.world import GRID, SECRETARY

CONFIG = {
    "shared_buffers": "'32MB'",
    "max_wal_size": "'128MB'",
    "min_wal_size": "'32MB'",
    "timezone": "'UTC'",
    "max_connections": "50",
}
# Below this a ratio tells of the machine's noise: nobody notices so little.
UNNOTICED_MS = 250
WANTED_RATIO = (
    2.0  # of the p99 beside a fault to that of a quiet run, where the fault is somebody else's
)


def text() -> str:
    """What is written in a visit: it cannot be compressed, so that a disk fills soon."""
    return secrets.token_hex(600)


def noted(channel: str, answer: httpx.Response) -> str:
    """An answer in a line of the table."""
    if answer.status_code < 300:
        return f"{channel}: {answer.status_code}"
    return (
        f"{channel}: {answer.status_code}, Retry-After"
        f" {answer.headers.get('Retry-After', '-')}: {answer.json().get('detail')}"
    )


class Phone:
    """Hands in pushes of visits one after the other, each again until it is taken in.

    `took`: when each push was sent (monotonic), the seconds until its answer, and whether it was
    taken in. `sent`: ids of all visits.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        seen: Counter[str],
        staff_code: str = SECRETARY,
        grid: str = GRID,
        visits: int = 200,
    ) -> None:
        self._client = client
        self._staff_code = staff_code
        self._visits = visits
        self._token = ""
        self._pending: list[dict[str, Any]] = []
        self.seen = seen
        self.grid = grid
        self.device = str(uuid.uuid4())
        self.acked = 0
        self.sent: list[str] = []
        self.took: list[tuple[float, float, bool]] = []

    async def sign_in(self) -> None:
        """A token for the device."""
        form = {
            "grant_type": "password",
            "username": self._staff_code,
            "password": PASSWORD,
            "device_id": self.device,
        }
        answer = await self._client.post("/v1/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        self._token = answer.json()["access_token"]

    async def push(self, pause_s: float = 0.5) -> None:
        """A push, until it is taken in. A phone waits for Retry-After; a drill is in a hurry."""
        while not await self.push_once():  # noqa: ASYNC110 - the fault tells nobody when it is over
            await asyncio.sleep(pause_s)

    async def push_once(self) -> bool:
        """A push, or the last one again if it was not taken in; whether it was."""
        now = datetime.now(UTC)
        if not self._pending:
            self._pending = [
                self._visit(self.acked + 1 + place, now) for place in range(self._visits)
            ]
            self.sent += [visit["id"] for visit in self._pending]
        body = {
            "protocol": 1,
            "sent_at": now.isoformat(),
            "cursor": None,
            "limit": 1,
            "queued": 0,
            "mutations": self._pending,
        }
        began = time.monotonic()
        try:
            answer = await self._client.post(
                "/v1/sync", json=body, headers={"Authorization": f"Bearer {self._token}"}
            )
        except httpx.HTTPError as error:
            self.seen[f"sync: no answer ({type(error).__name__})"] += 1
            self.took.append((began, time.monotonic() - began, False))
            return False
        self.took.append((began, time.monotonic() - began, answer.status_code == 200))
        self.seen[noted("sync", answer)] += 1
        if answer.status_code != 200:
            # Where the clock was set while a request was under way, its token may just have seemed
            # to be expired.
            assert answer.status_code == 503 or "token-expired" in answer.text, answer.text
            assert answer.status_code == 401 or "Retry-After" in answer.headers
            return False
        self.acked += self._visits
        self._pending = []
        return True

    async def live(
        self, over: asyncio.Event, rng: random.Random, pauses: tuple[float, float] = (0.05, 0.3)
    ) -> None:
        """Pushes now and then until all is over."""
        while not over.is_set():
            await self.push_once()
            await asyncio.sleep(rng.uniform(*pauses))

    def _visit(self, seq: int, now: datetime) -> dict[str, Any]:
        stamp = make_stamp(int(now.timestamp() * 1000), seq % 60_000)
        fields = {"visited_at": now.isoformat(timespec="seconds"), "content": text()}
        plain = {
            "seq": seq,
            "kind": "visit",
            "id": str(uuid.uuid4()),
            "grid": self.grid,
            "op": "put",
            "base": 0,
            "stamp": stamp,
        }
        return plain | {"fields": fields}


class Writer:
    """An app that raises problems over REST, each with a key of its own and again until it is made.
    `made`: their titles.
    """

    def __init__(self, client: httpx.AsyncClient, seen: Counter[str]) -> None:
        self._client = client
        self.token = ""
        self.seen = seen
        self.made: list[str] = []

    async def sign_in(self) -> None:
        """A token."""
        form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
        self.token = (await self._client.post("/v1/auth/token", data=form)).json()["access_token"]

    async def raise_problem(self, pause_s: float = 0.5, tries: int = 1_000) -> bool:
        """A problem, until it is made; whether it was made within so many tries."""
        key = str(uuid.uuid4())
        return await self.send(key, key, pause_s, tries)

    async def send(self, key: str, title: str, pause_s: float = 0.5, tries: int = 1_000) -> bool:
        """One problem under a key."""
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        body = {"grid": GRID, "fields": {"title": title, "duty": "emergency", "detail": text()}}
        for _ in range(tries):
            try:
                answer = await self._client.post("/v1/problems", json=body, headers=headers)
            except httpx.HTTPError as error:
                self.seen[f"REST: no answer ({type(error).__name__})"] += 1
            else:
                self.seen[noted("REST", answer)] += 1
                if answer.status_code == 201:
                    self.made.append(title)
                    return True
                assert answer.status_code in (409, 503) or "token-expired" in answer.text, (
                    answer.text
                )
            await asyncio.sleep(pause_s)
        return False


async def sign_in(phones: Iterable[Phone], apps: Iterable[Writer] = ()) -> None:
    """One after the other: many at once for one account are what an attack looks like."""
    for phone in phones:
        await phone.sign_in()
    for app in apps:
        await app.sign_in()


async def count_kept(
    url: str, report: "Report", phones: Sequence[Phone], titles: Iterable[str]
) -> None:
    """Rows of the report: what was acknowledged, what is lost, and what was made twice."""
    connection = await asyncpg.connect(url)
    try:
        devices = {phone.device: phone.acked for phone in phones}
        rows = await connection.fetch(
            "SELECT device::text, count(*) AS lines, count(DISTINCT seq) AS seqs FROM mutation"
            " WHERE device = ANY($1::uuid[])"
            " GROUP BY device",
            list(devices),
        )
        visits = await connection.fetchval(
            "SELECT count(*) FROM visit WHERE id = ANY($1::uuid[])",
            [id for phone in phones for id in phone.sent],
        )
        wanted = list(titles)
        problems = await connection.fetch(
            "SELECT title, count(*) AS count FROM problem WHERE title = ANY($1) GROUP BY title",
            wanted,
        )
    finally:
        await connection.close()
    lost = (
        sum(devices.values())
        - sum(min(row["seqs"], devices[row["device"]]) for row in rows)
        + len(wanted)
        - len(problems)
    )
    twice = sum(row["lines"] - row["seqs"] for row in rows) + sum(
        row["count"] - 1 for row in problems
    )
    acknowledged = sum(devices.values())
    report.row(
        "visits acknowledged, and kept", f"{acknowledged}, {visits}", "all", acknowledged <= visits
    )
    if wanted:
        report.row(
            "problems answered, and kept",
            f"{len(wanted)}, {sum(row['count'] for row in problems)}",
            "all",
            len(problems) == len(wanted),
        )
    report.row("lost", lost, "0", lost == 0, figure=True)
    report.row("made twice", twice, "0", twice == 0, figure=True)


def p99_ms(seconds: Iterable[float]) -> float:
    """What 99 of 100 stayed within, milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[int(len(ordered) * 0.99)] if ordered else 0.0


async def prepare(url: str) -> None:
    """The roster of one village."""
    pool = await open_pool(url, 1)
    try:
        settings = Settings(database_url=url, households_per_grid=0)
        await load(
            Database(pool),
            settings,
            datetime.now(UTC),
            password=hasher.hash(PASSWORD),
            below=GRID[:12],
        )
    finally:
        await pool.close()


@contextmanager
def prepared_server() -> Iterator[tuple[str, Path]]:
    """A PostgreSQL of the drill's own with the database `drill`, and a folder; the URL is the
    superuser's.
    """
    with temporary_folder("gridloop-drill-") as folder, embedded(folder / "home", CONFIG) as server:
        url = asyncio.run(fresh_database(server, "drill"))
        migrate(url, ROLES)
        asyncio.run(prepare(url))
        yield url, folder


@asynccontextmanager
async def service_over(
    url: str, folder: Path, workers: int = 2, **settings: str
) -> AsyncIterator[Service]:
    """Real processes of the service, which are started and ended beside the event loop: it may
    serve a proxy that they need.
    """
    context = serving(url, folder / "service", workers, **settings)
    service = await asyncio.to_thread(context.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def service_url(url: str) -> str:
    """The same database for the role of the service."""
    return as_role(url, ROLES.service)


class Report:
    """What a drill found: rows of what was measured and what is wanted, and how often each answer
    came.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: list[tuple[str, str, str, bool]] = []
        self.figures: list[str] = []
        self.answers: list[tuple[str, Counter[str]]] = []

    def row(
        self, what: str, measured: object, wanted: str = "", met: bool = True, figure: bool = False
    ) -> None:
        """A row; `figure`: it stands in the summary, too."""
        self.rows.append((what, str(measured), wanted, met))
        if figure:
            self.figures.append(f"{what} {measured}")

    def answered(self, seen: Counter[str], who: str = "") -> None:
        """How often each answer came; `who` got it."""
        self.answers.append((who, seen))

    @property
    def missed(self) -> list[str]:
        """What is not as it is wanted."""
        return [
            f"{what}: {measured}, wanted {wanted}"
            for what, measured, wanted, met in self.rows
            if not met
        ]

    def show(self, console: Console) -> None:
        """Prints it."""
        table = Table(title=self.title, title_justify="left")
        for column in ("what", "measured", "wanted", ""):
            table.add_column(column)
        for what, measured, wanted, met in self.rows:
            table.add_row(what, measured, wanted, ("met" if met else "MISSED") if wanted else "")
        console.print(table, highlight=False)
        for who, seen in self.answers:
            console.print(f"\n[italic]answers{who and ' to '}{who}[/italic]", highlight=False)
            answers = Table()
            answers.add_column("times", justify="right")
            answers.add_column("answer")
            for line, count in sorted(seen.items()):
                answers.add_row(str(count), line)
            console.print(answers, highlight=False)


def main(drill: Callable[[], Report]) -> None:
    """Runs a drill alone: prints its report, ends with 1 if it missed something. `--result FILE` is
    for the summary of all.
    """
    parser = argparse.ArgumentParser(description=sys.modules[drill.__module__].__doc__)
    parser.add_argument("--result", type=Path)
    asked = parser.parse_args()
    console = Console(width=max(140, int(os.environ.get("COLUMNS", "0"))))
    logging.getLogger("gridloop").setLevel(
        logging.CRITICAL
    )  # the faults are made on purpose, and counted
    began = time.monotonic()
    try:
        report = drill()
    except Exception as error:
        traceback.print_exc()
        report = Report((sys.modules[drill.__module__].__doc__ or "").splitlines()[0])
        report.row(
            "ended in an error", f"{type(error).__name__}: {str(error)[:200]}", "none", False
        )
    seconds = time.monotonic() - began
    report.row("seconds", f"{seconds:.0f}")
    report.show(console)
    if asked.result is not None:
        asked.result.write_text(
            json.dumps({"seconds": seconds, "figures": report.figures, "missed": report.missed})
        )
    sys.exit(1 if report.missed else 0)


def needs_root() -> None:
    """Ends a drill that this user cannot run."""
    if os.geteuid() != 0:
        sys.exit("This drill needs root.")
