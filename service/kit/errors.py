"""Every error that Gridloop gives, in one catalogue, as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, get_args

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.kit import metrics, outcomes
from service.kit.database_errors import Fault, fault_of, is_of_database
from service.kit.encryption import KeyMissing
from service.kit.localization import FOR_PROGRAMS, asked_for, localized
from service.kit.outcomes import Outcome, RequestKind
from service.kit.validation_errors import fault
from sync_protocol.limits import normalised
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

PREFIX = "/problems/"
MEDIA_TYPE = "application/problem+json"
# How a request is counted whose client left before it was here as a whole; nobody gets that answer.
CLIENT_LEFT = 499
# A refusal may carry a thousand verdicts; what it quotes of a request is no reason to fail at it.
_MAX_BYTES = 4 * 1024 * 1024
# Methods that ask for nothing to be changed.
_SAFE = ("GET", "HEAD", "OPTIONS")


class Type(NamedTuple):
    """A type of problem: the slug at the end of its `type`, its status and its title."""

    slug: str
    status: int
    title: str


NO_HTTP = Type("no-http", 400, "This is no HTTP request")
MALFORMED = Type("malformed", 400, "The body is no JSON")
GRANT_REFUSED = Type("grant-refused", 400, "No token for this request")
PROTOCOL_UNKNOWN = Type("protocol-unknown", 400, "The server does not speak this protocol yet")
TOKEN_MISSING = Type("token-missing", 401, "A bearer token is needed")
TOKEN_INVALID = Type("token-invalid", 401, "The token is not valid here")
TOKEN_EXPIRED = Type("token-expired", 401, "The token has expired")
SIGN_IN_FAILED = Type("sign-in-failed", 401, "Staff code or password is wrong")
OTP_NEEDED = Type("otp-needed", 401, "A code of the second factor is needed")
PASSWORD_EXPIRED = Type("password-expired", 401, "The first password has expired")
SESSION_ENDED = Type("session-ended", 401, "The sign-in was ended")
DEVICE_REVOKED = Type("device-revoked", 401, "The device was revoked")
DEVICE_NEEDED = Type("device-needed", 403, "The token is not bound to a device")
PASSWORD_CHANGE_NEEDED = Type("password-change-needed", 403, "The first password must be changed")
OTP_ENROLMENT_NEEDED = Type("otp-enrolment-needed", 403, "A second factor must be set up first")
POSTS_ENDED = Type("posts-ended", 403, "All posts have ended")
NOT_ALLOWED = Type("not-allowed", 403, "The role does not allow this")
FORM_REFUSED = Type("form-refused", 403, "The form of a page is not from here, or too old")
NOT_FOUND = Type("not-found", 404, "There is no such thing in your scope")
NO_SUCH_PATH = Type("no-such-path", 404, "There is no such path")
METHOD = Type("method-not-allowed", 405, "The path does not take this method")
SEQ_GAP = Type("seq-gap", 409, "Mutations are missing before this one")
DEVICE_FORKED = Type("device-forked", 409, "The device numbered other mutations alike")
HELD = Type("held", 422, "The record cannot be written as it is")
NOT_OVER = Type("not-over", 409, "The period has not ended yet")
NOT_NOW = Type("not-now", 409, "The thing is in a state that does not allow this")
IDEMPOTENCY_OTHER = Type("idempotency-key-reused", 422, "The key belongs to another request")
IDEMPOTENCY_BUSY = Type("request-under-way", 409, "The first request with this key is under way")
ALREADY_DECIDED = Type("already-decided", 409, "Somebody has decided already")
TOO_SLOW = Type("too-slow", 408, "The body did not come in time")
TOO_LARGE = Type("too-large", 413, "The request is over the limit")
UNSUPPORTED = Type("unsupported-encoding", 415, "The body's encoding is not supported")
INVALID = Type("invalid", 422, "The request cannot be used as it is")
HEAD_TOO_LARGE = Type("head-too-large", 431, "The address or the headers are too large")
UPGRADE = Type("upgrade-needed", 426, "The app is too old for this server")
TOO_MANY = Type("too-many-attempts", 429, "Too many attempts")
TOO_MANY_KEYS = Type("too-many-keys", 429, "Too many Idempotency-Keys")
HELD_QUOTA = Type("held-quota", 429, "Too much of this device is held")
TOO_MANY_REQUESTS = Type("too-many-requests", 429, "Too many requests at once")
INTERNAL = Type("internal", 500, "Something went wrong on the server")
UNAVAILABLE = Type("unavailable", 503, "The server cannot answer just now")

# What every route for somebody signed in can end in, and every one that reads.
SIGNED = (
    *(TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, SESSION_ENDED, DEVICE_REVOKED),
    *(PASSWORD_CHANGE_NEEDED, OTP_ENROLMENT_NEEDED, POSTS_ENDED, NOT_ALLOWED, UNAVAILABLE),
)
READING = (*SIGNED, NOT_FOUND, INVALID)

CATALOGUE = tuple(value for value in globals().values() if isinstance(value, Type))


class Problem(Exception):
    """An error on its way to the client. `detail` names the thing, what is wrong and what to do;
    `members` are extra keys.

    A detail with something in it is a `Text`; a plain sentence is looked up in the catalogue as it
    is.
    """

    def __init__(
        self, type: Type, detail: str, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(f"{type.slug}: {detail}")
        self.type = type
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def response(self) -> Response:
        """The problem as an answer."""
        body = {
            "type": PREFIX + self.type.slug,
            "title": localized(self.type.title, FOR_PROGRAMS),
            "status": self.type.status,
            "detail": localized(self.detail, FOR_PROGRAMS),
            **self.members,
        }
        language = {"Content-Language": asked_for.get() or FOR_PROGRAMS, "Vary": "Accept-Language"}
        headers = {**language, **self.headers}
        if self.type.status == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("WWW-Authenticate", "Bearer")
        return Response(
            msgspec.json.encode(normalised(body, _MAX_BYTES)), self.type.status, headers, MEDIA_TYPE
        )


def catalogue() -> str:
    """Every type of problem as a Markdown table, for the docs."""
    rows = [
        f"| `{kind.slug}` | {kind.status} | {kind.title} |"
        for kind in sorted(CATALOGUE, key=lambda kind: (kind.status, kind.slug))
    ]
    return "\n".join(["| type | status | meaning |", "|---|---|---|", *rows])


class ProblemBody(BaseModel):
    """A problem (RFC 9457); `type` ends in a stable slug, and some types carry further members."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    title: str
    status: int
    detail: str


