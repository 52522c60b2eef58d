"""Service processes at sockets of their own: phones that come at once are spread over them. Real
processes, loopback only.
"""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.stress.test_kills import Service

PHONES = 32


def sockets(service: Service, status: str) -> list[int]:
    """How many sockets of the service's port each of its processes has in a state."""
    children = psutil.Process(service.pid).children()
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    held = [
        [item for item in worker.net_connections("tcp") if item.status == status and item.laddr]
        for worker in workers
    ]
    return [sum(item.laddr.port == service.port for item in items) for items in held]


async def all_listen(service: Service) -> None:
    """Waits until each process listens: the first of them answers before the other has begun."""
    for _ in range(600):
        if sockets(service, psutil.CONN_LISTEN) == [1, 1]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not every process listens after 30 s")


async def connections(service: Service) -> list[int]:
    """How many of many connections that are opened at once each service process gets."""
    streams = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", service.port) for _ in range(PHONES))
    )
    for _, writer in streams:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
    for reader, _ in streams:
        assert b"200" in await reader.readline()
    found = sockets(service, psutil.CONN_ESTABLISHED)
    for _, writer in streams:
        writer.close()
    return found


async def test_phones_that_come_at_once_are_spread_over_the_processes(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    try:
        await service.ready()
        await all_listen(service)
        found = await connections(service)
        assert sum(found) == PHONES
        # Each connection goes to either process by chance: all but two of 32 to one of them happen
        # once in a million times.
        assert len(found) == 2
        assert min(found) > 1
    finally:
        service.stop()


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        environment = os.environ | {"GRIDLOOP_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
        command = [
            sys.executable,
            "-m",
            "service",
            "serve",
            "--workers",
            "2",
            "--port",
            port,
            "--data",
            str(tmp_path),
        ]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened at" in ended.stdout.replace("\n", " ")
