"""Processes of the release before and of this one run over one database, there and back, while
phones push and people write over REST.

The release before comes from the history of git (`PREVIOUS`), into a temporary folder, and runs
with the present environment. It serves over its own tables; they are migrated under it; this
release starts beside it and takes over; then it ends, the release before goes on alone over the
newer tables, and this one comes again. Nothing is lost, and nobody sees an error but a 503 that
says when to come again. Run with `python -m tests.drills.two_releases`; some two minutes.
"""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

import migrations
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from simulator.places import PASSWORD
from simulator.throwaway import ROLES
from sync_protocol.clock import make_stamp
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.device.transport import Unreachable
from tests.drills.common import Report, main

# The last commit of the release before: its newest migration is what the present ones must be
# compatible from.
PREVIOUS, PREVIOUS_REVISION = "fa2a837a1d00cbc51a57f737cf27ccacef162807", "0013"
ROOT = Path(__file__).parents[2]
CONFIG = {"shared_buffers": "'64MB'", "max_connections": "100", "timezone": "'UTC'"}
PHONES, WRITERS, COPIES, VISITS, STEP_S = 16, 4, 4, 5, 8.0
START_S, END_S = 60, 30


@contextmanager
def previous_release(folder: Path) -> Iterator[Path]:
    """The sources of the release before, in a folder."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{PREVIOUS}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if known.returncode:
        raise RuntimeError(
            f"the history of git here lacks commit {PREVIOUS}, the release before: fetch it whole"
            " (git fetch --unshallow)"
        )
    archive = folder / "previous.tar"
    with archive.open("wb") as file:
        subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, stdout=file, check=True)
    sources = folder / "previous"
    with tarfile.open(archive) as tar:
        tar.extractall(sources, filter="data")
    yield sources


class Release:
    """A release whose commands are run from its sources, over one database."""

    def __init__(self, name: str, sources: Path, url: str, owner: str, folder: Path) -> None:
        self.name = name
        self._sources = sources
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("GRIDLOOP_")
        } | {
            "PYTHONPATH": str(sources),
            "GRIDLOOP_DATABASE_URL": url,
            "GRIDLOOP_OWNER_DATABASE_URL": owner,
            "GRIDLOOP_DATA": str(folder / "data"),
            "GRIDLOOP_DEMO": "1",
            "GRIDLOOP_HOUSEHOLDS_PER_GRID": "2",
        }

    async def command(self, *arguments: str) -> str:
        """Runs a command to its end; its output."""
        process = await self._start(*arguments, output=subprocess.PIPE)
        output, _ = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, (
            f"{self.name}: gridloop {' '.join(arguments)}: {output.decode()}"
        )
        return output.decode()

    async def _start(self, *arguments: str, output: Any) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "service", *arguments]
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self._sources,
            env=self._environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    async def serve(self) -> "Service":
        """Starts a service process, and waits until it is ready."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self._folder / f"{self.name.replace(' ', '-')}-{port}.log"
        with log.open("wb") as lines:
            process = await self._start("serve", "--demo", "--port", str(port), output=lines)
        service = Service(self.name, f"http://127.0.0.1:{port}", process, log)
        await service.wait_until_ready()
        return service


class Service:
    """A service process."""

    def __init__(
        self, release: str, url: str, process: asyncio.subprocess.Process, log: Path
    ) -> None:
        self.release = release
        self.url = url
        self._process = process
        self._log = log

    async def wait_until_ready(self) -> None:
        """Until `/readyz` is 200."""
        until = time.monotonic() + START_S
        async with httpx.AsyncClient() as client:
            while time.monotonic() < until and self._process.returncode is None:
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
        raise RuntimeError(
            f"{self.release} did not start; its log"
            f" ends:\n{self._log.read_text(errors='replace')[-2000:]}"
        )

    async def end(self) -> None:
        """Ends it in order, as who takes it out of a load balancer first."""
        self._process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self._process.wait(), END_S)

    def kill(self) -> None:
        """Ends it at once, if it lives."""
        if self._process.returncode is None:
            self._process.kill()


