"""Signing in and out: the OAuth 2.0 token endpoint, one's own sign-ins, and the public keys."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field

from service.audit.sign_ins import note_act
from service.identity import queries
from service.identity import session_queries as sessions
from service.identity.access import Signed
from service.identity.client_grant import by_client
from service.identity.password_grant import by_password
from service.identity.refresh_grant import by_refresh_token
from service.identity.rights import scope
from service.identity.token_models import Grant, TokenAnswer
from service.identity.tokens import Tokens
from service.kit.errors import (
    GRANT_REFUSED,
    INVALID,
    OTP_NEEDED,
    PASSWORD_EXPIRED,
    POSTS_ENDED,
    SIGN_IN_FAILED,
    SIGNED,
    TOO_MANY,
    UNAVAILABLE,
    Problem,
    documented,
)
from service.kit.state import state_of
from sync_protocol.texts import Text

router = APIRouter(tags=["identity"])


@router.post(
    "/v1/auth/token",
    summary="Sign in, or renew a sign-in",
    operation_id="issue_token",
    response_model=TokenAnswer,
    responses=documented(
        *(
            GRANT_REFUSED,
            SIGN_IN_FAILED,
            OTP_NEEDED,
            PASSWORD_EXPIRED,
            POSTS_ENDED,
            TOO_MANY,
            INVALID,
            UNAVAILABLE,
        )
    ),
)
async def token(request: Request, grant: Annotated[Grant, Form()]) -> TokenAnswer:
    """Gives an access token and a refresh token.

    A refresh token has one successor and may be shown again until that was used; shown after that,
    it ends every sign-in that grew from it.
    """
    state = state_of(request)
    now = state.now()
    await state.of(Tokens).ready()
    typed = (
        grant.username,
        grant.device_name,
        grant.platform,
        grant.app_version,
        grant.client_id,
        grant.otp,
    )
    if any("\0" in (value or "") for value in typed):
        raise Problem(INVALID, "A form field holds the character U+0000; leave it out.")
    match grant.grant_type:
        case "password":
            return await by_password(state, request, grant, now)
        case "client_credentials":
            return await by_client(state, request, grant, now)
        case "refresh_token":
            return await by_refresh_token(state, request, grant, now)
        case _:
            raise Problem(
                GRANT_REFUSED,
                Text(
                    "grant_type ‘{grant}’ is not offered; use password, refresh_token or"
                    " client_credentials.",
                    grant=grant.grant_type[:40],
                ),
                error="unsupported_grant_type",
            )


class Me(BaseModel):
    """Who is signed in, with the posts at present."""

    staff_code: str
    shown_code: str | None = Field(
        description="The code by which the cadre goes today; null for an app"
    )
    name: str | None
    device: str | None
    units: list[str] = Field(description="The topmost units whose records may be read")
    roles: list[str]
    client: str | None = None
    password_change_needed: bool
    has_second_factor: bool


class Ended(BaseModel):
    """How many sign-ins were ended."""

    ended: int


class SignIn(BaseModel):
    """A sign-in of one's own that is under way."""

    id: str
    current: bool = Field(description="Whether this request belongs to it")
    device: str | None
    device_name: str | None
    address: str = Field(description="From where it began")
    began_at: datetime
    last_used_at: datetime = Field(
        description="When a new token of it was first used, to a quarter of an hour"
    )
    expires_at: datetime


class SignIns(BaseModel):
    """One's own sign-ins, the newest first."""

    items: list[SignIn]


@router.get(
    "/v1/auth/me",
    summary="Who is signed in",
    operation_id="who_am_i",
    responses=documented(*SIGNED),
)
async def me(request: Request, caller: Signed) -> Me:
    """The cadre of the token with the units in scope."""
    async with state_of(request).database.reading() as connection:
        cadre = await queries.cadre(connection, caller.staff_code)
    return Me(
        staff_code=caller.staff_code,
        shown_code=cadre["shown_code"] if cadre else None,
        name=cadre["name"] if cadre else None,
        device=caller.device,
        units=scope(caller.posts, caller.now),
        roles=sorted({post.role for post in caller.posts if post.valid_at(caller.now)}),
        client=caller.client,
        password_change_needed=bool(cadre and cadre["must_change"]),
        has_second_factor=caller.has_second_factor,
    )


@router.get(
    "/v1/auth/sessions",
    summary="One's own sign-ins",
    operation_id="list_own_sessions",
    responses=documented(*SIGNED),
)
async def list_own(request: Request, caller: Signed) -> SignIns:
    """Those that are under way; end all at once with DELETE."""
    async with state_of(request).database.reading() as connection:
        rows = await sessions.sessions_of(connection, caller.staff_code, caller.now)
    return SignIns(items=[SignIn(**dict(row), current=row["id"] == caller.session) for row in rows])


@router.delete(
    "/v1/auth/sessions",
    summary="Sign out everywhere",
    operation_id="end_own_sessions",
    responses=documented(*SIGNED),
)
async def end_own(request: Request, caller: Signed) -> Ended:
    """Ends every sign-in of one's own, this one too."""
    async with state_of(request).database.transaction() as connection:
        ended = await sessions.end_sessions(connection, caller.staff_code, caller.now, "sign-out")
        await note_act(
            connection, request, caller.staff_code, "signed-out", "everywhere", caller.now
        )
    return Ended(ended=ended)


@router.post(
    "/v1/auth/sign-out",
    summary="End this sign-in",
    operation_id="sign_out",
    responses=documented(*SIGNED),
)
async def sign_out(request: Request, caller: Signed) -> Ended:
    """Its refresh token and access tokens are no longer good."""
    async with state_of(request).database.transaction() as connection:
        if caller.session is None:
            return Ended(ended=0)
        await sessions.lock_sign_ins(connection, caller.staff_code)
        await sessions.revoke_family(connection, caller.session, caller.now, "sign-out")
        await note_act(
            connection, request, caller.staff_code, "signed-out", caller.device, caller.now
        )
    return Ended(ended=1)


@router.get(
    "/.well-known/jwks.json",
    summary="The public keys of access tokens",
    operation_id="list_keys",
    responses=documented(UNAVAILABLE),
)
async def jwks(request: Request) -> dict[str, Any]:
    """A JWK set (RFC 7517): check an access token against the key whose `kid` its header names."""
    return await state_of(request).of(Tokens).jwks()
