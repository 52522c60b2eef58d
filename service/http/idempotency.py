"""`Idempotency-Key` on POST: a client whose answer was lost sends again and gets the first answer, and nothing happens twice.

The answer is kept for a day, encrypted. A process that dies between the deed and the answer leaves the key without one; then the request is
done again, and records that it makes get the same id as the first time, so that even then there is one record.

Whoever repeats a request must still be signed in, and hold what posts or scopes they had.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.encrypted_values import answer_place
from service.encryption import FieldCipher, Place, Undecrypted
from service.encryption_queries import cipher_of
from service.errors import IDEMPOTENCY_BUSY, IDEMPOTENCY_OTHER, INVALID, NOT_ALLOWED, TOO_MANY_KEYS, Problem
from service.http import queries
from service.http.body import replayed
from service.identity.access import bearer, standing
from service.identity.tokens import Claims
from service.state import State
from sync_protocol.ids import NAMESPACE
from sync_protocol.texts import Text

NO_KEYS = ("/v1/sync", "/v1/auth")
# As long as a request may be under way; after that its key is free again.
_UNDER_WAY = timedelta(seconds=90)
_QUOTA_OF = timedelta(days=1)
_KEPT_HEADERS = ("content-type", "content-language", "location")


class Idempotency:
    """Keeps the answers of POSTs that carry a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get("idempotency-key") if scope["type"] == "http" else None
        if key is None or scope["method"] != "POST" or scope["path"].startswith(NO_KEYS):
            await self._app(scope, receive, send)
            return
        if not (0 < len(key) <= 255 and key.isprintable()):
            raise Problem(INVALID, "Idempotency-Key must be 1 to 255 printable characters; a UUID does well.")
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
        async with state.database.transaction() as connection:
            cipher = await cipher_of(connection, state.settings)
            digests = _digests(cipher, content)
            known = await queries.begin(connection, caller, key, digests, now, now - _UNDER_WAY)
            used = 0 if known is not None else await queries.count_since(connection, caller, now - _QUOTA_OF)
            if used > state.settings.idempotency_keys:  # nothing is kept of the key
                raise Problem(
                    TOO_MANY_KEYS,
                    Text(
                        "{max} Idempotency-Keys were used within a day, which is the limit; send without a key what may happen twice,"
                        " or go on later.",
                        max=state.settings.idempotency_keys,
                    ),
                    {"Retry-After": "3600"},
                )
        if known is not None:
            await _check_rights(scope, state, claims, known)
            await _repeat(known, digests, cipher, answer_place(caller, key), send)
            return
        scope["idempotent_id"] = str(uuid.uuid5(NAMESPACE, f"idempotency:{caller}:{key}"))
        kept = _Kept(send)
        try:
            await self._app(scope, replayed(message, receive), kept.send)
        finally:
            async with state.database.transaction() as connection:
                if kept.is_final:
                    cipher = await cipher_of(connection, state.settings)
                    text = kept.body.decode("utf-8", "surrogateescape")
                    encrypted = cipher.encrypt(answer_place(caller, key), text)
                    answer = queries.Answer(kept.status, json.dumps(kept.headers), encrypted, scope.get("rights", []))
                    await queries.finish(connection, caller, key, answer)
                else:  # nothing was done that a second try would repeat
                    await queries.forget(connection, caller, key)


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
        """Whether trying again would make no sense: it was done, or it is wrong in itself. What is not there yet may come."""
        return 200 <= self.status < 300 or self.status in (400, 409, 422)


async def _claims(scope: Scope, state: State) -> Claims | None:
    try:
        return await state.tokens.read(await bearer(Request(scope)), state.now())
    except Problem:
        return None


async def _check_rights(scope: Scope, state: State, claims: Claims, known: Any) -> None:
    """Raises `Problem` when the sign-in has ended, or the caller has lost a post or scope on which the kept answer may rest."""
    await standing(Request(scope), state, claims, None)
    if not set(known["rights"] or ()) <= set(scope["rights"]):
        raise Problem(
            NOT_ALLOWED,
            "Your posts have changed since this request was first sent; its answer is not given again. Look for the record itself.",
        )


def _digests(cipher: FieldCipher, content: bytes) -> list[bytes]:
    """What a request may be known by: the digest to keep, and those by older keys or of the previous release."""
    known = [*cipher.keyring.all_digests(content), hashlib.sha256(content).digest()]
    return known[::-1] if cipher.writes_v1 else known


async def _repeat(known: Any, digests: Sequence[bytes], cipher: FieldCipher, place: Place, send: Send) -> None:
    if known["request"] not in digests:
        raise Problem(IDEMPOTENCY_OTHER, "This Idempotency-Key was used for another request; take a new one for a new request.")
    if known["status"] is None:
        raise Problem(IDEMPOTENCY_BUSY, "The first request with this key is still under way; ask again in a moment.", {"Retry-After": "2"})
    text = cipher.decrypt(place, known["body"])
    if isinstance(text, Undecrypted):  # it was done, which the status says; what was answered cannot be told
        text = json.dumps({"undecryptable": True, "detail": str(text)}, ensure_ascii=False)
    body = text.encode("utf-8", "surrogateescape")
    headers = MutableHeaders(json.loads(known["headers"]) | {"content-length": str(len(body)), "idempotency-replayed": "true"})
    await send({"type": "http.response.start", "status": known["status"], "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
