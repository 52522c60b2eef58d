"""Bodies of the REST API: plain or gzip, never more than the limit in memory. The sync route reads
its own.

Nothing is read for a path that does not exist, a route that takes no body, or a token that is not
valid: the answer does not depend on it.
"""

import re

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit.audit_log import address_of
from service.http.body import ANONYMOUS, read_body, replayed
from service.http.strict import refuse_odd_json
from service.identity.access import account_of
from service.identity.attempts import network_of
from service.identity.rights import PAGES, right_to
from service.kit.errors import INVALID, Problem
from service.kit.state import state_of

# U+0000 as it is, or escaped in JSON (and not behind a backslash that is escaped itself).
_NUL = re.compile(rb"\0|(?<!\\)(?:\\\\)*\\u0000")
MAX_BODY_BYTES = 1024 * 1024
# Of a body that anybody may send: the forms of those who sign in.
MAX_FORM_BYTES = 64 * 1024
_OWN_READERS = ("/v1/sync",)
# Routes that take files, and how those come: in a file every byte may stand.
_FILES = frozenset({"create_import", "import_on_page"})
_OF_FILES = "multipart/form-data"
_NOTHING: Message = {"type": "http.request", "body": b"", "more_body": False}


class RequestBodies:
    """Reads the body before the route does, inflates it, and refuses what is too large, too slow,
    or could not be stored.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: list[APIRoute] = []

    async def _read(self, request: Request) -> bytes | None:
        """The body; None when there is nothing to be read it for."""
        route = self._route_of(request)
        if route is None or route.body_field is None:
            return None
        operation = str(route.operation_id)
        account = None if right_to(operation).open else await account_of(request)
        if account is None:
            # The form of a page whose session has ended is read, so that it can be sent again.
            if not (right_to(operation).open or operation in PAGES):
                return None
            return await read_body(
                request, MAX_FORM_BYTES, account=network_of(address_of(request)), arriving=ANONYMOUS
            )
        limit = MAX_BODY_BYTES
        if route.operation_id in _FILES:
            limit += state_of(request).settings.import_max_bytes
        return await read_body(request, limit, account=account)

    def _route_of(self, request: Request) -> APIRoute | None:
        if not self._routes:
            found = [context.original_route for context in iter_route_contexts(request.app.routes)]
            self._routes = [
                route for route in found if isinstance(route, APIRoute) and route.methods != {"GET"}
            ]
        return next(
            (route for route in self._routes if route.matches(request.scope)[0] is Match.FULL), None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            raise Problem(
                INVALID,
                "The address holds the character U+0000, which no text here can; leave it out.",
            )
        if (
            scope["type"] != "http"
            or scope["method"] in ("GET", "HEAD", "OPTIONS")
            or scope["path"].startswith(_OWN_READERS)
        ):
            await self._app(scope, receive, send)
            return
        body = await self._read(Request(scope, receive))
        if body is None:
            await self._app(scope, replayed(_NOTHING, receive), send)
            return
        kind = Headers(scope=scope).get("content-type", "json").lower()
        if not kind.startswith(_OF_FILES) and _NUL.search(body):
            raise Problem(
                INVALID,
                "The body holds the character U+0000, which no text here can; leave it out.",
            )
        if "json" in kind:
            refuse_odd_json(body)
        if Headers(scope=scope).get("content-encoding"):
            headers = MutableHeaders(raw=list(scope["headers"]))
            del headers["content-encoding"]
            headers["content-length"] = str(len(body))
            scope["headers"] = headers.raw
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        await self._app(scope, replayed(whole, receive), send)
