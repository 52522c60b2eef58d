"""The service under load: real processes of `gridloop serve` over a database of the bench's own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import httpx
import psutil

START_S = 60


class Service:
    """Running service processes: `url`, and what they use."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log

    @cached_property
    def workers(self) -> list[psutil.Process]:
        """The processes that answer, without the one that watches over them; looked for once, for
        that takes long.
        """
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [
            child
            for child in children
            if child.name() != "postgres" and "resource_tracker" not in " ".join(child.cmdline())
        ]

    def memory_mb(self) -> float:
        """The resident memory of the largest of them."""
        return max(worker.memory_info().rss for worker in self.workers) / 1e6


@contextmanager
def serving(
    database_url: str, folder: Path, workers: int = 2, **settings: str
) -> Iterator[Service]:
    """The service with its defaults, but for the database and the settings named
    (`pool_size="4"`).
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    log = Path(tempfile.mkstemp(prefix="service-", suffix=".log", dir=folder)[1])
    environment = os.environ | {"GRIDLOOP_DATABASE_URL": database_url, "GRIDLOOP_DEMO": "1"}
    environment |= {f"GRIDLOOP_{name.upper()}": value for name, value in settings.items()}
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--demo",
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--data",
        str(folder),
    ]
    with log.open("wb") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=lines, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield Service(url, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url + "/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError(
        f"The service did not start; its log ends:\n{log.read_text(errors='replace')[-2000:]}"
    )
