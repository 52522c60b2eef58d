"""Signing in: the OAuth 2.0 token endpoint and the public keys."""

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict, Field

from service.database import Connection
from service.errors import (
    GRANT_REFUSED,
    INVALID,
    SIGN_IN_FAILED,
    UNAVAILABLE,
    Problem,
    documented,
)
from service.identity import queries
from service.identity.tokens import hash_of, new_refresh_token, refused
from service.state import State, state_of
from sync_protocol.ids import is_uuid

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
    refresh_token: str
    staff_code: str


class Grant(BaseModel):
    """What is asked for, as an OAuth 2.0 form."""

    grant_type: str = Field(examples=["password"], description="`password` or `refresh_token`")
    username: str | None = Field(None, max_length=80, examples=["W150221100201001-1"], description="The staff code")
    password: str | None = Field(None, max_length=200, examples=["gridloop-demo"])
    refresh_token: str | None = Field(None, max_length=200)
    device_id: str | None = Field(None, max_length=36, description="A UUID that the phone made for itself; binds the tokens to it")
    device_name: str = Field("", max_length=100)
    platform: str = Field("", max_length=40)
    app_version: str = Field("", max_length=40)


@router.post(
    "/v1/auth/token",
    summary="Sign in, or renew a sign-in",
    response_model=TokenAnswer,
    responses=documented(GRANT_REFUSED, SIGN_IN_FAILED, INVALID, UNAVAILABLE),
)
async def token(request: Request, grant: Annotated[Grant, Form()]) -> TokenAnswer:
    """Gives an access token and a refresh token. A refresh token works once; used again, it ends every sign-in that grew from it."""
    state = state_of(request)
    now = state.now()
    await state.tokens.ready()
    if any("\0" in (value or "") for value in (grant.username, grant.device_name, grant.platform, grant.app_version)):
        raise Problem(INVALID, "A form field holds the character U+0000; leave it out.")
    match grant.grant_type:
        case "password":
            return await _by_password(state, grant, now)
        case "refresh_token":
            return await _by_refresh_token(state, grant.refresh_token or "", now)
        case _:
            raise Problem(
                GRANT_REFUSED,
                f"grant_type ‘{grant.grant_type[:40]}’ is not offered; use password or refresh_token.",
                error="unsupported_grant_type",
            )


async def _by_password(state: State, grant: Grant, now: datetime) -> TokenAnswer:
    if grant.device_id is not None and not is_uuid(grant.device_id):
        raise Problem(INVALID, "device_id is no UUID in lower case; let the phone make one and keep it.")
    async with state.database.reading() as connection:
        cadre = await queries.cadre(connection, grant.username or "")
    hashed = cadre["password"] if cadre and (state.settings.demo or not cadre["demo"]) else None
    right = await run_in_threadpool(passwords.verify, grant.password or "", hashed or _NOBODY)
    if cadre is None or hashed is None or not right:
        raise Problem(SIGN_IN_FAILED, "No account has this staff code and password; check both.")
    async with state.database.transaction() as connection:
        if grant.device_id is not None:
            await _bind(connection, grant, cadre["staff_code"], now)
        return await _issue(state, connection, cadre["staff_code"], grant.device_id, str(uuid.uuid4()), now)


async def _bind(connection: Connection, grant: Grant, staff_code: str, now: datetime) -> None:
    owner = await queries.bind_device(
        connection, str(grant.device_id), staff_code, grant.device_name, grant.platform, grant.app_version, now
    )
    if owner != staff_code:
        raise refused("This device_id is another cadre's; the phone must make a new one.")


async def _by_refresh_token(state: State, refresh_token: str, now: datetime) -> TokenAnswer:
    reused = None
    async with state.database.transaction() as connection:
        row = await queries.lock_refresh_token(connection, hash_of(refresh_token))
        if row is None or row["revoked_at"] is not None or row["expires_at"] <= now:
            raise refused("The refresh token is unknown, expired or revoked; sign in again.")
        if row["used_at"] is None:
            await queries.use_refresh_token(connection, row["hash"], now)
            return await _issue(state, connection, row["staff_code"], row["device"], row["family"], now)
        # Somebody else may hold a copy: nobody keeps this sign-in.
        await queries.revoke_family(connection, row["family"], now)
        reused = row
    assert reused is not None
    raise refused("The refresh token was used before, so its whole sign-in has been ended; sign in again.")


async def _issue(state: State, connection: Connection, staff_code: str, device: str | None, family: str, now: datetime) -> TokenAnswer:
    refresh_token = new_refresh_token()
    expires_at = now + timedelta(days=state.settings.refresh_days)
    await queries.add_refresh_token(connection, hash_of(refresh_token), family, staff_code, device, expires_at)
    return TokenAnswer(
        access_token=state.tokens.access_token(staff_code, device, now),
        expires_in=state.settings.access_minutes * 60,
        refresh_token=refresh_token,
        staff_code=staff_code,
    )


@router.get("/.well-known/jwks.json", summary="The public keys of access tokens", responses=documented(UNAVAILABLE))
async def jwks(request: Request) -> dict[str, Any]:
    """A JWK set (RFC 7517): check an access token against the key whose `kid` its header names."""
    return await state_of(request).tokens.jwks()
