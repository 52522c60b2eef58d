"""A receiver of webhooks over real HTTP on the loopback, and what it got."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

Answer = tuple[int, bytes]


class Got(NamedTuple):
    """A request: its path with the query, its headers in lower case, its body."""

    path: str
    headers: dict[str, str]
    body: str


class Receiver:
    """Answers what `answers` says, or 204; `arrived` is set with each request."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.arrived = asyncio.Event()
        self.answer: Callable[[Got], Awaitable[Answer]] = self._taken
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def _taken(self, _: Got) -> Answer:
        return 204, b""

    def answers(self, *answers: Answer) -> None:
        """One after the other, and the last one from then on."""
        left = [*answers]

        async def answer(_: Got) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        got = Got(first.split(" ")[1], headers, body.decode())
        self.got.append(got)
        self.arrived.set()
        status, answer = await self.answer(got)
        more = "Location: /elsewhere\r\n" if 300 <= status < 400 else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(answer)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + answer
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens inside."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
