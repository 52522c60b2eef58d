"""Who may speak for others: the proxies whose X-Forwarded-For and X-Forwarded-Proto say where a
request came from.

A proxy that nobody named looks like one client that sends everything: its whole village would share
one limit of attempts. So its headers, which do nothing, are noticed: in the log, and at `/readyz`.
"""

import logging
import os
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.kit.addresses import checked

log = logging.getLogger("gridloop")

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_TOLD_EVERY_S = 600.0
_NOTED_FOR_S = 3600.0


class UnnamedProxies:
    """Notes that forwarded headers came from somebody who may not speak for others."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._told: float | None = None

    def note(self, host: str) -> None:
        """Notes it, and says it in the log now and then."""
        self._last = now = time.monotonic()
        if self._told is None or now - self._told >= _TOLD_EVERY_S:
            self._told = now
            log.warning(
                "forwarded headers from %s are ignored; if that is your proxy, name it: gridloop"
                " serve --proxy %s",
                host,
                host,
            )

    @property
    def were_here(self) -> bool:
        """Whether one was noted within the last hour."""
        return self._last is not None and time.monotonic() - self._last < _NOTED_FOR_S


class Forwarded(ProxyHeadersMiddleware):
    """Takes a request's origin from the headers of the proxies named, and notes such headers of all
    others.
    """

    def __init__(
        self, app: ASGIApp, proxies: Sequence[str], unnamed_proxies: UnnamedProxies
    ) -> None:
        super().__init__(app, list(proxies))  # type: ignore[arg-type]  # uvicorn's own type of the same thing
        self._unnamed_proxies = unnamed_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        client = scope.get("client")
        if (
            client
            and client[0] not in self.trusted_hosts
            and any(name in _FORWARDED for name, _ in scope.get("headers", ()))
        ):
            self._unnamed_proxies.note(client[0])
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]


def proxies_from(settings: Sequence[str]) -> list[str]:
    """The proxies of the settings; else those of FORWARDED_ALLOW_IPS, as uvicorn has it; else this
    machine's.

    Raises ValueError for one of those that is no address.
    """
    if settings:
        return list(settings)
    return [
        checked(part.strip())
        for part in os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1").split(",")
        if part.strip()
    ]