class Load:
    """Phones and writers over REST. `services`: where they go, each time to one of them; `seen`:
    answers of each step.
    """

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.step = ""
        self.seen: dict[str, Counter[tuple[str, str]]] = {}
        self.acknowledged = 0
        self.problems = 0
        self.longest: Counter[str] = Counter()
        self.over = False

    async def post(
        self, client: httpx.AsyncClient, what: str, path: str, **options: Any
    ) -> httpx.Response | None:
        """A POST to a service that takes load just now; None where its connection was lost, as when
        a process ends.
        """
        service = random.choice(self.services)
        step, began = self.step, time.monotonic()
        try:
            answer = await client.post(service.url + path, **options)
        except httpx.TransportError as error:
            self._note(step, f"{what} {type(error).__name__}", service.release, began)
            return None
        kind = (
            str(answer.status_code)
            if answer.status_code != 503
            else f"503 Retry-After {answer.headers.get('Retry-After', 'MISSING')}"
        )
        self._note(step, f"{what} {kind}", service.release, began)
        if answer.status_code >= 500:
            assert answer.status_code == 503, (service.release, answer.text)
            assert "Retry-After" in answer.headers, (service.release, answer.text)
        return answer

    def _note(self, step: str, kind: str, release: str, began: float) -> None:
        self.seen.setdefault(step, Counter())[kind, release] += 1
        self.longest[step] = max(self.longest[step], time.monotonic() - began)  # type: ignore[assignment]

    async def token(
        self, client: httpx.AsyncClient, staff_code: str, device: str | None = None
    ) -> str:
        """An access token, once there is one."""
        form = {"grant_type": "password", "username": staff_code, "password": PASSWORD} | (
            {"device_id": device} if device else {}
        )
        while True:
            answer = await self.post(client, "sign-in", "/v1/auth/token", data=form)
            if answer is not None and answer.status_code == 200:
                return str(answer.json()["access_token"])
            await asyncio.sleep(0.3)

    async def phone(self, grid: str, number: int) -> None:
        """A phone that pushes visits, edits of them and what is held, and pulls; what was not
        answered it sends again.
        """
        rng = random.Random(number)
        device, cursor, seq = str(uuid.uuid4()), None, 0
        pending: list[dict[str, Any]] = []
        last: tuple[str, int] | None = None
        async with httpx.AsyncClient(timeout=35) as client:
            token = await self.token(client, f"W{grid}-1", device)
            while not self.over or pending:
                now = datetime.now(UTC)
                if not pending:
                    for place in range(1, VISITS + 1):
                        plain = {
                            "seq": seq + place,
                            "grid": grid,
                            "op": "put",
                            "base": 0,
                            "stamp": make_stamp(int(now.timestamp() * 1000), place),
                        }
                        if place == VISITS and last is not None:
                            pending.append(
                                plain
                                | {
                                    "kind": "visit",
                                    "id": last[0],
                                    "base": last[1],
                                    "fields": {"content": f"改{seq}"},
                                }
                            )
                        elif place == VISITS - 1 and rng.random() < 0.3:
                            pending.append(
                                plain
                                | {"kind": "telegram", "id": str(uuid.uuid4()), "fields": {"x": 1}}
                            )
                        else:
                            fields = {
                                "visited_at": now.isoformat(timespec="seconds"),
                                "content": "入户走访",
                            }
                            pending.append(
                                plain | {"kind": "visit", "id": str(uuid.uuid4()), "fields": fields}
                            )
                body = {
                    "protocol": 1,
                    "sent_at": now.isoformat(),
                    "cursor": cursor,
                    "limit": 200,
                    "queued": 0,
                    "mutations": pending,
                }
                answer = await self.post(
                    client,
                    "push",
                    "/v1/sync",
                    json=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
                if answer is not None and answer.status_code == 401:
                    token = await self.token(client, f"W{grid}-1", device)
                elif answer is not None and answer.status_code == 200:
                    page = answer.json()
                    assert page["acked"] == seq + len(pending), page["acked"]
                    first = next(
                        (
                            v
                            for v, m in zip(page["verdicts"], pending, strict=True)
                            if m["kind"] == "visit" and v.get("rev")
                        ),
                        None,
                    )
                    if first is not None:
                        last = pending[first["seq"] - seq - 1]["id"], first["rev"]
                    self.acknowledged += len(pending)
                    seq, cursor, pending = seq + len(pending), page["cursor"], []
                await asyncio.sleep(rng.uniform(0.02, 0.2))

    async def writer(self, village: str, number: int) -> None:
        """Somebody who raises problems over REST, each again with its key until it is made, and
        reads.
        """
        rng = random.Random(1000 + number)
        async with httpx.AsyncClient(timeout=35) as client:
            token = await self.token(client, f"C{village}-1")
            while not self.over:
                headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
                body = {
                    "grid": f"{village}001",
                    "fields": {"title": "水管冻裂", "duty": "emergency"},
                }
                while True:
                    answer = await self.post(
                        client, "problem", "/v1/problems", json=body, headers=headers
                    )
                    if answer is not None and answer.status_code == 201:
                        self.problems += 1
                        break
                    if answer is not None and answer.status_code == 401:
                        token = await self.token(client, f"C{village}-1")
                        headers["Authorization"] = f"Bearer {token}"
                    elif answer is not None:
                        assert answer.status_code in (409, 503), answer.text
                    await asyncio.sleep(0.5)
                await asyncio.sleep(rng.uniform(0.05, 0.3))


async def live_through(
    before: Release, after: Release, url: str, folder: Path, report: Report
) -> tuple[Load, list["Copy"], str]:
    """All steps; what was seen, the copies, and what `gridloop check` says at the end."""
    await before.command("migrate")
    await before.command("roster", "load", "--demo")
    assert await revision_of(url) == PREVIOUS_REVISION
    load = Load()
    running: list[Service] = []
    tasks: list[asyncio.Task[None]] = []

    async def step(name: str) -> None:
        load.step = name
        for _ in range(int(STEP_S * 10)):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)

    try:
        running.append(old := await before.serve())
        connection = await asyncpg.connect(url)
        grids = [
            row["code"]
            for row in await connection.fetch(
                "SELECT code FROM unit WHERE length(code) = 15 ORDER BY code LIMIT $1", PHONES
            )
        ]
        await connection.close()
        load.services, load.step = [old], "1 the release before, alone"
        tasks += [
            asyncio.create_task(load.phone(grid, number)) for number, grid in enumerate(grids)
        ]
        copies = [Copy(load, grid, folder) for grid in grids[:COPIES]]
        tasks += [asyncio.create_task(copy.live()) for copy in copies]
        tasks += [
            asyncio.create_task(load.writer(grids[number * 2][:12], number))
            for number in range(WRITERS)
        ]
        await step("1 the release before, alone")
        load.step = "2 the tables are migrated under it"
        began = time.monotonic()
        await after.command("migrate")
        report.row(
            "seconds of migrating under the release before, and the revision",
            f"{time.monotonic() - began:.1f}, {await revision_of(url)}",
        )
        await step("2 the tables are migrated under it")
        running.append(new := await after.serve())
        load.services = [old, new]
        await step("3 both side by side")
        load.services = [new]
        await asyncio.sleep(1)
        await old.end()
        await step("4 this release, alone")
        running.append(old := await before.serve())
        load.services = [old, new]
        await step("5 back: both again")
        load.services = [old]
        await asyncio.sleep(1)
        await new.end()
        await step("6 the release before, alone over the newer tables")
        running.append(new := await after.serve())
        load.services = [old, new]
        await step("7 forward: both again")
        load.services = [new]
        await asyncio.sleep(1)
        await old.end()
        await step("8 this release, alone")
        load.over = True
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        for copy in copies:
            await copy.prove()
        await verify(load, url, report)
        await new.end()
        checked = await after.command("check")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for service in running:
            service.kill()
    return load, copies, checked


