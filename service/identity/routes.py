"""Signing in: the OAuth 2.0 token endpoint and the public keys."""

import base64
import binascii
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict, Field

from service import metrics
from service.database import Connection
from service.errors import (
    GRANT_REFUSED,
    INVALID,
    SIGN_IN_FAILED,
    SIGNED,
    TOO_MANY,
    UNAVAILABLE,
    Problem,
    documented,
)
from service.identity import queries
from service.identity.access import Signed
from service.identity.rights import scope
from service.identity.tokens import hash_of, new_refresh_token, refused
from service.state import State, state_of
from sync_protocol.ids import is_uuid
from sync_protocol.texts import Text

router = APIRouter(tags=["identity"])
passwords = PasswordHash.recommended()
# Checked for an unknown staff code, so that its answer takes as long as that for a wrong password.
_NOBODY = passwords.hash("nobody")


class TokenAnswer(BaseModel):
    """Tokens as OAuth 2.0 gives them; `expires_in` in seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJFUzI1NiIs…",
                    "token_type": "bearer",
                    "expires_in": 900,
                    "refresh_token": "q5Zl…",
                    "staff_code": "W150221100201001-1",
                }
            ]
        }
    )

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    refresh_token: str | None = None
    staff_code: str | None = None
    scope: str | None = Field(None, description="What an app's token allows")
    password_change_needed: bool = Field(False, description="A first password: choose your own at /v1/auth/password before anything else")


class Grant(BaseModel):
    """What is asked for, as an OAuth 2.0 form."""

    grant_type: str = Field(examples=["password"], description="`password`, `refresh_token` or `client_credentials`")
    username: str | None = Field(None, max_length=80, examples=["W150221100201001-1"], description="The staff code")
    password: str | None = Field(None, max_length=200, examples=["gridloop-demo"])
    refresh_token: str | None = Field(None, max_length=200)
    client_id: str | None = Field(None, max_length=80, description="Of an app")
    client_secret: str | None = Field(None, max_length=200)
    scope: str | None = Field(None, max_length=400, description="Of an app: what the token shall allow; left out: all that it may")
    device_id: str | None = Field(None, max_length=36, description="A UUID that the phone made for itself; binds the tokens to it")
    device_name: str = Field("", max_length=100)
    platform: str = Field("", max_length=40)
    app_version: str = Field("", max_length=40)


@router.post(
    "/v1/auth/token",
    summary="Sign in, or renew a sign-in",
    operation_id="issue_token",
    response_model=TokenAnswer,
    responses=documented(GRANT_REFUSED, SIGN_IN_FAILED, TOO_MANY, INVALID, UNAVAILABLE),
)
async def token(request: Request, grant: Annotated[Grant, Form()]) -> TokenAnswer:
    """Gives an access token and a refresh token. A refresh token works once; used again, it ends every sign-in that grew from it."""
    state = state_of(request)
    now = state.now()
    await state.tokens.ready()
    typed = (grant.username, grant.device_name, grant.platform, grant.app_version, grant.client_id)
    if any("\0" in (value or "") for value in typed):
        raise Problem(INVALID, "A form field holds the character U+0000; leave it out.")
    address = request.client.host if request.client else ""
    match grant.grant_type:
        case "password":
            return await _by_password(state, grant, address, now)
        case "client_credentials":
            return await _by_client(state, request, grant, address, now)
        case "refresh_token":
            return await _by_refresh_token(state, grant.refresh_token or "", now)
        case _:
            raise Problem(
                GRANT_REFUSED,
                Text(
                    "grant_type ‘{grant}’ is not offered; use password, refresh_token or client_credentials.", grant=grant.grant_type[:40]
                ),
                error="unsupported_grant_type",
            )


async def _by_password(state: State, grant: Grant, address: str, now: datetime) -> TokenAnswer:
    if grant.device_id is not None and not is_uuid(grant.device_id):
        raise Problem(INVALID, "device_id is no UUID in lower case; let the phone make one and keep it.")
    account = (grant.username or "").casefold()
    await state.attempts.check(account, address)
    async with state.database.reading() as connection:
        cadre = await queries.cadre(connection, grant.username or "")
    hashed = cadre["password"] if cadre and (state.settings.demo or not cadre["demo"]) else None
    right = await run_in_threadpool(passwords.verify, grant.password or "", hashed or _NOBODY)
    if cadre is None or hashed is None or not right:
        metrics.sign_in_failures.inc()
        await state.attempts.failed(account, address)
        raise Problem(SIGN_IN_FAILED, "No account has this staff code and password; check both.")
    async with state.database.transaction() as connection:
        if grant.device_id is not None:
            await _bind(connection, grant, cadre["staff_code"], now)
        answer = await _issue(state, connection, cadre["staff_code"], grant.device_id, str(uuid.uuid4()), now)
    await state.attempts.succeeded(account, address)
    answer.password_change_needed = cadre["must_change"]
    return answer


async def _by_client(state: State, request: Request, grant: Grant, address: str, now: datetime) -> TokenAnswer:
    """An app's token (RFC 6749, section 4.4); its id and secret come as a form or by HTTP Basic."""
    id, secret = _basic(request) or (grant.client_id or "", grant.client_secret or "")
    await state.attempts.check("app " + id, address)
    async with state.database.reading() as connection:
        row = await queries.client(connection, id)
    right = await run_in_threadpool(passwords.verify, secret, row["secret"] if row else _NOBODY)
    if row is None or not right or row["revoked_at"] is not None:
        await state.attempts.failed("app " + id, address)
        raise Problem(SIGN_IN_FAILED, "No app has this client_id and secret; check both.", error="invalid_client")
    wanted = grant.scope.split() if grant.scope else row["scopes"]
    beyond = sorted(set(wanted) - set(row["scopes"]))
    if beyond:
        raise Problem(GRANT_REFUSED, Text("The app may not have the scope {scope}.", scope=" ".join(beyond)[:100]), error="invalid_scope")
    return TokenAnswer(
        access_token=state.tokens.access_token(id, None, now, client=id, scopes=wanted),
        expires_in=state.settings.access_minutes * 60,
        scope=" ".join(wanted),
    )


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Problem(SIGN_IN_FAILED, "The Authorization header is no HTTP Basic.", error="invalid_client") from None
    if "\0" in id:
        raise Problem(SIGN_IN_FAILED, "The client_id holds the character U+0000.", error="invalid_client")
    return id, secret


