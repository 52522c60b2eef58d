"""`Idempotency-Key` on POST: a client whose answer was lost sends again and gets the first answer,
and nothing happens twice.

The answer is kept for a day, encrypted. A process that dies between the deed and the answer leaves
the key without one; then the request is done again, and records that it makes get the same id as
the first time, so that even then there is one record.

Whoever repeats a request must still be signed in, and hold what posts or scopes they had.
"""

import asyncio
import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http import queries
from service.http.body import replayed
from service.identity.access import bearer, standing
from service.identity.tokens import Claims, Tokens
from service.kit.encrypted_values import answer_place
from service.kit.encryption import Place, Undecrypted
from service.kit.encryption_queries import cipher_of
from service.kit.errors import (
    IDEMPOTENCY_BUSY,
    IDEMPOTENCY_OTHER,
    INVALID,
    NOT_ALLOWED,
    NOT_NOW,
    TOO_MANY_KEYS,
    UNAVAILABLE,
    Problem,
)
from service.kit.field_cipher import FieldCipher
from service.kit.state import State
from service.writes import erased
from sync_protocol.ids import NAMESPACE
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

NO_KEYS = ("/v1/sync", "/v1/auth")
# As long as a request may be under way; after that its key is free again.
_UNDER_WAY = timedelta(seconds=90)
_AGAIN_S = 1.0
_QUOTA_OF = timedelta(days=1)
_KEPT_HEADERS = ("content-type", "content-language", "location")


class Idempotency:
    """Keeps the answers of POSTs that carry a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._trying: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get("idempotency-key") if scope["type"] == "http" else None
        if key is None or scope["method"] != "POST" or scope["path"].startswith(NO_KEYS):
            await self._app(scope, receive, send)
            return
        if not (0 < len(key) <= 255 and key.isprintable()):
            raise Problem(
                INVALID, "Idempotency-Key must be 1 to 255 printable characters; a UUID does well."
            )
        state: State = scope["app"].state.gridloop
        claims = await _claims(scope, state)
        if claims is None:  # the route says what is wrong with the token
            await self._app(scope, receive, send)
            return
        caller = f"app {claims.client}" if claims.client else claims.staff_code
        message = await receive()
        body: bytes = message.get("body", b"")
        content = f"{scope['path']}?{scope['query_string'].decode('latin-1')}\0".encode() + body
        now = state.now()
        taken = _Taken(state, caller, key, now)
        try:
            # Whatever becomes of it, of what was asked for nothing is done yet.
            async with state.database.transaction(bookkeeping=True) as connection:
                cipher = await cipher_of(connection, state.settings)
                digests = _digests(cipher, content)
                known = await queries.begin(connection, caller, key, digests, now, now - _UNDER_WAY)
                used = (
                    0
                    if known is not None
                    else await queries.count_since(connection, caller, now - _QUOTA_OF)
                )
                if used > state.settings.idempotency_keys:  # nothing is kept of the key
                    raise Problem(
                        TOO_MANY_KEYS,
                        Text(
                            "{max} Idempotency-Keys were used within a day, which is the limit;"
                            " send without a key what may happen twice,"
                            " or go on later.",
                            max=state.settings.idempotency_keys,
                        ),
                        {"Retry-After": "3600"},
                    )
        except Problem as problem:
            if (
                problem.type is UNAVAILABLE
            ):  # the key may have been taken all the same, and its sender will come again
                self._keep_trying(taken, None)
            raise
        if known is not None:
            await _check_rights(scope, state, claims, known)
            await _repeat(known, digests, cipher, answer_place(caller, key), send)
            return
        scope["idempotent_id"] = str(uuid.uuid5(NAMESPACE, f"idempotency:{caller}:{key}"))
        kept = _Kept(send)
        try:
            await self._app(scope, replayed(message, receive), kept.send)
        finally:
            answer = _Answered(kept, scope.get("rights", [])) if kept.is_final else None
            try:
                await taken.settle(answer)
            except (Problem, asyncpg.PostgresError):
                # Its answer is on its way already. Until the key is settled, who sends the same
                # again is told that it is under way.
                self._keep_trying(taken, answer)

    def _keep_trying(self, taken: "_Taken", answer: "_Answered | None") -> None:
        trying = asyncio.create_task(_settle_later(taken, answer))
        self._trying.add(trying)
        trying.add_done_callback(self._trying.discard)


class _Answered(NamedTuple):
    """An answer that is to be kept, and the rights on which it rests."""

    kept: "_Kept"
    rights: Sequence[str]


class _Taken(NamedTuple):
    """A key that a request has taken at a moment."""

    state: State
    caller: str
    key: str
    at: datetime

    async def settle(self, answer: _Answered | None) -> None:
        """Keeps the answer with the key, or frees the key: then nothing was done that a second try
        would repeat.
        """
        async with self.state.database.transaction(bookkeeping=True) as connection:
            if answer is None:
                await queries.forget(connection, self.caller, self.key, self.at)
                return
            cipher = await cipher_of(connection, self.state.settings)
            kept = answer.kept
            text = kept.body.decode("utf-8", "surrogateescape")
            encrypted = cipher.encrypt(answer_place(self.caller, self.key), text)
            line = queries.Answer(kept.status, json.dumps(kept.headers), encrypted, answer.rights)
            await queries.finish(connection, self.caller, self.key, self.at, line)


async def _settle_later(taken: _Taken, answer: _Answered | None) -> None:
    """Settles a key as soon as the database can; once it counts as free anyway there is no more
    need.
    """
    for _ in range(int(_UNDER_WAY.total_seconds() / _AGAIN_S)):
        try:
            await taken.settle(answer)
            return
        except (Problem, asyncpg.PostgresError):
            await asyncio.sleep(_AGAIN_S)
        except Exception:
            log.exception("an Idempotency-Key could not be settled")
            return


class _Kept:
    """Passes an answer on and remembers it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = Headers(raw=message["headers"])
            self.headers = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
        await self._send(message)

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    @property
    def is_final(self) -> bool:
        """Whether trying again would make no sense: it was done, or it is wrong in itself. What is
        not there yet may come.
        """
        return 200 <= self.status < 300 or self.status in (400, 409, 422)


