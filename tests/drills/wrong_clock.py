"""The service's clock is wrong, at its start and while it runs: what it says, and that nothing is
stored meanwhile.

The service is a real process whose clock is moved by a file; that of PostgreSQL stays right. Run
with `python -m tests.drills.wrong_clock`.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx

from tests.drills.common import (
    Phone,
    Report,
    Writer,
    count_kept,
    main,
    prepared_server,
    service_url,
    sign_in,
)

DAY_S = 24 * 3600
PHONES, WRONG_S = 4, 5
# The service by a clock that is off by as many seconds as stand in a file.
_SERVICE = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
import service.app
class Wrong(datetime):
    @classmethod
    def now(cls, zone):
        return datetime.now(zone) + timedelta(seconds=float(Path(sys.argv[1]).read_text() or 0))
service.app.datetime = Wrong
from service.cli.app import app
app(sys.argv[2:])
"""
_STORED = """
    SELECT (SELECT count(*) FROM mutation) + (SELECT count(*) FROM audit)
        + (SELECT count(*) FROM idempotency) + (SELECT count(*) FROM device)
"""


class WronglyTimed:
    """`gridloop serve` by a clock that can be moved."""

    def __init__(self, url: str, folder: Path) -> None:
        self._file = folder / "ahead"
        self._folder = folder
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GRIDLOOP_") or name == "GRIDLOOP_SECRET_KEYS"
        }
        self._environment = kept | {"GRIDLOOP_DATABASE_URL": url, "COLUMNS": "400"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def move(self, seconds: float) -> None:
        """Sets the clock so far ahead of the right one."""
        other = self._file.with_suffix(".new")
        other.write_text(str(seconds))
        other.replace(self._file)

    def begin(self) -> "subprocess.Popen[str]":
        """Starts it."""
        command = [
            sys.executable,
            "-c",
            _SERVICE,
            str(self._file),
            "serve",
            "--demo",
            "--port",
            str(self.port),
            "--data",
            str(self._folder),
        ]
        return subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


async def refused_start(service: WronglyTimed, url: str, ahead_s: float, report: Report) -> None:
    """A start by a wrong clock."""
    service.move(ahead_s)
    before = await stored(url)
    began = time.monotonic()
    process = service.begin()
    said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    took = time.monotonic() - began
    names_both = all(
        f"{datetime.fromtimestamp(time.time() + off, UTC):%Y-%m-%dT%H:}" in said
        for off in (0, ahead_s)
    )
    met = process.returncode == 3 and names_both and await stored(url) == before
    measured = (
        f"exit {process.returncode} after {took:.1f} s, both clocks named:"
        f" {'yes' if names_both else 'no'}"
    )
    report.row(
        f"a start with the clock {ahead_s / 3600:+g} h", measured, "exit 3, nothing stored", met
    )


async def stored(url: str) -> int:
    """Lines that were stored so far."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(_STORED))
    finally:
        await connection.close()


async def ready(client: httpx.AsyncClient) -> None:
    """Until it serves."""
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


async def live_through(url: str, folder: Path, report: Report) -> None:
    """Starts that are refused, and a running service whose clock is set."""
    service = WronglyTimed(service_url(url), folder)
    for ahead_s in (DAY_S, -DAY_S, 120):
        await refused_start(service, url, ahead_s, report)
    service.move(0)
    process = service.begin()
    reading = asyncio.create_task(asyncio.to_thread(process.communicate))
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{service.port}", timeout=30
        ) as client:
            await ready(client)
            await running(url, client, service, report)
    finally:
        process.terminate()
        await reading
    report.row("exit status in the end", process.returncode, "0", process.returncode == 0)


async def running(
    url: str, client: httpx.AsyncClient, service: WronglyTimed, report: Report
) -> None:
    """The clock is set under phones and apps."""
    seen: Counter[str] = Counter()
    phones = [Phone(client, seen, visits=3) for _ in range(PHONES)]
    app = Writer(client, seen)
    await sign_in(phones, [app])
    over = asyncio.Event()
    living = [
        asyncio.create_task(phone.live(over, random.Random(number)))
        for number, phone in enumerate(phones)
    ]

    async def raise_problems() -> None:
        while not over.is_set():
            await app.raise_problem(pause_s=0.2)

    async def read() -> None:
        while not over.is_set():
            answer = await client.get(
                "/v1/problems", headers={"Authorization": f"Bearer {app.token}"}
            )
            seen[f"reading: {answer.status_code}"] += 1
            await asyncio.sleep(0.2)

    living += [asyncio.create_task(raise_problems()), asyncio.create_task(read())]
    await asyncio.sleep(2)
    for ahead_s in (DAY_S, -DAY_S, 120):
        service.move(ahead_s)
        set_at = time.monotonic()
        await asyncio.sleep(
            0.5
        )  # what was under way when the clock was set may still be stored, by the right time
        before = await stored(url)
        await asyncio.sleep(WRONG_S)
        stored_meanwhile = await stored(url) - before
        went_through = sum(
            good for phone in phones for at, _, good in phone.took if at > set_at + 0.1
        )
        unready = (await client.get("/readyz")).status_code
        service.move(0)
        right_at = time.monotonic()
        await ready(client)
        taken = [at for phone in phones for at, _, good in phone.took if good]
        async with asyncio.timeout(20):
            while not any(at > right_at for at in taken):
                await asyncio.sleep(0.05)
                taken = [at for phone in phones for at, _, good in phone.took if good]
        name = f"running, the clock set {ahead_s / 3600:+.2g} h"
        met = stored_meanwhile == 0 and went_through == 0 and unready == 503
        report.row(name, f"{stored_meanwhile} lines stored, /readyz {unready}", "0 lines, 503", met)
        report.row(
            f"{name} and right again: pushes go through",
            f"after {min(at for at in taken if at > right_at) - right_at:.1f} s",
        )
    over.set()
    await asyncio.gather(*living)
    report.figures.append(
        "stored by a wrong clock 0" if not report.missed else "stored by a wrong clock"
    )
    refusals = {line: count for line, count in seen.items() if "clock is wrong" in line}
    report.row("503 for the clock", sum(refusals.values()), "some", bool(refusals), figure=True)
    await count_kept(url, report, phones, app.made)
    report.answered(seen)


def drill() -> Report:
    """The drill."""
    report = Report("A wrong clock of the service")
    with prepared_server() as (url, folder):
        asyncio.run(live_through(url, folder, report))
    return report


if __name__ == "__main__":
    main(drill)
