"""Lists and summaries as CSV: `GET /v1/visits.csv`, or `Accept: text/csv`.

A list is asked for page by page, each page a request of its own with its own line in the trail, and
sent as it comes: whole, in constant memory, and no transaction is open longer than a page takes.
The columns are those of the JSON answer, with dots for what lies within; UTF-8 with the mark that
Excel looks for.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl, urlencode

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SUFFIX = ".csv"
MEDIA_TYPE = "text/csv; charset=utf-8"
_MARK = "\ufeff"
Query = list[tuple[str, str]]
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvAnswers:
    """Turns the JSON answers of routes that list something into CSV where that is asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        if not _is_asked_for(scope):
            await self._app(scope, receive, _saying_that_it_varies(scope, send))
            return
        query = _query_of(scope)
        page = await self._page(scope, receive, query)
        table = None if page.status != 200 else Table.of(page.route)
        if table is None:
            if page.status == 200 and scope["path"].endswith(SUFFIX):
                # What lists nothing is not there as CSV.
                await self._app(scope, receive, send)
            else:
                await page.send(send)
            return
        most = None if any(name == "limit" for name, _ in query) else _most_of(page.route)
        if most is not None:
            query.append(("limit", str(most)))
            if not table.has_pages:
                page = await self._page(scope, receive, query)
        await send({"type": "http.response.start", "status": 200, "headers": _headers(page)})
        text = _MARK + table.header()
        while True:
            body = json.loads(page.body)
            text += table.lines(body)
            if body.get("next") is None or most is None:
                break
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            text = ""
            others = [(name, value) for name, value in query if name != "after"]
            page = await self._page(scope, receive, [*others, ("after", body["next"])])
            if page.status != 200:
                # What was sent cannot be taken back: whoever reads it sees that it breaks off.
                raise RuntimeError(f"a page of {scope['path']} was answered {page.status}")
        await send({"type": "http.response.body", "body": text.encode()})

    async def _page(self, scope: Scope, receive: Receive, query: Query) -> "_Page":
        path = scope["path"].removesuffix(SUFFIX)
        inner = {
            **scope,
            "method": "GET",  # a HEAD that runs as one is named so again once it is answered
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
        }
        page = _Page()
        await self._app(inner, receive, page.take)
        page.route = inner.get("route")
        return page


def _saying_that_it_varies(scope: Scope, send: Send) -> Send:
    """Names `Accept` in `Vary` of an answer that is there as CSV, too: else a cache would give the
    JSON to who asks for that.
    """

    async def say(message: Message) -> None:
        if message["type"] == "http.response.start" and Table.is_of(scope.get("route")):
            message["headers"] = [*message.get("headers", ()), (b"vary", b"Accept")]
        await send(message)

    return say


def _query_of(scope: Scope) -> Query:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _most_of(route: APIRoute) -> int | None:
    """The highest `limit` that a route takes; None of one that takes none."""
    for field in route.dependant.query_params:
        if field.alias == "limit":
            bounds = (getattr(bound, "le", None) for bound in field.field_info.metadata)
            return next((int(bound) for bound in bounds if bound is not None), None)
    return None


def _is_asked_for(scope: Scope) -> bool:
    if scope["path"].startswith("/v1/") and scope["path"].endswith(SUFFIX):
        return True
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    wanted = _qualities(accepted.decode("latin-1"))
    csv_quality = wanted.get("text/csv", 0.0)
    return csv_quality > 0 and csv_quality >= wanted.get("application/json", 0.0)


def _qualities(accepted: str) -> dict[str, float]:
    """The media types of an Accept header, in small letters, with their qualities."""
    found = {}
    for part in accepted.split(","):
        name, *parameters = (one.strip().lower() for one in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found[name] = quality
    return found


class _Page:
    """An answer that is held back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.route: Any = None

    async def take(self, message: Message) -> None:
        """Takes in a part of it."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def send(self, send: Send) -> None:
        """Sends it as it is."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def _headers(page: _Page) -> list[tuple[bytes, bytes]]:
    kept = [
        (name, value)
        for name, value in page.headers
        if name.lower() not in (b"content-type", b"content-length")
    ]
    return [*kept, (b"content-type", MEDIA_TYPE.encode()), (b"vary", b"Accept")]


class Table:
    """The columns of a kind of answer. Lines are its `items`; or, where its model says so by
    `csv_model` and `csv_lines`, what that makes of it.
    """

    def __init__(self, line: type[BaseModel], answer: type[BaseModel]) -> None:
        self._columns = list(_columns(line))
        self._answer: Any = answer

    @classmethod
    def of(cls, route: Any) -> "Table | None":
        """The table of a route; None of one that lists nothing."""
        answer, line = _models_of(route)
        return None if answer is None or line is None else cls(line, answer)

    @staticmethod
    def is_of(route: Any) -> bool:
        """Whether a route lists something."""
        return _models_of(route)[1] is not None

    @property
    def has_pages(self) -> bool:
        """Whether an answer may be one page of several."""
        return "next" in self._answer.model_fields

    def header(self) -> str:
        """The first line."""
        return _written([[".".join(path) for path in self._columns]])

    def lines(self, body: dict[str, Any]) -> str:
        """The lines of an answer."""
        make = getattr(self._answer, "csv_lines", None)
        items = body["items"] if make is None else make(body)
        return _written([_cell(_at(item, path)) for path in self._columns] for item in items)


def _models_of(route: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """What a route answers, and of that a line."""
    answer = _model(route.response_model if isinstance(route, APIRoute) else None)
    if answer is None:
        return None, None
    line = getattr(answer, "csv_model", None)
    if line is None and "items" in answer.model_fields:
        line = next(iter(get_args(answer.model_fields["items"].annotation)), None)
    return answer, _model(line)


def _model(given: Any) -> type[BaseModel] | None:
    return given if isinstance(given, type) and issubclass(given, BaseModel) else None


def _columns(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = next((found for kind in kinds if (found := _model(kind)) is not None), None)
        if inner is not None and get_origin(field.annotation) not in (list, dict):
            yield from _columns(inner, (*above, name))
        else:
            yield (*above, name)


def _at(item: Any, path: Sequence[str]) -> Any:
    for name in path:
        if item is None:
            return None
        item = item.get(name)
    return item


def _cell(value: Any) -> Any:
    if isinstance(value, list) and not any(isinstance(one, (dict, list)) for one in value):
        value = " ".join(map(str, value))
    elif isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        value = "'" + value
    return value


def _written(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
