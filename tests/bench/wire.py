"""A light HTTP client for load: one connection, one request at a time, next to no time of its own.

The load generator shares the cores with the service, so what a comfortable client spends would be
measured as the service's.
"""

import asyncio
import zlib
from typing import NamedTuple, cast
from urllib.parse import urlsplit

_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


class Answer(NamedTuple):
    """What came back: status, header block in lower case, body, and how many bytes of body went
    over the wire.
    """

    status: int
    head: bytes
    body: bytes
    size: int

    def header(self, name: bytes) -> bytes:
        """A header's value, empty when it is not there."""
        for line in self.head.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return b""


class Line(asyncio.Protocol):
    """One connection. `await Line.open(base_url)`, then `await line.ask(…)`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[Answer] | None = None
        self._need = -1
        self._head = b""
        self.sent = 0
        self.received = 0

    @classmethod
    async def open(cls, base_url: str) -> "Line":
        """A connection to the service."""
        at = urlsplit(base_url)
        _, line = await asyncio.get_running_loop().create_connection(
            cls, at.hostname or "", at.port or 0
        )
        return line

    async def ask(
        self,
        path: str,
        body: bytes,
        token: str = "",
        encoding: str = "",
        kind: str = "application/json",
    ) -> Answer:
        """Posts a body and waits for the answer; raises `ConnectionError` when the connection ends
        before it.
        """
        return inflated(await self.send(post(path, body, token, encoding, kind)))

    async def send(self, request: bytes) -> Answer:
        """Sends a whole request and waits for the answer, whose body is left as it came."""
        return await self.begin(request)

    def begin(self, request: bytes) -> asyncio.Future[Answer]:
        """Sends a whole request; the answer that is to come."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._waiter = asyncio.get_running_loop().create_future()
        self.sent += len(request)
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of the protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the protocol."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError("the service closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Of the protocol."""
        self.received += len(data)
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._buffer[:end]).lower()
            del self._buffer[: end + 4]
            self._need = int(Answer(0, self._head, b"", 0).header(b"content-length") or 0)
        if len(self._buffer) < self._need:
            return
        body = bytes(self._buffer[: self._need])
        del self._buffer[: self._need]
        size, self._need = self._need, -1
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(Answer(int(self._head[9:12]), self._head, body, size))


def inflated(answer: Answer) -> Answer:
    """An answer with its body as it was before it was deflated for the wire."""
    return (
        answer._replace(body=zlib.decompress(answer.body, wbits=31))
        if b"content-encoding: gzip" in answer.head
        else answer
    )


def post(
    path: str, body: bytes, token: str = "", encoding: str = "", kind: str = "application/json"
) -> bytes:
    """A whole POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nAccept-Encoding:"
        f" gzip\r\nContent-Length: {len(body)}\r\n"
    )
    if encoding:
        head += f"Content-Encoding: {encoding}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    return head.encode() + b"\r\n" + body


class Packed:
    """A gzip body whose larger part is compressed ahead, as phones compress with their own
    processors.

    `Packed(first).with_rest(rest)` is the gzip of `first + rest`.
    """

    def __init__(self, first: bytes) -> None:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._part = _GZIP_HEAD + deflater.compress(first) + deflater.flush(zlib.Z_FULL_FLUSH)
        self._crc = zlib.crc32(first)
        self._size = len(first)

    def with_rest(self, rest: bytes) -> bytes:
        """The whole body."""
        deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
        crc = zlib.crc32(rest, self._crc)
        size = (self._size + len(rest)) & 0xFFFFFFFF
        return (
            self._part
            + deflater.compress(rest)
            + deflater.flush()
            + crc.to_bytes(4, "little")
            + size.to_bytes(4, "little")
        )
