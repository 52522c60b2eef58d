"""Signals that end `gridloop serve`: what is left of processes, sockets, ports and folders. Real
processes, with their own PostgreSQL.

Run with `python -m tests.drills.signals`.
"""

import asyncio
import signal
import socket
import time
from pathlib import Path

import psutil

from service.runtime.postgres import embedded, temporary_folder
from tests.drills.common import Report, main
from tests.stress.test_signals import SignalledService, folders_in, postgres_of, workers_of

ENDINGS = [
    (number, workers)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    for workers in (1, 2)
]


def is_free(port: int) -> bool:
    """Whether somebody else can listen at a port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def ended(service: SignalledService, number: signal.Signals, report: Report) -> None:
    """A signal to the first process, which ends everything in order."""
    service.start()
    try:
        await service.ready()
        began = time.monotonic()
        status = await asyncio.to_thread(service.ended_by, number)  # raises where anything is left
        took = time.monotonic() - began
    finally:
        service.end()
    met = is_free(service.port) and (status == 0 or number == signal.SIGINT) and took < 30
    report.row(
        f"{number.name}, {service.workers} processes",
        f"ended with {status} after {took:.1f} s; PostgreSQL ended, port free, no folder left",
        "0, nothing left" if number != signal.SIGINT else "nothing left",
        met,
    )


async def killed(service: SignalledService, temporary: Path, report: Report) -> None:
    """SIGKILL of a worker, and of the first process."""
    service.start()
    try:
        await service.ready()
        service.know_family()
        before = workers_of(service)
        began = time.monotonic()
        before[0].kill()
        async with asyncio.timeout(60):
            while len([worker for worker in workers_of(service) if worker not in before[:1]]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await service.ready()
        report.row(
            "SIGKILL of one of two workers",
            f"another after {time.monotonic() - began:.1f} s, it serves on",
            "another",
        )
        # It starts anew while the first process of the service is killed, too.
        [folder] = folders_in(temporary)
        began = time.monotonic()
        await asyncio.to_thread(service.kill_first_process, 15)
        took = time.monotonic() - began
        report.row(
            "SIGKILL of the first process: workers end",
            f"after {took:.1f} s",
            "15 s at most",
            took < 15,
            figure=True,
        )
        report.row(
            "… the port is free",
            "yes" if is_free(service.port) else "no",
            "yes",
            is_free(service.port),
        )
        left = len(postgres_of(service.folder))
        report.row(
            "… PostgreSQL goes on, for whoever uses the data next",
            "yes" if left else "no",
            "yes",
            left == 1,
        )
        service.start()
        await service.ready()
        met = not folder.exists() and len(folders_in(temporary)) == 1
        report.row(
            "… the next start finds it, and sweeps up the folder",
            "yes" if met else "no",
            "yes",
            met,
        )
        status = await asyncio.to_thread(service.ended_by, signal.SIGTERM)
        report.row("… and ends in order", f"with {status}", "0", status == 0)
    finally:
        service.end()


async def twice(service: SignalledService, report: Report) -> None:
    """An impatient operator sends SIGTERM again and again."""
    service.start()
    try:
        await service.ready()
        service.know_family()
        for _ in range(20):
            if not service.has_ended:
                service.send(signal.SIGTERM)
            await asyncio.sleep(0.02)
        await asyncio.to_thread(service.wait)
        service.assert_nothing_is_left()
    finally:
        service.end()
    report.row("SIGTERM twenty times", "ended, nothing left", "nothing left")


def drill() -> Report:
    """The drill."""
    report = Report("Signals to gridloop serve")
    # A drill under nohup, or in the background of a shell script, would hand on that these are
    # ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        temporary_folder("gridloop-drill-") as used,
        temporary_folder("gridloop-drill-") as temporary,
    ):
        with embedded(used):
            pass  # the first start makes the data
        for number, workers in ENDINGS:
            asyncio.run(ended(SignalledService(used, workers, temporary), number, report))
        asyncio.run(killed(SignalledService(used, 2, temporary), temporary, report))
        asyncio.run(twice(SignalledService(used, 2, temporary), report))
        left = [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(used.resolve()) in " ".join(process.info["cmdline"] or [])
        ]
        report.row("processes left", len(left), "0", not left, figure=True)
    return report


if __name__ == "__main__":
    main(drill)