def documented(*types: Type) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can end in these problems."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in types:
        known = answers.get(kind.status)
        text = f"`{kind.slug}`: {kind.title}"
        example = {
            "type": PREFIX + kind.slug,
            "title": kind.title,
            "status": kind.status,
            "detail": kind.title + ".",
        }
        if known:
            known["description"] += "; " + text
            known["content"][MEDIA_TYPE]["examples"][kind.slug] = {"value": example}
        else:
            answers[kind.status] = {
                "description": text,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {kind.slug: {"value": example}},
                    }
                },
            }
    return answers


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"‘{name[:60]}’" for name in names)


def _keys_at(request: Request, place: Sequence[str | int]) -> list[str]:
    """The keys that the request's route takes in its body at a place, as a client writes them."""
    route = request.scope.get("route")
    fields = route.dependant.body_params if isinstance(route, APIRoute) else []
    found = {
        key: None
        for field in fields
        for model in _models_at(field.field_info.annotation, [*place])
        for key in _by_key(model)
    }
    return [*found]


def _by_key(model: type[BaseModel]) -> dict[str, Any]:
    """The annotations of a model's fields by the keys of JSON."""
    return {
        str(field.validation_alias or field.alias or name): field.annotation
        for name, field in model.model_fields.items()
    }


def _models_at(annotation: Any, place: list[str | int]) -> list[type[BaseModel]]:
    """The models that may stand at a place below an annotation: within lists, and in place of
    nothing.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not place:
            return [annotation]
        return _models_at(_by_key(annotation).get(str(place[0])), place[1:])
    inner = place[1:] if place and isinstance(place[0], int) else place
    return [found for part in get_args(annotation) for found in _models_at(part, inner)]


def install(app: FastAPI) -> None:
    """Turns every exception into problem+json, in this one place."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [(".".join(map(str, item["loc"])), fault(item)) for item in error.errors()]
        where, what = found[0]
        wrong = [{"where": where, "what": localized(what, FOR_PROGRAMS)} for where, what in found]
        extra = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
        unknown = [str(place[-1]) for place in extra]
        if unknown:
            known = _keys_at(request, extra[0][1:-1])
            if len(unknown) == 1:
                text = Text(
                    "The body has the unknown key {unknown}; it takes {known}.",
                    unknown=_listed(unknown),
                    known=_listed(known),
                )
            else:
                text = Text(
                    "The body has the unknown keys {unknown}; it takes {known}.",
                    unknown=_listed(unknown),
                    known=_listed(known),
                )
            return Problem(INVALID, text, errors=wrong, unknown=unknown, known=known).response()
        absent = next(
            (item["loc"] for item in error.errors() if item["type"] == "missing"), ("body",)
        )
        if absent[0] == "query":
            text = Text(
                "The query parameter ‘{name}’ is needed and was not given: {description}.",
                name=str(absent[-1]),
                description=_described(request, str(absent[-1])),
            )
            return Problem(INVALID, text, errors=wrong).response()
        if any(item["type"] == "json_invalid" for item in error.errors()):
            return Problem(MALFORMED, Text("The body is no JSON: {why}.", why=what)).response()
        return Problem(
            INVALID, Text("{where}: {what}.", where=where, what=what), errors=wrong
        ).response()

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.NOT_FOUND:
            return Problem(
                NO_SUCH_PATH,
                Text("Nothing answers at {path}; look at the path again.", path=request.url.path),
            ).response()
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            text = Text(
                "{path} does not take {method}.", path=request.url.path, method=request.method
            )
            return Problem(METHOD, text, {"Allow": ", ".join(_methods_of(request))}).response()
        return Problem(
            Type("http", error.status_code, HTTPStatus(error.status_code).phrase), str(error.detail)
        ).response()

    async def on_missing_key(request: Request, error: Exception) -> Response:
        return answer_to(error, request.scope)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(KeyMissing, on_missing_key)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def _described(request: Request, name: str) -> str:
    """What the documentation says of a query parameter: its words, or what it may be."""
    route = request.scope.get("route")
    fields = route.dependant.query_params if isinstance(route, APIRoute) else []
    info = next((field.field_info for field in fields if field.alias == name), None)
    if info is None:
        return name
    if info.description:
        return str(info.description)
    return ", ".join(map(str, info.examples or get_args(info.annotation) or (name,)))


