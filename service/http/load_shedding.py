"""Load shedding: only so many exchanges with phones are under way at once.

Who comes above that is asked to come again, before anything of the request is read or written down:
what is under way is answered in good time, memory stays bounded, the work goes on at its best pace,
and a phone that waits loses nothing. A slot is taken by the route once the request is here as a
whole, see `ConcurrencyLimit`.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.http.access_log import id_of_request
from service.http.connection_limits import Limits
from service.http.connections import LimitedConnection
from service.http.security_headers import secured
from service.kit.errors import MEDIA_TYPE, UNAVAILABLE
from service.kit.localization import FOR_PROGRAMS, Language, asked_for, language_of
from service.runtime.admission import COME_AGAIN_S, ConcurrencyLimit, retry_later

PATH = "/v1/sync"
DEFAULT_LIMITS = Limits()
_URL = PATH.encode()
_SAID = frozenset({b"accept-language", b"x-request-id"})


class LoadShedding:
    """Stands around the whole app: a request that is shed costs next to nothing, not even a line in
    the log.

    `around_refusals`: what else stands around the answer of those who may not come in. `limits`:
    those of connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        concurrency: ConcurrencyLimit,
        around_refusals: Callable[[ASGIApp], ASGIApp] = lambda refusal: refusal,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._app = app
        self.concurrency = concurrency
        self.limits = limits
        self._refusal = around_refusals(self._refuse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A browser's OPTIONS only asks whether it may call.
        if (
            scope["type"] == "http"
            and scope["path"] == PATH
            and scope["method"] == "POST"
            and self.concurrency.is_full
        ):
            await self._refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, __: Receive, send: Send) -> None:
        headers, body = refusal(self.concurrency.count_refusal(), scope["headers"])
        await send(
            {"type": "http.response.start", "status": UNAVAILABLE.status, "headers": [*headers]}
        )
        await send({"type": "http.response.body", "body": body})


class LoadSheddingProtocol(LimitedConnection):
    """The protocol for an app behind a `LoadShedding`, which sheds the requests of phones as soon
    as their headers are there.

    The same answer by way of the app takes the process twice as long, and in a rush four of five
    requests may be such. Browsers, whose answer needs more, and whatever is not everyday go that
    way nevertheless.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.limits = cast(LoadShedding, self.app).limits

    def begin_request(self) -> None:
        """Hands a request to the app, or answers that it should come again."""
        concurrency = cast(LoadShedding, self.app).concurrency
        if not (concurrency.is_full and self._is_plain_push()):
            super().begin_request()
            return
        self.write_answer(UNAVAILABLE.status, *refusal(concurrency.count_refusal(), self.headers))
        # Its body is still to come; nobody will read it.
        self.cycle = _ANSWERED

    def on_message_complete(self) -> None:
        """All of a request is there."""
        if self.cycle is _ANSWERED and not self.offers_upgrade:
            self.on_response_complete()  # from here on the connection is idle
        super().on_message_complete()

    def _is_plain_push(self) -> bool:
        waits_for_another = self.cycle is not None and not self.cycle.response_complete
        plain = (
            self.url == _URL
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
        )
        return (
            plain and not waits_for_another and all(name != b"origin" for name, _ in self.headers)
        )


class _Answered:
    """What uvicorn wants to know of a request that has got its answer."""

    response_started = response_complete = disconnected = True
    message_event = asyncio.Event()


def refusal(
    seconds: int, headers: list[tuple[bytes, bytes]]
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of the answer to a request that shall come again after so many seconds."""
    said = {name: value.decode("latin-1") for name, value in headers if name in _SAID}
    fixed, body = _REFUSALS[seconds, language_of(said.get(b"accept-language", "")) or FOR_PROGRAMS]
    return [*fixed, (b"x-request-id", id_of_request(said.get(b"x-request-id", "")).encode())], body


def _refusal(seconds: int, language: Language) -> tuple[list[tuple[bytes, bytes]], bytes]:
    token = asked_for.set(language)
    try:
        body = bytes(retry_later(seconds).response().body)
    finally:
        asked_for.reset(token)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"content-language", language.encode()),
        (b"retry-after", str(seconds).encode()),
    ]
    return secured(headers), body


_ANSWERED = cast(RequestResponseCycle, _Answered())
_LANGUAGES: tuple[Language, ...] = ("en", "zh")
_REFUSALS = {
    (seconds, language): _refusal(seconds, language)
    for seconds in range(COME_AGAIN_S[0], COME_AGAIN_S[1] + 1)
    for language in _LANGUAGES
}
