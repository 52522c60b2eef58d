"""What holds for all pages, whichever layer answers: the language, the headers of a browser's
security, and problems as pages.
"""

import gzip
import json
from collections.abc import Collection, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.kit.errors import MEDIA_TYPE
from service.kit.localization import FOR_PEOPLE, Language, asked_for
from service.pages.page import answer

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    # With none at all a browser would not say where a form comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# They bring a policy of their own.
_DOCUMENTATION = ("/docs", "/redoc", "/static-offline-docs")
_LANGUAGE = "lang"
_A_YEAR_S = 365 * 24 * 3600


class PageAnswers:
    """Stands around everything that may answer a page: what lies under one of the `segments`, the
    first parts of the paths of pages, and whatever a browser asks for outside the API.
    """

    def __init__(self, app: ASGIApp, segments: Collection[str]) -> None:
        self._app = app
        self._segments = segments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_for_people(scope):
            await self._app(scope, receive, send)
            return
        wished = _language(
            parse_qs(scope["query_string"].decode("latin-1")).get(_LANGUAGE, [""])[0]
        )
        language = wished or _language(_cookies(scope).get(_LANGUAGE, "")) or FOR_PEOPLE
        token = asked_for.set(language)
        problem: Message | None = None
        parts: list[bytes] = []

        async def answer_page(message: Message) -> None:
            nonlocal problem
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                kind = headers.get("content-type", "")
                if kind.startswith(MEDIA_TYPE):
                    problem = message
                    return
                if kind.startswith("text/html") or 300 <= message["status"] < 400:
                    _complete(headers, scope, wished)
            elif problem is not None:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    await _as_page(scope, receive, send, problem, b"".join(parts))
                return
            await send(message)

        try:
            await self._app(scope, receive, answer_page)
        finally:
            asked_for.reset(token)

    def _is_for_people(self, scope: Scope) -> bool:
        path = scope["path"]
        if path[1:].partition("/")[0] in self._segments:
            return True
        accepted = Headers(scope=scope).get("accept", "")
        return "text/html" in accepted and not path.startswith(_DOCUMENTATION)


def _language(text: str) -> Language | None:
    return "en" if text == "en" else "zh" if text == "zh" else None


def _cookies(scope: Scope) -> Mapping[str, str]:
    return Request(scope).cookies


def _complete(headers: MutableHeaders, scope: Scope, wished: Language | None) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    if wished is not None:
        cookie: SimpleCookie = SimpleCookie({_LANGUAGE: wished})
        cookie[_LANGUAGE].update({"path": "/", "max-age": str(_A_YEAR_S), "samesite": "Lax"})
        if scope["scheme"] == "https":
            cookie[_LANGUAGE]["secure"] = True
        headers.append("Set-Cookie", cookie.output(header="").strip())


async def _as_page(scope: Scope, receive: Receive, send: Send, start: Message, body: bytes) -> None:
    given = Headers(raw=start["headers"])
    if given.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    problem: dict[str, Any] = json.loads(body)
    page = answer(Request(scope), "problem.html", start["status"], problem=problem)
    for name in ("retry-after", "allow"):
        if name in given:
            page.headers[name] = given[name]
    _complete(page.headers, scope, None)
    await page(scope, receive, send)
