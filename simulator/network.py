"""The simulated network between the devices and the real ASGI apps: it drops, duplicates, delays
and reorders.
"""

import json
import random
from collections import Counter
from typing import Any

import httpx

from simulator.servers import Servers

FAULTS = ("drop request", "drop answer", "duplicate", "delay")
_WITH_POINTS = 0.1


class Network(httpx.AsyncBaseTransport):
    """Delivers requests, or not, as a seeded random number says; `strays` are delayed requests that
    may still arrive.
    """

    def __init__(self, rng: random.Random, counts: Counter[str], servers: Servers) -> None:
        self._rng = rng
        self._servers = servers
        self.counts = counts
        self.fault_rate = 0.0
        self.strays: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, with whatever happens to it on the way."""
        body = await request.aread()
        if (
            request.url.path.startswith("/v1/sync")
            and "content-encoding" not in request.headers
            and self._rng.random() < _WITH_POINTS
        ):
            self.counts["whole numbers written with a point"] += 1
            body = json.dumps(_with_points(json.loads(body)), ensure_ascii=False).encode()
        fault = (
            self._rng.choice(FAULTS)
            if request.url.path == "/v1/sync" and self._rng.random() < self.fault_rate
            else None
        )
        if fault is not None:
            self.counts[fault] += 1
        match fault:
            case "drop request":
                raise httpx.ConnectError("dropped")
            case "delay":
                self.strays.append(self._copy(request, body))
                raise httpx.ReadTimeout("delayed")
            case "duplicate":
                await self._deliver(request, body)
            case "drop answer":
                await self._deliver(request, body)
                raise httpx.ReadError("answer dropped")
        return await self._deliver(request, body)

    async def deliver_stray(self) -> None:
        """A delayed request arrives after all, when nobody waits for its answer."""
        if self.strays:
            request = self.strays.pop(self._rng.randrange(len(self.strays)))
            self.counts["stray"] += 1
            await self._deliver(request, await request.aread())

    async def _deliver(self, request: httpx.Request, body: bytes) -> httpx.Response:
        return await self._servers.answer(self._copy(request, body))

    @staticmethod
    def _copy(request: httpx.Request, body: bytes) -> httpx.Request:
        headers = {
            name: value for name, value in request.headers.items() if name != "content-length"
        }
        return httpx.Request(request.method, request.url, headers=headers, content=body)


def _with_points(value: Any) -> Any:
    """The same JSON as languages write it whose whole numbers are floats."""
    if isinstance(value, dict):
        return {name: _with_points(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_points(item) for item in value]
    return float(value) if type(value) is int else value
