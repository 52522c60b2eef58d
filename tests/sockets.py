"""A real server on a real socket, and clients that write their requests by hand."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from service.http.load_shedding import PATH, LoadShedding, LoadSheddingProtocol


class Wire:
    """A connection on which requests are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def post(
        self,
        *more: str,
        path: str = PATH,
        body: bytes = b"{}",
        method: str = "POST",
        version: str = "1.1",
    ) -> None:
        lines = [f"{method} {path} HTTP/{version}", "Host: here", *more]
        if not any(line.startswith("Transfer-Encoding") for line in more):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            headers = {
                name.lower(): value
                for name, value in re.findall(r"^([\w-]+): (.*?)\r$", head, re.M)
            }
            length = headers.get("content-length")
            return (
                int(head.split()[1]),
                headers,
                await self._reader.readexactly(int(length)) if length else b"",
            )

    async def head(self) -> str:
        """The status line and headers of an answer that has no body."""
        async with asyncio.timeout(5):
            return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def is_over(self) -> bool:
        async with asyncio.timeout(5):
            return await self._reader.read() == b""


@asynccontextmanager
async def serving(shedding: LoadShedding, keep_alive_s: int = 1) -> AsyncIterator[int]:
    """The port at which a server in this process serves an app."""
    config = uvicorn.Config(
        shedding,
        port=0,
        http=LoadSheddingProtocol,
        ws="none",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=keep_alive_s,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running
