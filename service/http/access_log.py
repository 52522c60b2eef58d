"""Every request gets a line in the log, a place in the figures, and the headers that a browser
should see.
"""

import logging
import random
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.deprecation import deprecation_headers
from service.http.security_headers import ON_DATA, ON_PAGES, OVER_TLS, secured
from service.kit import metrics
from service.kit.localization import asked_for, language_of

log = logging.getLogger("gridloop.requests")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

_PAGES = ("/docs", "/redoc", "/static-offline-docs")


class AccessLog:
    """The outermost layer but for that which gives the request its id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Of several alike the first counts.
        languages = (value for name, value in scope["headers"] if name == b"accept-language")
        language = asked_for.set(language_of(next(languages, b"").decode("latin-1")))
        began = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message["headers"], scope)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            took = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "unknown")
            state = getattr(scope["app"].state, "gridloop", None) if "app" in scope else None
            if state is not None:
                metrics.Pools.note(state.database.pools)
            metrics.request(scope["method"], route, status).observe(took)
            if log.isEnabledFor(logging.INFO):
                log.info(
                    "%s %s %d",
                    scope["method"],
                    route,
                    status,
                    extra=_line(scope, route, status, took),
                )
            asked_for.reset(language)


def id_of_request(given: str) -> str:
    """The id of a request: the one that came with it, if it looks like one, else a new one."""
    return given if _ID.fullmatch(given) else new_id()


def new_id() -> str:
    """An id for a request that came without one."""
    return f"{random.getrandbits(64):016x}"


def _line(scope: Scope, route: str, status: int, took: float) -> dict[str, Any]:
    line = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(1000 * took, 1),
    }
    if "staff" in scope:
        line["staff"] = scope["staff"]
    return line


def _add_headers(raw: list[tuple[bytes, bytes]], scope: Scope) -> None:
    page = scope["path"].startswith(_PAGES)
    wanted = ON_PAGES if page else ON_DATA
    raw[:] = secured(raw, [*wanted, OVER_TLS] if scope["scheme"] == "https" else wanted)
    raw += [
        (name.lower().encode(), value.encode())
        for name, value in deprecation_headers(scope.get("route")).items()
    ]
