"""Reads carry an ETag, so that what has not changed is not sent again, and a page names the next
one in `Link`.
"""

import hashlib
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Page(msgspec.Struct):
    next: str | None = None


_decoder = msgspec.json.Decoder(_Page)


class ETags:
    """Looks at answers to GET with JSON; everything else passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] not in ("GET", "HEAD")
            or not scope["path"].startswith("/v1/")
        ):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        parts: list[bytes] = []

        async def answer(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if message["status"] == 200 and kind.startswith("application/json"):
                    start = message
                    return
            elif start is not None and message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    await _finish(scope, send, start, b"".join(parts))
                return
            await send(message)

        await self._app(scope, receive, answer)


async def _finish(scope: Scope, send: Send, start: Message, body: bytes) -> None:
    headers = MutableHeaders(raw=start["headers"])
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers["ETag"] = tag
    headers["Cache-Control"] = "private, no-cache"
    headers.add_vary_header("Authorization")
    headers.add_vary_header("Accept-Language")
    following = _next_of(body)
    if following is not None:
        query = [
            (name, value)
            for name, value in parse_qsl(scope["query_string"].decode("latin-1"))
            if name != "after"
        ]
        headers.append(
            "Link", f'<{scope["path"]}?{urlencode([*query, ("after", following)])}>; rel="next"'
        )
    known = Headers(scope=scope).get("if-none-match", "")
    if tag in (part.strip() for part in known.split(",")) or known.strip() == "*":
        del headers["content-length"]
        await send({**start, "status": 304})
        await send({"type": "http.response.body", "body": b""})
        return
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _next_of(body: bytes) -> str | None:
    if b'"next":' not in body:
        return None
    try:
        return _decoder.decode(body).next
    except msgspec.DecodeError:
        return None
