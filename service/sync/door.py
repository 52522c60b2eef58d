"""The door of phones: only so many exchanges are inside at once.

Who comes above that is asked to come again, before anything of the request is read or written down: what is inside is answered in good
time, memory stays bounded, the work goes on at its best pace, and a phone that waits loses nothing.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service import metrics
from service.errors import MEDIA_TYPE, UNAVAILABLE, Problem

log = logging.getLogger("gridloop")

PATH = "/v1/sync"
_COME_AGAIN_S = (2, 15)
_URL = PATH.encode()
_TOLD_EVERY_S = 10.0


class Door:
    """Stands around the whole app: who is sent away costs next to nothing, not even a line in the log.

    `at_once`: how many may be inside. `around_refusals`: what else stands around the answer of those who may not.
    """

    def __init__(self, app: ASGIApp, at_once: int, around_refusals: Callable[[ASGIApp], ASGIApp] = lambda refusal: refusal) -> None:
        self._app = app
        self._at_once = at_once
        self._refusal = around_refusals(self._refuse)
        self._inside = 0
        self._sent_away = 0
        self._told = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A browser's OPTIONS only asks for the way to the door.
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self.is_full:
            await self._refusal(scope, receive, send)
        else:
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1

    @property
    def is_full(self) -> bool:
        """Whether no further exchange may come in."""
        return self._inside >= self._at_once

    def send_away(self) -> int:
        """Counts one more who is sent away; the seconds to stay, which differ, so that they do not all come back together."""
        metrics.sent_away.inc()
        self._sent_away += 1
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            log.warning("%d exchanges were asked to come again: %d are under way", self._sent_away, self._inside)
            self._told, self._sent_away = now, 0
        return random.randint(*_COME_AGAIN_S)

    async def _refuse(self, _: Scope, __: Receive, send: Send) -> None:
        seconds = self.send_away()
        await send({"type": "http.response.start", "status": UNAVAILABLE.status, "headers": [*_HEADERS[seconds]]})
        await send({"type": "http.response.body", "body": _BODIES[seconds]})


class AtTheDoor(HttpToolsProtocol):
    """Uvicorn's protocol for an app behind a `Door`, which sends phones away as soon as their headers are there.

    The same answer by way of the app takes the process twice as long, and in a rush four of five requests may be such.
    Browsers, whose answer needs more, and whatever is not everyday go that way nevertheless.
    """

    def on_headers_complete(self) -> None:
        """All headers of a request are there."""
        door = cast(Door, self.app)
        if not (door.is_full and self._is_plain_push()):
            super().on_headers_complete()
            return
        seconds = door.send_away()
        headers = (*self.server_state.default_headers, *_HEADERS[seconds])
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[UNAVAILABLE.status], lines, _BODIES[seconds]))
        # Its body is still to come; nobody will read it.
        self.cycle = _ANSWERED

    def on_message_complete(self) -> None:
        """All of a request is there."""
        if self.cycle is _ANSWERED:
            self.on_response_complete()  # from here on the connection is idle
        super().on_message_complete()

    def _is_plain_push(self) -> bool:
        waits_for_another = self.cycle is not None and not self.cycle.response_complete
        plain = self.url == _URL and self.parser.get_method() == b"POST" and self.parser.should_keep_alive()
        return plain and not waits_for_another and all(name != b"origin" for name, _ in self.headers)


class _Answered:
    """What uvicorn wants to know of a request that has got its answer."""

    response_complete = True
    message_event = asyncio.Event()


def _body(seconds: int) -> bytes:
    problem = Problem(UNAVAILABLE, f"More phones sync just now than the server can serve; try again in {seconds} seconds.")
    return bytes(problem.response().body)


def _headers(seconds: int, body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(seconds).encode()),
        (b"cache-control", b"no-store"),
    ]


_ANSWERED = cast(RequestResponseCycle, _Answered())
_BODIES = {seconds: _body(seconds) for seconds in range(_COME_AGAIN_S[0], _COME_AGAIN_S[1] + 1)}
_HEADERS = {seconds: _headers(seconds, body) for seconds, body in _BODIES.items()}
