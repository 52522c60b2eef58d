"""The grant for apps: by client id and secret."""

import base64
import binascii
from datetime import datetime

from fastapi import Request

from service.audit.audit_log import address_of
from service.audit.sign_ins import failures_noted, note_act
from service.identity import client_queries
from service.identity.attempts import Attempts
from service.identity.passwords import Passwords
from service.identity.token_models import Grant, TokenAnswer
from service.identity.tokens import Issued, Tokens
from service.kit.database import Row
from service.kit.errors import GRANT_REFUSED, SIGN_IN_FAILED, Problem
from service.kit.state import State
from sync_protocol.texts import Text


async def by_client(state: State, request: Request, grant: Grant, now: datetime) -> TokenAnswer:
    """An app's token (RFC 6749, section 4.4); its id and secret come as a form or by HTTP Basic."""
    id, secret = _basic(request) or (grant.client_id or "", grant.client_secret or "")
    windows = state.of(Attempts).of_app(id, address_of(request))
    async with (
        failures_noted(state, request, None, "sign-in-failed", now),
        state.of(Attempts).counted(windows, now),
    ):
        row = await _app(state, id, secret)
    wanted = grant.scope.split() if grant.scope else row["scopes"]
    beyond = sorted(set(wanted) - set(row["scopes"]))
    if beyond:
        raise Problem(
            GRANT_REFUSED,
            Text("The app may not have the scope {scope}.", scope=" ".join(beyond)[:100]),
            error="invalid_scope",
        )
    async with state.database.transaction() as connection:
        await note_act(connection, request, id, "signed-in", None, now, "client-secret")
    return TokenAnswer(
        access_token=state.of(Tokens).access_token(id, now, Issued(client=id, scopes=wanted)),
        expires_in=state.settings.access_minutes * 60,
        scope=" ".join(wanted),
    )


async def _app(state: State, id: str, secret: str) -> Row:
    async with state.database.reading() as connection:
        row = await client_queries.client(connection, id)
    right, newer = await state.of(Passwords).verify(secret, row["secret"] if row else None)
    if row is None or not right or row["revoked_at"] is not None:
        raise Problem(
            SIGN_IN_FAILED,
            "No app has this client_id and secret; check both.",
            error="invalid_client",
        )
    if newer is not None:
        async with state.database.reading() as connection:
            await client_queries.set_client_hash(connection, id, row["secret"], newer)
    return row


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Problem(
            SIGN_IN_FAILED, "The Authorization header is no HTTP Basic.", error="invalid_client"
        ) from None
    if "\0" in id or len(id) > 80:
        raise Problem(
            SIGN_IN_FAILED, "The client_id is none of this server.", error="invalid_client"
        )
    return id, secret
