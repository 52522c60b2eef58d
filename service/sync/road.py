"""The short road of phones: `POST /v1/sync` leaves the way of all other requests before the layers that only REST needs.

Every evening this is nearly all that the service does. The route itself stays where it is declared, with its documentation; here its
function is called, and what it answers or raises becomes the answer.

Only so many exchanges are inside at once. Who comes above that is asked to come again, before anything of the request is read: what is
inside is answered in good time, memory stays bounded, and a phone that waits loses nothing.
"""

import random
import zlib

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import metrics
from service.errors import UNAVAILABLE, Problem, answer_to
from service.state import state_of
from service.sync.routes import router, sync

_GZIP_ABOVE = 1_000
_GZIP_LEVEL, _GZIP_LEVEL_OF_PAGES, _PAGE_ABOVE = 1, 4, 16_000  # a page is worth the time: its line may be slow
_COME_AGAIN_S = (2, 15)
_ROUTE = next(route for route in router.routes if isinstance(route, APIRoute) and route.endpoint is sync)


class Phones:
    """The layer that takes the exchanges of phones out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _ROUTE.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        request = Request(scope, receive)
        if self._inside >= state_of(request).settings.sync_at_once:
            answer = _busy().response()
        else:
            self._inside += 1
            try:
                answer = await sync(request)
            except Exception as error:
                answer = answer_to(error, scope)
            finally:
                self._inside -= 1
        await send(_start(answer, request))
        await send({"type": "http.response.body", "body": answer.body})


def _busy() -> Problem:
    """The answer to one too many; the seconds differ, so that those who are sent away do not all come back together."""
    metrics.sent_away.inc()
    seconds = random.randint(*_COME_AGAIN_S)
    return Problem(
        UNAVAILABLE, f"More phones sync just now than the server can serve; try again in {seconds} seconds.", {"Retry-After": str(seconds)}
    )


def _start(answer: Response, request: Request) -> dict[str, object]:
    """The head of an answer, whose body is deflated where that pays."""
    if len(answer.body) >= _GZIP_ABOVE and "gzip" in request.headers.get("accept-encoding", ""):
        answer.body = zlib.compress(answer.body, _GZIP_LEVEL if len(answer.body) < _PAGE_ABOVE else _GZIP_LEVEL_OF_PAGES, wbits=31)
        answer.headers["content-encoding"] = "gzip"
        answer.headers["content-length"] = str(len(answer.body))
    answer.headers["vary"] = "Accept-Encoding"
    return {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