async def _bind(connection: Connection, grant: Grant, staff_code: str, now: datetime) -> None:
    owner = await queries.bind_device(
        connection, str(grant.device_id), staff_code, grant.device_name, grant.platform, grant.app_version, now
    )
    if owner != staff_code:
        raise refused(Text("This device_id is another cadre's; the phone must make a new one."))


async def _by_refresh_token(state: State, refresh_token: str, now: datetime) -> TokenAnswer:
    reused = None
    async with state.database.transaction() as connection:
        row = await queries.lock_refresh_token(connection, hash_of(refresh_token))
        if row is None or row["revoked_at"] is not None or row["expires_at"] <= now:
            raise refused(Text("The refresh token is unknown, expired or revoked; sign in again."))
        if row["used_at"] is None:
            await queries.use_refresh_token(connection, row["hash"], now)
            return await _issue(state, connection, row["staff_code"], row["device"], row["family"], now)
        # Somebody else may hold a copy: nobody keeps this sign-in.
        await queries.revoke_family(connection, row["family"], now)
        reused = row
    assert reused is not None
    raise refused(Text("The refresh token was used before, so its whole sign-in has been ended; sign in again."))


async def _issue(state: State, connection: Connection, staff_code: str, device: str | None, family: str, now: datetime) -> TokenAnswer:
    refresh_token = new_refresh_token()
    expires_at = now + timedelta(days=state.settings.refresh_days)
    await queries.add_refresh_token(connection, hash_of(refresh_token), family, staff_code, device, expires_at)
    return TokenAnswer(
        access_token=state.tokens.access_token(staff_code, device, now, family),
        expires_in=state.settings.access_minutes * 60,
        refresh_token=refresh_token,
        staff_code=staff_code,
    )