def _methods_of(request: Request) -> list[str]:
    """What the path of a request takes, by all routes that have it."""
    routes = [found.original_route for found in iter_route_contexts(request.app.routes)]
    here = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
    ]
    methods = {method for route in here for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def answer_to(error: Exception, scope: Scope) -> Response:
    """The answer to what a request ended in; what nobody foresaw is logged, and the client gets a
    problem without a stack trace.
    """
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, KeyMissing):
        log.error("%s", error)  # which key, and where it should be, is for who runs the server
        text = Text("The server lacks a key; its log says which. {claim}", claim=outcomes.claim())
        return Problem(UNAVAILABLE, text, {"Retry-After": "60"}).response()
    if isinstance(error, ClientDisconnect):
        log.info("the client left before its request was here as a whole")
        return Response(status_code=CLIENT_LEFT)
    fault = fault_of(error) if is_of_database(error) else None
    if fault is not None:
        return unavailable(fault, error).response()
    log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    return Problem(
        INTERNAL, Text("The server failed at this; it was logged. {claim}", claim=outcomes.claim())
    ).response()


async def answer_after(error: Exception, scope: Scope) -> Response:
    """The same, once it was looked whether tables of a newer release explain what nobody
    foresaw.
    """
    state = scope["app"].state
    return answer_to(await state.tables.judged(error, state.gridloop.database), scope)


def unavailable(fault: Fault, error: BaseException) -> Problem:
    """The answer to an error of the database, which says what is known of the request's writes; it
    is logged and counted.
    """
    log.warning("%s of the database: %r", fault.name, error)
    metrics.database_errors.labels(fault.name).inc()
    text = Text("{trouble} {claim}", trouble=fault.text, claim=outcomes.claim())
    return Problem(UNAVAILABLE, text, {"Retry-After": str(fault.retry_after)})


class CatchAll:
    """The last resort, for whatever nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = outcomes.current.set(
            Outcome(RequestKind.READ if scope["method"] in _SAFE else RequestKind.REST)
        )
        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if started:
                raise
            answer = await answer_after(error, scope)
            await answer(scope, receive, send)
        finally:
            outcomes.current.reset(token)
