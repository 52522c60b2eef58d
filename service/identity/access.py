"""Who is calling: the dependency that every protected route takes. It asks the table of rights by the route's operation id."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from service.database import Connection
from service.errors import DEVICE_NEEDED, DEVICE_REVOKED, NOT_ALLOWED, PASSWORD_CHANGE_NEEDED, SESSION_ENDED, TOKEN_MISSING, Problem
from service.identity import queries
from service.identity.queries import Session
from service.identity.rights import ROUTES, PostHeld, Right, covers, holds, scope
from service.identity.tokens import Claims
from service.logs import hashed
from service.state import State, state_of
from sync_protocol.texts import Text

scheme = OAuth2PasswordBearer(tokenUrl="/v1/auth/token", auto_error=False)

# The routes that a cadre who must change the password still may call.
_BEFORE_THE_CHANGE = frozenset({"change_password", "sign_out", "who_am_i"})


class Caller:
    """A signed-in cadre with the posts that the cadre has or had, or an app with its unit."""

    def __init__(self, claims: Claims, posts: list[PostHeld], now: datetime, right: Right) -> None:
        self.staff_code = claims.staff_code
        self.device = claims.device
        self.session = claims.session
        self.client = claims.client
        self.posts = posts
        self.now = now
        self.right = right

    def units(self) -> list[str]:
        """The topmost units for which the caller has the right of this route; raises `Problem` when there is none."""
        units = self.units_or_none()
        if not units:
            raise Problem(NOT_ALLOWED, Text("{cadre} has no post at present that allows this.", cadre=self.staff_code))
        return units

    def units_or_none(self) -> list[str]:
        """The same, empty when there is none: for routes that also show what is one's own."""
        return scope(self.posts, self.now, self.right.roles)

    def reaches(self, code: str) -> bool:
        """Whether the right of this route holds for a unit or grid; raises `Problem` when it holds nowhere."""
        return any(covers(top, code) for top in self.units())

    def holds(self, roles: frozenset[str], unit: str | None = None) -> bool:
        """Whether the caller has a post with one of these roles at present, for all of `unit` if that is given."""
        return holds(self.posts, self.now, roles, unit)


async def bearer(request: Request) -> str:
    """The bearer token of a request."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Problem(TOKEN_MISSING, "Send the access token as ‘Authorization: Bearer …’; get one at /v1/auth/token.")
    return token.strip()


def right_of(request: Request) -> Right:
    """The right that the table gives the route of a request."""
    return ROUTES[request.scope["route"].operation_id]


async def phone(request: Request, state: State) -> tuple[str, str, datetime]:
    """The device, staff code and moment of a request by a phone."""
    now = state.now()
    claims = await state.tokens.read(await bearer(request), now)
    request.scope["staff"] = hashed(claims.staff_code, state.settings.vault.log_key)
    if claims.device is None:
        raise Problem(DEVICE_NEEDED, "Sign in with a device_id: only a device can sync.")
    if state.tokens.is_due(claims):
        async with state.database.syncing() as connection:
            session = await queries.session(connection, claims.staff_code, claims.device, claims.session)
        _refuse_ended(session, request)
        state.tokens.looked_at(claims)
    return claims.device, claims.staff_code, now


async def caller(request: Request, _: Annotated[str | None, Depends(scheme)]) -> Caller:
    """The signed-in cadre or app, who has the right of this route somewhere or is asking for what is their own."""
    state = state_of(request)
    now = state.now()
    claims = await state.tokens.read(await bearer(request), now)
    right = right_of(request)
    async with state.database.reading() as connection:
        if claims.client is not None:
            return await _app(connection, claims, now, right)
        session = await queries.session(connection, claims.staff_code, claims.device, claims.session)
    request.scope["staff"] = hashed(claims.staff_code, state.settings.vault.log_key)
    _refuse_ended(session, request)
    if session.revoked_at is not None:
        raise Problem(DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync.")
    # What an app may do is given to apps, with a scope; no person has it by a post.
    found = Caller(claims, [post for post in session.posts if post.role != "app_client"], now, right)
    if not right.signed:
        found.units()
    return found


async def _app(connection: Connection, claims: Claims, now: datetime, right: Right) -> Caller:
    row = await queries.client(connection, str(claims.client))
    if row is None or row["revoked_at"] is not None:
        raise Problem(SESSION_ENDED, "This app's account was ended; ask the administrator.")
    if right.scope is None or right.scope not in claims.scopes:
        raise Problem(
            NOT_ALLOWED,
            Text(
                "The app's token lacks the scope {scope}; ask for a token with it, if it is allowed.",
                scope=right.scope or Text("for people"),
            ),
        )
    return Caller(claims, [PostHeld("app_client", row["unit"], row["created_at"], None)], now, right)


def _refuse_ended(session: Session, request: Request) -> None:
    if session.ended:
        raise Problem(SESSION_ENDED, "This sign-in was ended, by a change of the password or by an administrator; sign in again.")
    if session.must_change and request.scope["route"].operation_id not in _BEFORE_THE_CHANGE:
        raise Problem(PASSWORD_CHANGE_NEEDED, "This is a first password; choose your own at POST /v1/auth/password, then go on.")


Signed = Annotated[Caller, Depends(caller)]
