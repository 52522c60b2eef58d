"""The door of phones: only so many exchanges are inside at once.

Who comes above that is asked to come again, before anything of the request is read or written down: what is inside is answered in good
time, memory stays bounded, the work goes on at its best pace, and a phone that waits loses nothing.
"""

import logging
import random
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from service import metrics
from service.errors import MEDIA_TYPE, UNAVAILABLE, Problem

log = logging.getLogger("gridloop")

PATH = "/v1/sync"
_COME_AGAIN_S = (2, 15)
_TOLD_EVERY_S = 10.0


class Door:
    """Stands around the whole app: who is sent away costs next to nothing, not even a line in the log."""

    def __init__(self, app: ASGIApp, at_once: int) -> None:
        self._app = app
        self._at_once = at_once
        self._inside = 0
        self._sent_away = 0
        self._told = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
        elif self._inside >= self._at_once:
            await self._send_away(send)
        else:
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1

    async def _send_away(self, send: Send) -> None:
        """The seconds differ, so that those who are sent away do not all come back together."""
        metrics.sent_away.inc()
        self._tell()
        seconds = random.randint(*_COME_AGAIN_S)
        body = _BODIES[seconds]
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(seconds).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": UNAVAILABLE.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _tell(self) -> None:
        self._sent_away += 1
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            log.warning("%d exchanges were asked to come again: %d are under way", self._sent_away, self._inside)
            self._told, self._sent_away = now, 0


def _body(seconds: int) -> bytes:
    problem = Problem(UNAVAILABLE, f"More phones sync just now than the server can serve; try again in {seconds} seconds.")
    return bytes(problem.response().body)


_BODIES = {seconds: _body(seconds) for seconds in range(_COME_AGAIN_S[0], _COME_AGAIN_S[1] + 1)}
