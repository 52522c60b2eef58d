"""A proxy between the service and PostgreSQL that fails at a chosen moment of the transaction that
writes: before, within or after COMMIT.

It reads PostgreSQL's messages (protocol 3) as far as it needs to know which transaction a
connection is in.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, quote, urlsplit

SSL_REQUEST = 80877103


class Moment(Enum):
    """When it fails: at a statement of the transaction; at its COMMIT, which does not reach
    PostgreSQL; once PostgreSQL has committed.
    """

    BEFORE = "before COMMIT"
    WITHIN = "within COMMIT"
    AFTER = "after COMMIT"


def fatal(state: str) -> bytes:
    """What PostgreSQL says before it ends a connection."""
    fields = b"".join(
        kind + text.encode() + b"\0"
        for kind, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", state), (b"M", "made up"))
    )
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


GARBAGE = b"~" + struct.pack("!i", 4)
CUT = b""
SILENCE = None


@dataclass
class Failure:
    """`said`: what the client is told before the connection is cut; `SILENCE`: nothing, and it
    stays open.
    """

    moment: Moment
    said: bytes | None = CUT


@dataclass
class _Connection:
    statements: dict[bytes, bytes] = field(default_factory=dict)
    writes: bool = False
    failing: Failure | None = None


class Proxy:
    """Fails once, when `failure` is set and a transaction comes whose statements have the marker in
    them; `failed` is set then.
    """

    def __init__(self, host: str, port: int, marker: bytes) -> None:
        self._to: str | tuple[str, int] = (
            f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        )
        self._marker = marker
        self._open: set[asyncio.StreamWriter] = set()
        self.failure: Failure | None = None
        self.failed = asyncio.Event()
        self.port = 0

    def fail(self, failure: Failure) -> None:
        """Fails at the next transaction that writes."""
        self.failure = failure
        self.failed.clear()

    def refuse(self) -> None:
        """From now on nobody gets through, as where the server is down."""
        self._to = ("127.0.0.1", 1)
        self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._to, str):
            return await asyncio.open_unix_connection(self._to)
        return await asyncio.open_connection(*self._to)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes messages on, both ways."""
        connection = _Connection()
        try:
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.close()
            return
        self._open |= {writer, up_writer}
        answers = asyncio.create_task(self._answers(connection, up_reader, writer))
        try:
            await self._questions(connection, reader, writer, up_writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if connection.failing is None or connection.failing.said is not SILENCE:
                up_writer.close()
            await asyncio.gather(answers, return_exceptions=True)
            for each in (writer, up_writer):
                each.close()
                self._open.discard(each)

    async def _questions(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up: asyncio.StreamWriter,
    ) -> None:
        length = await reader.readexactly(4)
        up.write(
            length + await reader.readexactly(int.from_bytes(length, "big") - 4)
        )  # its first message has no kind
        while True:
            kind = await reader.readexactly(1)
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length, "big") - 4)
            if self._is_time(connection, self._text(connection, kind, body)):
                assert connection.failing is not None
                if connection.failing.moment is not Moment.AFTER:
                    if await self._say(connection.failing, writer):
                        return
                    continue  # silence: the client's words go nowhere
            elif connection.failing is not None and connection.failing.said is SILENCE:
                continue
            up.write(kind + length + body)
            await up.drain()

    def _text(self, connection: _Connection, kind: bytes, body: bytes) -> bytes:
        """The SQL that a message runs."""
        if kind == b"Q":
            return body
        if kind == b"P":
            name, sql = body.split(b"\0", 2)[:2]
            connection.statements[name] = sql
        if kind == b"B":
            return connection.statements.get(body.split(b"\0", 2)[1], b"")
        return b""

    def _is_time(self, connection: _Connection, sql: bytes) -> bool:
        if sql.startswith((b"BEGIN", b"ROLLBACK")):
            connection.writes = False
        now: tuple[Moment, ...] = ()
        if self._marker in sql:
            connection.writes = True
            now = (Moment.BEFORE,)
        elif sql.startswith(b"COMMIT") and connection.writes:
            now = (Moment.WITHIN, Moment.AFTER)
        if self.failure is None or self.failure.moment not in now:
            return False
        connection.failing, self.failure = self.failure, None
        return True

    async def _say(self, failure: Failure, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is over."""
        self.failed.set()
        if failure.said is SILENCE:
            return False
        writer.write(failure.said)
        writer.close()
        return True

    async def _answers(
        self, connection: _Connection, up: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                kind = await up.readexactly(1)
                length = await up.readexactly(4)
                body = await up.readexactly(int.from_bytes(length, "big") - 4)
                failing = connection.failing
                if failing is not None and failing.moment is Moment.AFTER:
                    if kind == b"C" and body.startswith(b"COMMIT"):
                        await self._say(failing, writer)
                    continue
                if failing is None:
                    writer.write(kind + length + body)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def close(self) -> None:
        """Cuts what is open."""
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def proxied(url: str, marker: bytes) -> AsyncIterator[tuple[Proxy, Callable[[str], str]]]:
    """A proxy to the server of a URL, and what turns URLs of the server into those of the proxy."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = parts.hostname or query["host"][0]
    proxy = Proxy(host, parts.port or int(query.get("port", ["5432"])[0]), marker)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def through(direct: str) -> str:
        there = urlsplit(direct)
        user = quote(there.username or "postgres")
        return f"postgresql://{user}@127.0.0.1:{port}{there.path}?sslmode=disable"

    try:
        yield proxy, through
    finally:
        server.close()
        proxy.close()