async def revision_of(url: str) -> str:
    """The revision of the tables."""
    connection = await asyncpg.connect(url)
    revision: str = await connection.fetchval("SELECT version_num FROM alembic_version")
    await connection.close()
    return revision


async def verify(load: Load, url: str, report: Report) -> None:
    """What was acknowledged is there, once."""
    connection = await asyncpg.connect(url)
    kept = await connection.fetchval(
        "SELECT count(*) FROM mutation m JOIN device d ON d.id = m.device"
        " WHERE d.platform <> 'server' AND origin IS NULL"
    )
    made = await connection.fetchval("SELECT count(*) FROM problem")
    await connection.close()
    for what, told_of, there in (
        ("mutations acknowledged, and kept", load.acknowledged, kept),
        ("problems answered, and kept", load.problems, made),
    ):
        report.row(what, f"{told_of}, {there}", "the same", told_of == there, figure=True)


class Copy:
    """A reference device of a worker, which pulls from whichever service takes load and proves what
    it holds.
    """

    def __init__(self, load: Load, grid: str, folder: Path) -> None:
        self._load = load
        self._client = httpx.AsyncClient(timeout=35)
        self.proofs = 0
        self.device = Device(
            Store(folder / f"{grid}.sqlite3"),
            Transport(self._client),
            Account(f"W{grid}-1", PASSWORD),
        )

    async def live(self) -> None:
        """Pulls and proves, until all is over."""
        while not self._load.over:
            with suppress(Unreachable):
                await self.once()
            await asyncio.sleep(0.7)

    async def once(self) -> None:
        """One sync, and one more, which heals nothing."""
        self._client.base_url = httpx.URL(random.choice(self._load.services).url)
        await self.device.sync()
        report = await self.device.sync()
        assert report.healed == [], "a copy differed from what the server has"
        self.proofs += 1

    async def prove(self) -> None:
        """The copy is the server's, when nobody writes any more."""
        await self.once()
        assert await self.device.verify() == [], "a copy differs from what the server has"
        self.device.store.close()
        await self._client.aclose()


