"""The disk of the database runs full under phones and REST, and is freed again: a real PostgreSQL on a small memory disk.

Once the data lies on it, in a tablespace, and once the log (WAL), without room for which PostgreSQL stops. Mounts the memory disk, so it
needs root on Linux. Run with `python -m tests.drills.disk_full`.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from migrations.roles import Roles, migrate
from service.app import create_app
from service.database import Database, open_pool
from service.identity.passwords import hasher
from service.postgres import as_role, database_of, embedded, temporary_folder
from service.roster.load import load
from service.settings import Settings
from sync_protocol.clock import make_stamp
from tests.conftest import running
from tests.world import GRID, PASSWORD, SECRETARY

ROLES = Roles("gridloop_owner", "gridloop_service")
CONFIG = {"shared_buffers": "'32MB'", "max_wal_size": "'128MB'", "min_wal_size": "'32MB'", "timezone": "'UTC'", "max_connections": "50"}
SIZE_MB = {"the data": 240, "the log": 112}
PHONES, VISITS = 4, 200


@contextmanager
def memory_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A small disk mounted on a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "gridloop-drill", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is free, but for a quarter of a megabyte."""
    path = folder / "filler"
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - 256 * 1024
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, size))
    return path


def text() -> str:
    """What is written in a visit: it cannot be compressed, so that a disk fills soon."""
    return secrets.token_hex(600)


