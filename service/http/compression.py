"""Answers over REST as gzip, to those who take it."""

import re

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

_NO_QUALITY = re.compile(r"q\s*=\s*0(\.0*)?", re.IGNORECASE)


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding allows gzip (RFC 9110, 12.5.3): by its own name, whatever `*`
    says, and else by `*`; `q=0` says that it does not.
    """
    allowed: dict[str, bool] = {}
    for part in header.split(","):
        coding, _, parameters = part.strip().partition(";")
        allowed[coding.strip().lower()] = not _NO_QUALITY.fullmatch(parameters.strip())
    return allowed.get("gzip", allowed.get("*", False))


class Compression:
    """The framework's layer looks for the word gzip alone; here its parts are chosen by what the
    header says. Both name the header in `Vary`.
    """

    def __init__(self, app: ASGIApp, minimum_size: int, compresslevel: int) -> None:
        self._app = app
        self._minimum_size = minimum_size
        self._compresslevel = compresslevel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = ", ".join(Headers(scope=scope).getlist("accept-encoding"))
        responder = (
            GZipResponder(self._app, self._minimum_size, compresslevel=self._compresslevel)
            if accepts_gzip(header)
            else IdentityResponder(self._app, self._minimum_size)
        )
        await responder(scope, receive, send)