async def _claims(scope: Scope, state: State) -> Claims | None:
    try:
        return await state.of(Tokens).read(await bearer(Request(scope)), state.now())
    except Problem as problem:
        if problem.type is UNAVAILABLE:  # without the key it could happen twice
            raise
        return None


async def _check_rights(scope: Scope, state: State, claims: Claims, known: Any) -> None:
    """Raises `Problem` when the sign-in has ended, or the caller has lost a post or scope on which
    the kept answer may rest.
    """
    await standing(Request(scope), state, claims, None)
    if not set(known["rights"] or ()) <= set(scope["rights"]):
        raise Problem(
            NOT_ALLOWED,
            "Your posts have changed since this request was first sent; its answer is not given"
            " again. Look for the record itself.",
        )


def _digests(cipher: FieldCipher, content: bytes) -> list[bytes]:
    """What a request may be known by: the digest to keep, and those by older keys or of the
    previous release.
    """
    known = [*cipher.keyring.all_digests(content), hashlib.sha256(content).digest()]
    return known[::-1] if cipher.writes_v1 else known


async def _repeat(
    known: Any, digests: Sequence[bytes], cipher: FieldCipher, place: Place, send: Send
) -> None:
    if known["request"] not in digests:
        raise Problem(
            IDEMPOTENCY_OTHER,
            "This Idempotency-Key was used for another request; take a new one for a new request.",
        )
    if known["status"] is None:
        raise Problem(
            IDEMPOTENCY_BUSY,
            "The first request with this key is still under way; ask again in a moment.",
            {"Retry-After": "2"},
        )
    text = cipher.decrypt(place, known["body"])
    if isinstance(text, Undecrypted) or text == erased.ANSWER:
        raise Problem(
            NOT_NOW,
            "This was done when it was first sent with this key, and nothing was done now. What"
            " was answered then can no longer be shown:"
            " personal data in it was erased, or the server lacks the key to it. Look for the"
            " record itself.",
            {"Idempotency-Replayed": "true"},
            first_status=known["status"],
        )
    body = text.encode("utf-8", "surrogateescape")
    headers = MutableHeaders(
        json.loads(known["headers"])
        | {"content-length": str(len(body)), "idempotency-replayed": "true"}
    )
    await send({"type": "http.response.start", "status": known["status"], "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
