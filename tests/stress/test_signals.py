"""`gridloop serve` ends in order, whichever signal ends it and whenever it comes. Real processes,
loopback only, each wait bounded.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from service.runtime.postgres import embedded, temporary_folder
from tests.stress.test_kills import Service, serving

# Each signal, number of processes and moment once; all together where there is time.
EVERY = "GRIDLOOP_TEST_EVERY" in os.environ

# What is left in a data folder on purpose: the database, the files that its users lock, and the
# key.
LASTING = {"postgres", "starting.lock", "users.lock", "secret.key", "serve.log"}
# A start on two busy cores: initdb, and every migration.
LONGEST_S = 90


class SignalledService(Service):
    """A service whose temporary files lie in a folder of their own."""

    def __init__(self, folder: Path, workers: int, temporary: Path) -> None:
        super().__init__(folder, workers)
        self._temporary = temporary
        self._env["TMPDIR"] = str(temporary)
        self._family: set[psutil.Process] = set()

    def know_family(self) -> None:
        """Keeps which processes belong to the service and its PostgreSQL now."""
        self._family.update(
            [*psutil.Process(self.pid).children(recursive=True), *postgres_of(self.folder)]
        )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the first process alone, as a service manager does."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Until the first process has ended; its exit status."""
        status = self._process.wait(LONGEST_S)
        self._log.close()
        return status

    def end(self) -> None:
        """Kills what a failed test left running."""
        for process in {*self._family, *postgres_of(self.folder)}:
            if process.is_running():
                process.kill()
        if not self.has_ended:
            self._process.kill()
            self._process.wait(LONGEST_S)
        self._log.close()

    def kill_first_process(self, within_s: float) -> None:
        """Kills the first process; asserts that those below it end by themselves, and no longer
        listen. PostgreSQL goes on.
        """
        self.know_family()
        others = [
            child
            for child in psutil.Process(self.pid).children(recursive=True)
            if child.name() != "postgres"
        ]
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL
        _, alive = psutil.wait_procs(others, within_s)
        assert alive == []

    def said(self) -> str:
        """The end of its log."""
        return (self.folder / "serve.log").read_text()[-3_000:]

    def ended_by(self, number: signal.Signals) -> int:
        """Its exit status after a signal that ends it in order; asserts that nothing of it is
        left.
        """
        self.know_family()
        self.send(number)
        status = self.wait()
        self.assert_nothing_is_left()
        return status

    def assert_nothing_is_left(self) -> None:
        """No process, socket, pid file or folder of the service."""
        said = self.said()
        _, alive = psutil.wait_procs(self._family, 10)
        assert [
            process.as_dict(["pid", "ppid", "cmdline", "create_time"]) for process in alive
        ] == [], said
        assert postgres_of(self.folder) == [], said
        assert not (self.folder / "postgres" / "postmaster.pid").exists(), said
        assert [path for path in self.folder.rglob("*") if path.is_socket()] == []
        assert {path.name for path in self.folder.iterdir()} <= LASTING
        assert [*self._temporary.iterdir()] == []


