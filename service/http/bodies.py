"""Bodies of the REST API: plain or gzip, never more than the limit in memory. The sync route reads its own."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import INVALID, Problem
from service.http.body import read_body, replayed
from service.http.strict import refuse_odd_json

# U+0000 as it is, or escaped in JSON (and not behind a backslash that is escaped itself).
_NUL = re.compile(rb"\0|(?<!\\)(?:\\\\)*\\u0000")
MAX_BODY_BYTES = 1024 * 1024
_OWN_READERS = ("/v1/sync",)


class Bodies:
    """Reads the body before the route does, inflates it, and refuses what is too large, too slow, or could not be stored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            raise Problem(INVALID, "The address holds the character U+0000, which no text here can; leave it out.")
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"].startswith(_OWN_READERS):
            await self._app(scope, receive, send)
            return
        body = await read_body(Request(scope, receive), MAX_BODY_BYTES)
        if _NUL.search(body):
            raise Problem(INVALID, "The body holds the character U+0000, which no text here can; leave it out.")
        if "json" in Headers(scope=scope).get("content-type", "json").lower():
            refuse_odd_json(body)
        if Headers(scope=scope).get("content-encoding"):
            headers = MutableHeaders(raw=list(scope["headers"]))
            del headers["content-encoding"]
            headers["content-length"] = str(len(body))
            scope["headers"] = headers.raw
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        await self._app(scope, replayed(whole, receive), send)