class Phone:
    """Hands in pushes of visits one after the other, each again until it is taken in."""

    def __init__(
        self, client: httpx.AsyncClient, seen: Counter[str], staff_code: str = SECRETARY, grid: str = GRID, visits: int = VISITS
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

    async def sign_in(self) -> None:
        """A token for the device."""
        form = {"grant_type": "password", "username": self._staff_code, "password": PASSWORD, "device_id": self.device}
        answer = await self._client.post("/v1/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        self._token = answer.json()["access_token"]

    async def push(self) -> None:
        """A push, until it is taken in."""
        while not await self.push_once():  # noqa: ASYNC110 - the disk tells nobody
            await asyncio.sleep(0.5)  # a phone waits for Retry-After; a drill is in a hurry

    async def push_once(self) -> bool:
        """A push, or the last one again if it was not taken in; whether it was."""
        now = datetime.now(UTC)
        self._pending = self._pending or [self._visit(self.acked + 1 + place, now) for place in range(self._visits)]
        body = {"protocol": 1, "sent_at": now.isoformat(), "cursor": None, "limit": 1, "queued": 0, "mutations": self._pending}
        answer = await self._client.post("/v1/sync", json=body, headers={"Authorization": f"Bearer {self._token}"})
        self.seen[noted("sync", answer)] += 1
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            assert "Retry-After" in answer.headers
            return False
        self.acked += self._visits
        self._pending = []
        return True

    def _visit(self, seq: int, now: datetime) -> dict[str, Any]:
        stamp = make_stamp(int(now.timestamp() * 1000), seq % 60_000)
        fields = {"visited_at": now.isoformat(timespec="seconds"), "content": text()}
        plain = {"seq": seq, "kind": "visit", "id": str(uuid.uuid4()), "grid": self.grid, "op": "put", "base": 0, "stamp": stamp}
        return plain | {"fields": fields}


def noted(door: str, answer: httpx.Response) -> str:
    """An answer in a line of the table."""
    if answer.status_code < 300:
        return f"{door:<7} {answer.status_code}"
    return f"{door:<7} {answer.status_code} Retry-After {answer.headers.get('Retry-After', '-'):>2}  {answer.json()['detail']}"


async def ready(client: httpx.AsyncClient, wanted: int, seen: Counter[str]) -> float:
    """Until `/readyz` answers so; the seconds that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 60:
        answer = await client.get("/readyz")
        seen[noted("readyz", answer)] += 1
        if answer.status_code == wanted:
            return loop.time() - began
        await asyncio.sleep(0.25)
    raise AssertionError(f"/readyz did not answer {wanted} within a minute")


async def raise_problems(client: httpx.AsyncClient, seen: Counter[str], full: asyncio.Event) -> int:
    """Problems over REST while the disk is full, each again with its key until it is made; how many."""
    form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
    token = (await client.post("/v1/auth/token", data=form)).json()["access_token"]
    await full.wait()
    for _ in range(5):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
        body = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency", "detail": text()}}
        while (answer := await client.post("/v1/problems", json=body, headers=headers)).status_code != 201:
            seen[noted("REST", answer)] += 1
            await asyncio.sleep(0.5)
        seen[noted("REST", answer)] += 1
    return 5


async def live_through(url: str, folder: Path, keys: Path) -> tuple[Counter[str], dict[str, Any]]:
    """Fills the disk under a running service and frees it; what was answered, and what was kept."""
    seen: Counter[str] = Counter()
    settings = Settings(database_url=as_role(url, ROLES.service), owner_database_url=url, demo=True, data=keys)
    app = create_app(settings)
    full, over = asyncio.Event(), asyncio.Event()
    async with running(app) as client:
        phones = [Phone(client, seen) for _ in range(PHONES)]
        for phone in phones:
            await phone.sign_in()
        await ready(client, 200, seen)
        problems = asyncio.create_task(raise_problems(client, seen, full))
        await asyncio.gather(*(phone.push() for phone in phones))
        filler = await asyncio.to_thread(fill, folder)
        full.set()
        pushing = [asyncio.create_task(push_all(phone, over)) for phone in phones]
        noticed = await ready(client, 503, seen)
        await asyncio.sleep(8)
        filler.unlink()
        recovered = await ready(client, 200, seen)
        over.set()
        await asyncio.gather(*pushing)
        made = await problems
    connection = await asyncpg.connect(url)
    try:
        kept = {
            "visits acknowledged": sum(phone.acked for phone in phones),
            "visits kept": await connection.fetchval("SELECT count(*) FROM visit"),
            "problems sent": made,
            "problems kept": await connection.fetchval("SELECT count(*) FROM problem"),
        }
    finally:
        await connection.close()
    assert kept["visits acknowledged"] == kept["visits kept"], kept
    assert kept["problems sent"] == kept["problems kept"], kept
    return seen, kept | {"seconds until /readyz said so": round(noticed, 1), "seconds until it was 200 again": round(recovered, 1)}


async def push_all(phone: Phone, over: asyncio.Event) -> None:
    """A phone's other pushes, until all is over."""
    while not over.is_set():
        await phone.push()


async def prepare(url: str) -> None:
    """The roster of one village."""
    pool = await open_pool(url, 1)
    try:
        settings = Settings(database_url=url, households_per_grid=0)
        await load(Database(pool), settings, datetime.now(UTC), password=hasher.hash(PASSWORD), below=GRID[:12])
    finally:
        await pool.close()


async def made_in_tablespace(url: str, folder: Path) -> str:
    """A database whose tables lie in a folder."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    await connection.execute("CREATE DATABASE drill TABLESPACE small")
    await connection.close()
    return database_of(url, "drill")


def own(folder: Path, like: Path) -> None:
    """Gives a folder, and what is in it, to the owner of another."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)


def drill(what: str) -> None:
    """One of the two, with its table printed."""
    with temporary_folder("gridloop-drill-") as folder, memory_disk(folder / "disk", SIZE_MB[what]):
        disk, home = folder / "disk", folder / "home"
        if what == "the log":
            with embedded(home, CONFIG):
                pass
            log = (home / "postgres").resolve() / "pg_wal"
            shutil.copytree(log, disk / "pg_wal")
            own(disk / "pg_wal", log)
            shutil.rmtree(log)
            log.symlink_to(disk / "pg_wal")
        with embedded(home, CONFIG) as url, temporary_folder("gridloop-drill-") as keys:
            if what == "the data":
                space = disk / "space"
                space.mkdir()
                own(space, (home / "postgres").resolve())
                url = asyncio.run(made_in_tablespace(url, space))
            migrate(url, ROLES)
            asyncio.run(prepare(url))
            seen, kept = asyncio.run(live_through(url, disk, keys))
    print(f"\n{what} of PostgreSQL on a full disk")
    for line, count in sorted(seen.items()):
        print(f"{count:>6}  {line}")
    for name, value in kept.items():
        print(f"{value:>6}  {name}")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("This drill mounts a small disk, for which it needs root.")
    for name in SIZE_MB:
        drill(name)