def told(load: Load, copies: list[Copy], checked: str, report: Report) -> None:
    """Puts what was seen into the report."""
    for step, seen in load.seen.items():
        report.row(
            f"{step}: requests, and the longest answer, s",
            f"{seen.total()}, {load.longest[step]:.2f}",
        )
        answers = Counter({f"{kind}, by {who}": count for (kind, who), count in seen.items()})
        report.answered(answers, f"phones and apps in step {step}")
    every = sum(load.seen.values(), Counter[tuple[str, str]]())
    asked_again = sum(count for (kind, _), count in every.items() if " 503 " in kind)
    lost = sum(count for (kind, _), count in every.items() if "Error" in kind)
    # Any other 5xx would have ended the drill.
    report.row("requests", every.total(), figure=True)
    report.row("503 with Retry-After", asked_again, figure=True)
    report.row("connections lost, as a process ended", lost)
    proofs = sum(copy.proofs for copy in copies)
    report.row("times that copies proved themselves", proofs, "1 each", proofs >= len(copies))
    english, _ = checked.strip().splitlines()[-2:]  # the last says the same in Chinese
    report.row("gridloop check", english)


async def live(url: str, folder: Path, sources: Path, report: Report) -> None:
    """Both releases over a fresh database of the server at `url`."""
    database = await fresh_database(url, "releases")
    service = as_role(database, ROLES.service)
    before = Release("the release before", sources, service, database, folder)
    after = Release("this release", ROOT, service, database, folder)
    load, copies, checked = await live_through(before, after, database, folder, report)
    told(load, copies, checked, report)


def drill() -> Report:
    """The drill, over a server of its own."""
    report = Report(
        f"Two releases over one database: {PREVIOUS[:7]} at {PREVIOUS_REVISION}, and this one at"
        f" {migrations.revisions()[0]}; {PHONES} phones, {WRITERS} apps, {COPIES} copies"
    )
    assert migrations.compatible_from(migrations.revisions()[0]) == PREVIOUS_REVISION, (
        "the release before may not run over the present tables"
    )
    with tempfile.TemporaryDirectory(prefix="gridloop-drill-") as name, ExitStack() as stack:
        sources = stack.enter_context(previous_release(Path(name)))
        url = stack.enter_context(
            embedded(stack.enter_context(temporary_folder("gridloop-drill-")), CONFIG)
        )
        asyncio.run(live(url, Path(name), sources, report))
    return report


if __name__ == "__main__":
    main(drill)
