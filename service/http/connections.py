"""Connections with limits: how long and how large a head may be, how slowly a body may come and an
answer be taken, how many there may be.

Uvicorn's own protocol has none of these: whoever sends or reads a byte a second would hold a
connection, its memory and in the end all file descriptors for as long as they like. Times are
looked after by one sweep over all connections, so that a request costs no timer.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import chain
from typing import Any, cast
from weakref import WeakSet

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.http.access_log import id_of_request
from service.http.body import body_seconds
from service.http.connection_limits import Limits
from service.http.crowding import SHED, crowd, shed_idle
from service.http.security_headers import secured
from service.kit.errors import HEAD_TOO_LARGE, NO_HTTP, TOO_MANY_REQUESTS, UNAVAILABLE, Problem
from service.kit.logs import request_id
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

SWEEP_S = 5.0
_AROUND_HEADER = len(b": \r\n")
# What an HTTP/2 or WebSocket client adds to a request that it would rather make otherwise; the
# request itself is a plain one.
_OFFERS = (b"upgrade", b"http2-settings")


class LimitedConnection(HttpToolsProtocol):
    """A connection that ends when its client is too slow, and that ignores offers to speak another
    protocol.
    """

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_since: float | None = None
        # What has come of a head, or beside the body since its last piece.
        self._framing_bytes = 0
        self._body_since: float | None = None
        self._body_bytes = 0
        self.url = b""
        self._refusal: Problem | None = None
        self._refused_head = False
        self._is_half_closed = False
        self._hung_up_at: float | None = None
        self._drained = self.idle_since = self.loop.time()
        self.offers_upgrade = False

    # --------------------------------------------------------------------------- what uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; makes room by closing idle connections where there are too
        many.
        """
        is_full = len(self.connections) >= self.limits.connections and not shed_idle(
            cast(Iterable[Any], self.connections)
        )
        super().connection_made(transport)
        self._head_since = self.loop.time()
        if self.server_state not in _swept:
            _swept.add(self.server_state)
            self.loop.call_later(SWEEP_S, sweep, self.server_state, self.loop)
        if is_full:
            crowd.note(refused=1)
            if len(self.connections) > self.limits.connections + SHED:
                transport.abort()
            else:
                self._refuse(
                    Problem(
                        UNAVAILABLE,
                        "The server has as many connections as it can; try again soon.",
                        {"Retry-After": "5"},
                    )
                )

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if self._refusal is not None:
            return
        if self._head_since is None and self.is_idle:
            self._head_since, self._framing_bytes = self.loop.time(), 0
        self._framing_bytes += len(data)
        self._feed(data)
        if self._framing_bytes > self.limits.head_bytes:
            self._refuse(_head_too_large())

    def _feed(self, data: bytes) -> None:
        self._is_no_longer_idle()
        waiting: list[bytes | memoryview] = [data]
        while waiting and self._refusal is None:
            some = waiting.pop()
            try:
                self.parser.feed_data(some)
            except httptools.HttpParserUpgrade as upgrade:
                waiting += memoryview(some)[upgrade.args[0] :], self._head_without_offer()
            except httptools.HttpParserError:
                self._refuse(_no_http())
                return

    def _is_no_longer_idle(self) -> None:
        """Gives up the timer that would end the connection for lack of requests."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; one that still listens is told what was cut off. Returns
        whether an answer is still to come.
        """
        if self._body_since is not None or (self._head_since is not None and self._framing_bytes):
            self._refuse(_no_http())
        is_answered = self.cycle is None or self.cycle.response_complete
        self._is_half_closed = not is_answered or bool(self.pipeline)
        return self._is_half_closed or (self._refusal is not None and self._hung_up_at is None)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._head_since is None:  # behind another request that came with it
            self._head_since, self._framing_bytes = self.loop.time(), 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of a request, or a trailer behind its body: that is none, whatever its name (RFC
        9110, 6.5.1).
        """
        if self._body_since is not None:
            return
        if len(self.headers) >= self.limits.headers:
            self._refuse(
                Problem(
                    HEAD_TOO_LARGE,
                    Text("There are more than {max} headers; send fewer.", max=self.limits.headers),
                )
            )
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers of a request are there."""
        self._head_since = None
        self.offers_upgrade = self.parser.should_upgrade()
        if self.offers_upgrade:
            return  # it comes again without the offer
        headers = self.headers
        size = (
            len(self.url)
            + len(b"".join(chain.from_iterable(headers)))
            + _AROUND_HEADER * len(headers)
        )
        if size > self.limits.head_bytes:
            self._refuse(_head_too_large())
            raise _Refused
        hosts = [name for name, _ in headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            self._refuse(Problem(NO_HTTP, "A request has one Host header; send just one."))
            raise _Refused
        if len(self.pipeline) >= self.limits.pipelined:
            self._refuse(
                Problem(
                    TOO_MANY_REQUESTS,
                    "Too many requests of this connection wait for their turn; send fewer at once.",
                )
            )
            raise _Refused
        self.begin_request()
        self._body_since, self._body_bytes, self._framing_bytes = self.loop.time(), 0, 0

    def begin_request(self) -> None:
        """Hands a request, whose head is there and within limits, to the app."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body has come."""
        self._body_bytes += len(body)
        self._framing_bytes = 0
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of a request is there."""
        if self.offers_upgrade:
            return
        self._body_since, self._framing_bytes, self.url = None, 0, b""
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was handed over."""
        self.idle_since = self.loop.time()
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last:
            self._answer_refusal()
            if self._is_half_closed and self._refusal is None:
                self.transport.close()  # once what was written has left

    def resume_writing(self) -> None:
        """Most of what was to be sent has left."""
        self._drained = self.loop.time()
        super().resume_writing()

    # --------------------------------------------------------------------------------------- limits

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, nor refused."""
        return (
            self._refusal is None
            and self._body_since is None
            and (self.cycle is None or self.cycle.response_complete)
        )

    def is_overdue(self, now: float) -> bool:
        """Whether the client has been too slow."""
        limits = self.limits
        if self._head_since is not None and now - self._head_since > limits.head_s:
            return True
        if self._body_since is not None and not self.flow.read_paused:
            late = now - self._body_since - body_seconds(self._body_bytes)
            if late > limits.grace_s:
                return True
        waits = self.transport.get_write_buffer_size()
        if waits == 0:
            self._drained = now
            if self._hung_up_at is not None:
                return now - self._hung_up_at > limits.linger_s
        return now - self._drained > limits.answer_s + waits / limits.answer_rate

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer like everything else that is refused."""
        self._refuse(_no_http())

    def _refuse(self, problem: Problem) -> None:
        """Takes nothing more from the client; what came last is answered with a problem, after all
        that came before it.
        """
        if self._refusal is not None or self.transport.is_closing():
            return
        self._refusal = problem
        self._refused_head = bool(self.url) and self.parser.get_method() == b"HEAD"
        is_in_body, self._head_since, self._body_since = self._body_since is not None, None, None
        if self.cycle is None or (self.cycle.response_complete and not is_in_body):
            self._answer_refusal()
        elif is_in_body and self.pipeline:
            self.pipeline.popleft()  # it has not begun
        elif is_in_body:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self._hang_up()
            else:
                self._answer_refusal()

    def _answer_refusal(self) -> None:
        """Answers before there is a request that the app could see, and hangs up."""
        if self._refusal is None or self.transport.is_closing():
            return
        id = id_of_request("")
        token = request_id.set(id)
        log.info("a request was refused before the app: %s", self._refusal.type.slug)
        request_id.reset(token)
        answer = self._refusal.response()
        headers = [
            *secured(answer.raw_headers),
            (b"x-request-id", id.encode()),
            (b"connection", b"close"),
        ]
        self.write_answer(
            answer.status_code, headers, b"" if self._refused_head else bytes(answer.body)
        )
        self._hang_up()

    def _hang_up(self) -> None:
        """Sends no more. Closed at once, with bytes that nobody has read, the connection would take
        the answer with it.
        """
        self._is_no_longer_idle()
        self._hung_up_at = self.loop.time()
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()
        except OSError:  # the client has gone
            self.transport.abort()

    def write_answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Writes a whole answer that the app does not see."""
        lines = b"".join(
            [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        )
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))

    def _head_without_offer(self) -> bytes:
        """The head of a request that offered another protocol, to be read anew, by a parser that
        knows nothing of the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(_no_http())
            return b""
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in value.split(b",") if word.strip().lower() not in _OFFERS]
                if not kept:
                    continue
                value = b",".join(kept)
            if name not in _OFFERS:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", b""])


class _Refused(Exception):
    """Stops the parser where a request was refused."""


def _no_http() -> Problem:
    return Problem(NO_HTTP, "What came is no HTTP request, or is cut off; send it again.")


def _head_too_large() -> Problem:
    return Problem(HEAD_TOO_LARGE, "The address and headers are too large; send less of them.")


_swept: WeakSet[ServerState] = WeakSet()


def sweep(server: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    """Ends the connections whose clients are too slow, and comes again while there are any."""
    now = loop.time()
    slow = [
        one
        for one in server.connections
        if isinstance(one, LimitedConnection) and one.is_overdue(now)
    ]
    for connection in slow:
        connection.transport.abort()
    if slow:
        log.info("%d connections were ended: their clients were too slow", len(slow))
    if server.connections:
        loop.call_later(SWEEP_S, sweep, server, loop)
    else:
        _swept.discard(server)


def open_connections() -> list[LimitedConnection]:
    """The connections of the servers of this process."""
    return [
        one for server in _swept for one in server.connections if isinstance(one, LimitedConnection)
    ]