def postgres_of(folder: Path) -> list[psutil.Process]:
    """PostgreSQL's first process on the data in a folder, wherever it came from."""
    data = str((folder / "postgres").resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and data in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def workers_of(service: SignalledService) -> list[psutil.Process]:
    """The service processes below the first one."""
    found = []
    for child in psutil.Process(service.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@asynccontextmanager
async def usable(folder: Path) -> AsyncIterator[asyncpg.Connection]:
    """The data of a folder, served anew."""
    with embedded(folder) as url:
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """A data folder that was in use before: a start is short."""
    with temporary_folder("test") as folder:
        with asyncio.Runner() as runner:
            runner.run(_use(folder))
        yield folder


async def _use(folder: Path) -> None:
    async with serving(folder):
        pass


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files."""
    with temporary_folder("test") as folder:
        yield folder


ENDINGS = [(signal.SIGTERM, 1), (signal.SIGINT, 2), (signal.SIGHUP, 1)]
ENDINGS += [(signal.SIGTERM, 2), (signal.SIGINT, 1), (signal.SIGHUP, 2)] if EVERY else []


@pytest.mark.parametrize(("number", "workers"), ENDINGS)
async def test_a_signal_ends_the_service_and_its_database_and_leaves_nothing(
    used_folder: Path, temporary: Path, number: signal.Signals, workers: int
) -> None:
    service = SignalledService(used_folder, workers, temporary)
    service.start()
    try:
        await service.ready()
        status = service.ended_by(number)
    finally:
        service.end()
    assert number == signal.SIGINT or status == 0, service.said()
    async with usable(used_folder) as connection:
        assert await connection.fetchval("SELECT count(*) FROM unit") > 3_000


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT] if EVERY else [signal.SIGTERM])
async def test_who_sends_a_second_signal_does_not_keep_the_database_from_stopping(
    used_folder: Path, temporary: Path, again: signal.Signals
) -> None:
    service = SignalledService(used_folder, 1, temporary)
    service.start()
    try:
        await service.ready()
        service.know_family()
        service.send(signal.SIGTERM)
        for _ in range(20):
            await asyncio.sleep(0.02)
            if not service.has_ended:
                service.send(again)
        service.wait()
        service.assert_nothing_is_left()
    finally:
        service.end()


def begun(folder: Path) -> bool:
    return (folder / "users.lock").exists()


def making_the_data(folder: Path) -> bool:
    return (folder / "postgres").exists() and any((folder / "postgres").iterdir())


def starting_the_database(folder: Path) -> bool:
    return (folder / "postgres" / "postmaster.pid").exists()


def migrating(folder: Path) -> bool:
    """The database is ready since half a second."""
    try:
        about = folder / "postgres" / "postmaster.pid"
        return "ready" in about.read_text() and about.stat().st_mtime < time.time() - 0.5
    except FileNotFoundError:
        return False


MOMENTS = (begun, making_the_data, starting_the_database, migrating)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *(
            (moment, signal.SIGTERM)
            for moment in (MOMENTS if EVERY else (begun, starting_the_database))
        ),
        (making_the_data, signal.SIGINT),
        *([(migrating, signal.SIGINT)] if EVERY else []),
        (migrating, signal.SIGHUP),
    ],
)
async def test_a_signal_while_the_service_starts_leaves_nothing_and_data_that_can_be_used(
    data_folder: Path, temporary: Path, moment: Callable[[Path], bool], number: signal.Signals
) -> None:
    service = SignalledService(data_folder, 1, temporary)
    service.start()
    try:
        deadline = time.monotonic() + LONGEST_S
        while not moment(data_folder):
            assert not service.has_ended, "the service ended before"
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        status = service.ended_by(number)
    finally:
        service.end()
    assert number == signal.SIGINT or status == 0, service.said()
    async with usable(data_folder) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_an_ignored_hang_up_stays_ignored(used_folder: Path, temporary: Path) -> None:
    """As under nohup."""
    for workers in (1, 2):
        service = SignalledService(used_folder, workers, temporary)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            service.start()
        finally:
            signal.signal(signal.SIGHUP, before)
        try:
            await service.ready()
            service.know_family()
            for worker in workers_of(service):
                worker.send_signal(signal.SIGHUP)
            service.send(signal.SIGHUP)
            await asyncio.sleep(1.5)  # twice as long as the first process looks for signals
            assert not service.has_ended
            await service.ready()
            service.send(signal.SIGTERM)
            assert service.wait() == 0
            service.assert_nothing_is_left()
        finally:
            service.end()


async def test_workers_whose_first_process_was_killed_end_and_free_the_port(
    used_folder: Path, temporary: Path
) -> None:
    service = SignalledService(used_folder, 2, temporary)
    service.start()
    try:
        await service.ready()
        service.kill_first_process(within_s=15)
        with socket.socket() as other:
            other.bind(("127.0.0.1", service.port))
            other.listen()
    finally:
        # PostgreSQL goes on; whoever uses the data next finds it, and stops it.
        with embedded(used_folder):
            pass
        service.end()


def folders_in(temporary: Path) -> list[Path]:
    """The folders of services."""
    return [*temporary.glob("gridloop-serve-*")]


async def test_a_killed_worker_leaves_the_figures_and_a_killed_service_is_swept_up_after(
    used_folder: Path, temporary: Path
) -> None:
    service = SignalledService(used_folder, 2, temporary)
    service.start()
    try:
        await service.ready()
        service.know_family()
        [folder] = folders_in(temporary)
        worker = workers_of(service)[0]
        async with httpx.AsyncClient(base_url=service.url) as client, asyncio.timeout(LONGEST_S):
            while not (said := [*folder.glob(f"gauge_live*_{worker.pid}.db")]):
                await client.get("/readyz", headers={"Connection": "close"})
            assert [*folder.glob(f"counter_{worker.pid}.db")] != []
            worker.kill()
            while any(path.exists() for path in said):  # noqa: ASYNC110 - the folder tells nobody
                await asyncio.sleep(0.05)
        assert [*folder.glob(f"counter_{worker.pid}.db")] != []  # what it counted stays counted
        await service.ready()
        service.kill_first_process(within_s=15)
        assert folder.exists()
        service.start()
        await service.ready()
        assert not folder.exists()
        assert len(folders_in(temporary)) == 1
        assert service.ended_by(signal.SIGTERM) == 0, service.said()
    finally:
        service.end()


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0] if EVERY else [1.0])
async def test_workers_whose_first_process_is_killed_while_they_start_end_too(
    used_folder: Path, temporary: Path, seconds: float
) -> None:
    service = SignalledService(used_folder, 2, temporary)
    service.start()
    try:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + LONGEST_S
        while not children:
            assert time.monotonic() < deadline
            children = workers_of(service)
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        service.kill_first_process(within_s=30)
    finally:
        with embedded(used_folder):
            pass
        service.end()
