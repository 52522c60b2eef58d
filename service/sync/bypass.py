"""The bypass of phones: `POST /v1/sync` leaves the way of all other requests before the layers that
only REST needs.

Every evening this is nearly all that the service does. The route itself stays where it is declared,
with its documentation; here its function is called, and what it answers or raises becomes the
answer.
"""

from fastapi.routing import APIRoute
from isal import isal_zlib
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.compression import accepts_gzip
from service.http.strict import known_parameters
from service.kit import outcomes
from service.kit.errors import answer_after
from service.kit.outcomes import Outcome, RequestKind
from service.runtime.clocks import refuse_by_wrong_clock
from service.sync.routes import router, sync

_GZIP_ABOVE = 1_000
_GZIP_LEVEL, _GZIP_LEVEL_OF_PAGES, _PAGE_ABOVE = (
    1,
    3,
    16_000,
)  # a page is worth the time: its line may be slow
_ROUTE = next(
    route for route in router.routes if isinstance(route, APIRoute) and route.endpoint is sync
)


class SyncBypass:
    """The layer that takes the exchanges of phones out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _ROUTE.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        request = Request(scope, receive)
        token = outcomes.current.set(Outcome(RequestKind.SYNC))
        try:
            scope["app"].state.tables.refuse_too_new()
            await refuse_by_wrong_clock(scope)
            known_parameters(request)
            answer = await sync(request)
        except Exception as error:
            answer = await answer_after(error, scope)
        finally:
            outcomes.current.reset(token)
        await send(_start(answer, request))
        await send({"type": "http.response.body", "body": answer.body})


def _start(answer: Response, request: Request) -> dict[str, object]:
    """The head of an answer, whose body is deflated where that pays."""
    if len(answer.body) >= _GZIP_ABOVE and accepts_gzip(request.headers.get("accept-encoding", "")):
        answer.body = isal_zlib.compress(
            answer.body,
            _GZIP_LEVEL if len(answer.body) < _PAGE_ABOVE else _GZIP_LEVEL_OF_PAGES,
            wbits=31,
        )
        answer.headers["content-encoding"] = "gzip"
        answer.headers["content-length"] = str(len(answer.body))
    answer.headers["vary"] = "Accept-Encoding, Accept-Language"
    return {
        "type": "http.response.start",
        "status": answer.status_code,
        "headers": answer.raw_headers,
    }
