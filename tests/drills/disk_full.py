"""The disk of the database runs full under phones and REST, and is freed again: a real PostgreSQL
on a small memory disk.

Once the data lies on it, in a tablespace, and once the log (WAL), without room for which PostgreSQL
stops. Mounts the memory disk, so it needs root on Linux. Run with `python -m
tests.drills.disk_full`.
"""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx

from migrations.roles import migrate
from service.app import create_app
from service.kit.settings import Settings
from service.runtime.postgres import as_role, database_of, embedded, temporary_folder
from simulator.throwaway import ROLES
from tests.conftest import running
from tests.drills.common import (
    CONFIG,
    Phone,
    Report,
    Writer,
    count_kept,
    main,
    needs_root,
    noted,
    prepare,
    sign_in,
)

NEEDS_ROOT = True
SIZE_MB = {"the data": 240, "the log": 112}
PHONES, PROBLEMS = 4, 5


@contextmanager
def memory_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A small disk mounted on a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={megabytes}m,mode=0777",
            "gridloop-drill",
            str(folder),
        ],
        check=True,
    )
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


async def raise_problems(writer: Writer, full: asyncio.Event) -> None:
    """Problems over REST while the disk is full, each again with its key until it is made."""
    await full.wait()
    for _ in range(PROBLEMS):
        await writer.raise_problem()


async def live_through(url: str, folder: Path, keys: Path, what: str, report: Report) -> None:
    """Fills the disk under a running service and frees it."""
    seen: Counter[str] = Counter()
    settings = Settings(
        database_url=as_role(url, ROLES.service), owner_database_url=url, demo=True, data=keys
    )
    app = create_app(settings)
    full, over = asyncio.Event(), asyncio.Event()
    async with running(app) as client:
        phones = [Phone(client, seen) for _ in range(PHONES)]
        writer = Writer(client, seen)
        await sign_in(phones, [writer])
        await ready(client, 200, seen)
        problems = asyncio.create_task(raise_problems(writer, full))
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
        await problems
    report.row(f"{what}: seconds until /readyz said so", f"{noticed:.1f}", "under 60")
    report.row(
        f"{what}: seconds until it was 200 again", f"{recovered:.1f}", "under 60", figure=True
    )
    await count_kept(url, report, phones, writer.made)
    report.answered(seen, f"phones, REST and /readyz, {what} full")


async def push_all(phone: Phone, over: asyncio.Event) -> None:
    """A phone's other pushes, until all is over."""
    while not over.is_set():
        await phone.push()


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


def fill_disk(what: str, report: Report) -> None:
    """One of the two."""
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
            asyncio.run(live_through(url, disk, keys, what, report))


def drill() -> Report:
    """Both."""
    needs_root()
    report = Report("A full disk under phones and REST")
    for what in SIZE_MB:
        fill_disk(what, report)
    return report


if __name__ == "__main__":
    main(drill)
