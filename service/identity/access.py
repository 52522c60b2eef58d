"""Who is calling: the dependency that every protected route takes."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from service.errors import DEVICE_NEEDED, DEVICE_REVOKED, NOT_ALLOWED, TOKEN_MISSING, Problem
from service.identity.queries import posts_of, read_device
from service.identity.rights import READS, PostHeld, scope
from service.state import State, state_of

scheme = OAuth2PasswordBearer(tokenUrl="/v1/auth/token", auto_error=False)


class Caller:
    """A signed-in cadre with the posts that the cadre has or had."""

    def __init__(self, staff_code: str, device: str | None, posts: list[PostHeld], now: datetime) -> None:
        self.staff_code = staff_code
        self.device = device
        self.posts = posts
        self.now = now

    def units(self) -> list[str]:
        """The topmost units in scope; raises `Problem` when there is none."""
        units = scope(self.posts, self.now, READS)
        if not units:
            raise Problem(NOT_ALLOWED, f"{self.staff_code} has no post at present that may read records.")
        return units


async def bearer(request: Request) -> str:
    """The bearer token of a request."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Problem(TOKEN_MISSING, "Send the access token as ‘Authorization: Bearer …’; get one at /v1/auth/token.")
    return token.strip()


async def phone(request: Request, state: State) -> tuple[str, str, datetime]:
    """The device, staff code and moment of a request by a phone."""
    now = state.now()
    claims = await state.tokens.read(await bearer(request), now)
    if claims.device is None:
        raise Problem(DEVICE_NEEDED, "Sign in with a device_id: only a device can sync.")
    return claims.device, claims.staff_code, now


async def caller(request: Request, _: Annotated[str | None, Depends(scheme)]) -> Caller:
    """The signed-in cadre."""
    state = state_of(request)
    now = state.now()
    claims = await state.tokens.read(await bearer(request), now)
    async with state.database.reading() as connection:
        posts = await posts_of(connection, claims.staff_code)
        device = await read_device(connection, claims.device) if claims.device else None
    if device is not None and device["revoked_at"] is not None:
        raise Problem(DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync.")
    return Caller(claims.staff_code, claims.device, posts, now)


Signed = Annotated[Caller, Depends(caller)]