class Me(BaseModel):
    """Who is signed in, with the posts at present."""

    staff_code: str
    name: str | None
    device: str | None
    units: list[str] = Field(description="The topmost units whose records may be read")
    roles: list[str]
    client: str | None = None
    password_change_needed: bool


class PasswordChange(BaseModel):
    """The password so far, and the new one."""

    password: str = Field(max_length=200)
    new_password: str = Field(min_length=8, max_length=200)


class Ended(BaseModel):
    """How many sign-ins were ended."""

    ended: int


@router.get("/v1/auth/me", summary="Who is signed in", operation_id="who_am_i", responses=documented(*SIGNED))
async def me(request: Request, caller: Signed) -> Me:
    """The cadre of the token with the units in scope."""
    async with state_of(request).database.reading() as connection:
        cadre = await queries.cadre(connection, caller.staff_code)
    return Me(
        staff_code=caller.staff_code,
        name=cadre["name"] if cadre else None,
        device=caller.device,
        units=scope(caller.posts, caller.now),
        roles=sorted({post.role for post in caller.posts if post.valid_at(caller.now)}),
        client=caller.client,
        password_change_needed=bool(cadre and cadre["must_change"]),
    )


@router.post(
    "/v1/auth/password",
    summary="Choose another password",
    operation_id="change_password",
    responses=documented(*SIGNED, SIGN_IN_FAILED, TOO_MANY, INVALID),
)
async def change_password(request: Request, caller: Signed, body: PasswordChange) -> Ended:
    """Ends every other sign-in of the cadre; this one goes on."""
    state = state_of(request)
    account, address = caller.staff_code.casefold(), request.client.host if request.client else ""
    await state.attempts.check(account, address)
    async with state.database.reading() as connection:
        cadre = await queries.cadre(connection, caller.staff_code)
    hashed = cadre["password"] if cadre else None
    if not await run_in_threadpool(passwords.verify, body.password, hashed or _NOBODY) or hashed is None:
        await state.attempts.failed(account, address)
        raise Problem(SIGN_IN_FAILED, "The password so far is not right; the new one was not taken.")
    refuse_weak(body.new_password, caller.staff_code)
    if body.new_password == body.password:
        raise Problem(INVALID, "The new password is the old one; choose another.")
    new = await run_in_threadpool(passwords.hash, body.new_password)
    async with state.database.transaction() as connection:
        await queries.set_password(connection, caller.staff_code, new, must_change=False)
        return Ended(ended=await queries.end_sessions(connection, caller.staff_code, caller.now, but=caller.session))


@router.post("/v1/auth/sign-out", summary="End this sign-in", operation_id="sign_out", responses=documented(*SIGNED))
async def sign_out(request: Request, caller: Signed) -> Ended:
    """Its refresh token and access tokens are no longer good."""
    async with state_of(request).database.transaction() as connection:
        if caller.session is None:
            return Ended(ended=0)
        await queries.revoke_family(connection, caller.session, caller.now)
    return Ended(ended=1)


def refuse_weak(password: str, staff_code: str) -> None:
    """Raises `Problem` for a password that anybody would try first."""
    plain = password.casefold()
    if len(password) < 8 or len(set(plain)) < 4 or staff_code.casefold() in plain or plain in _COMMON:
        raise Problem(INVALID, "The password is too easy to guess; take at least 8 characters, not the staff code and no common word.")


_COMMON = frozenset({"password", "passw0rd", "12345678", "123456789", "1234567890", "qwertyui", "qwerty123", "11111111", "88888888",
                     "abcd1234", "a1234567", "iloveyou", "woaini1314", "gridloop"})  # fmt: skip


@router.get(
    "/.well-known/jwks.json", summary="The public keys of access tokens", operation_id="list_keys", responses=documented(UNAVAILABLE)
)
async def jwks(request: Request) -> dict[str, Any]:
    """A JWK set (RFC 7517): check an access token against the key whose `kid` its header names."""
    return await state_of(request).tokens.jwks()
