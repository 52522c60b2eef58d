"""Who is calling: the dependency that every protected route takes. It asks the table of rights by
the route's operation id.
"""

from collections.abc import Iterable
from copy import copy
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from service.identity import client_queries, page_sessions
from service.identity import session_queries as sessions
from service.identity.grants import posts_ended
from service.identity.rights import (
    PAGES,
    PostHeld,
    Right,
    any_present,
    holds,
    right_to,
    scope,
)
from service.identity.second_factor import is_asked_for
from service.identity.session_queries import Session
from service.identity.tokens import Claims, Tokens
from service.identity.views import (
    WHOLE_GRID,
    PresentViews,
    View,
    is_disguise,
    present_views,
    view_in,
)
from service.kit.conditions import Range, Subtree
from service.kit.database import Connection
from service.kit.errors import (
    DEVICE_NEEDED,
    DEVICE_REVOKED,
    INVALID,
    NOT_ALLOWED,
    OTP_ENROLMENT_NEEDED,
    PASSWORD_CHANGE_NEEDED,
    SESSION_ENDED,
    TOKEN_MISSING,
    Problem,
)
from service.kit.logs import hashed
from service.kit.state import State, state_of
from service.organisation.tree import BY_CODES, Tree
from service.organisation.trees import tree_of
from sync_protocol.periods import local_day
from sync_protocol.texts import Text

scheme = OAuth2PasswordBearer(tokenUrl="/v1/auth/token", auto_error=False)

# The routes that a cadre still may call who has no post at present; who must change the password;
# who must set up a second factor. Pages go by the route whose right they have.
_WITHOUT_POSTS = frozenset({"sign_out", "end_own_sessions", "who_am_i"})
_BEFORE_THE_CHANGE = _WITHOUT_POSTS | {"change_password"}
_BEFORE_ENROLMENT = _BEFORE_THE_CHANGE | {"start_otp", "confirm_otp"}


class Caller:
    """A signed-in cadre with the posts that the cadre has or had, or an app with its unit."""

    def __init__(
        self,
        claims: Claims,
        posts: list[PostHeld],
        now: datetime,
        right: Right,
        has_second_factor: bool = False,
        tree: Tree = BY_CODES,
    ) -> None:
        self.staff_code = claims.staff_code
        self.device = claims.device
        self.session = claims.session
        self.client = claims.client
        self.posts = posts
        self.now = now
        self.right = right
        self.has_second_factor = has_second_factor
        self.tree = tree

    def with_right(self, right: Right) -> "Caller":
        """The same person, for what another right allows."""
        found = copy(self)
        found.right = right
        return found

    @property
    def today(self) -> date:
        """The day of the request in Asia/Shanghai."""
        return local_day(self.now)

    def units(self) -> list[str]:
        """The topmost units for which the caller has the right of this route; raises `Problem` when
        there is none.
        """
        units = self.units_or_none()
        if not units:
            raise Problem(
                NOT_ALLOWED,
                Text("{cadre} has no post at present that allows this.", cadre=self.staff_code),
            )
        return units

    def units_or_none(self) -> list[str]:
        """The same, empty when there is none: for routes that also show what is one's own."""
        return scope(self.posts, self.now, self.right.roles)

    def reaches(self, code: str) -> bool:
        """Whether the right of this route holds for a unit or grid; raises `Problem` when it holds
        nowhere.
        """
        return any(self.covers(top, code) for top in self.units())

    def covers(self, top: str, below: str) -> bool:
        """Whether a unit is `top` or lies under it today."""
        return self.tree.covers(top, below, self.today)

    def subtree(self, code: str) -> Subtree:
        """A unit and all below it today."""
        return self.tree.subtree(code, self.today)

    def ranges(self, units: Iterable[str] | None = None) -> list[Range]:
        """The ranges today of some units and all below them: of those for which the caller has the
        right of this route, if none are named.
        """
        return self.tree.several(self.units_or_none() if units is None else units, self.today)

    @cached_property
    def _present_views(self) -> PresentViews:
        return present_views(self.posts, self.now)

    def view_of(self, grid: str) -> View | None:
        """What the posts at present show of a grid or unit; None if none of them does."""
        return view_in(self._present_views, grid)

    def shown_of(self, grid: str) -> View:
        """How a record of a grid is shown that the caller may read: where no post shows the grid,
        as to those far above it.
        """
        return self.view_of(grid) or View.SUMMARISED

    def refuse_disguise(
        self, kind: str, name: str, value: Any, true: Iterable[Any], grid: str
    ) -> None:
        """Raises `Problem` for a value that is only what the caller was shown of a true one: a
        mask, or a place rounded.
        """
        if is_disguise(kind, name, value, true, self.shown_of(grid)):
            text = Text(
                "{name} is only how the value is shown to you; leave it as it is, or give the"
                " whole value.",
                name=name,
            )
            raise Problem(INVALID, text)

    def whole_units(self) -> list[str]:
        """The units of which the posts at present show every record."""
        return [unit for unit, view in self._present_views if view in WHOLE_GRID]

    def holds(self, roles: frozenset[str], unit: str | None = None) -> bool:
        """Whether the caller has a post with one of these roles at present, for all of `unit` if
        that is given.
        """
        return holds(self.posts, self.now, roles, unit)


async def bearer(request: Request) -> str:
    """The bearer token of a request."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Problem(
            TOKEN_MISSING,
            "Send the access token as ‘Authorization: Bearer …’; get one at /v1/auth/token.",
        )
    return token.strip()


async def account_of(request: Request) -> str | None:
    """The cadre or app whose valid token a request carries, or the cadre whose browser it comes
    from; None when the route will say what is wrong with it.
    """
    state = state_of(request)
    if "authorization" not in request.headers:
        session = await page_sessions.of_request(state, request)
        return session.staff_code if session is not None and session.is_good else None
    try:
        claims = await state.of(Tokens).read(await bearer(request), state.now())
    except Problem:
        return None
    return f"app {claims.client}" if claims.client else claims.staff_code


def right_of(request: Request) -> Right:
    """The right that the table gives the route or page of a request."""
    return right_to(request.scope["route"].operation_id)


async def phone(request: Request, state: State) -> tuple[Claims, str, datetime]:
    """The claims, device and moment of a request by a phone."""
    now = state.now()
    claims = await state.of(Tokens).read(await bearer(request), now)
    # It would take what it gets in place of the values for good.
    state.settings.keyring.refuse_foreign()
    request.scope["staff"] = hashed(claims.staff_code, state.settings.keyring.log_key)
    if claims.device is None:
        raise Problem(DEVICE_NEEDED, "Sign in with a device_id: only a device can sync.")
    if state.of(Tokens).is_due(claims):
        async with state.database.syncing() as connection:
            session = await _session(connection, claims, now)
        # A phone whose cadre has no post any more may hand in what it holds; it is in no scope, so
        # it gets no data.
        _refuse_ended(session, request, state, now)
        state.of(Tokens).looked_at(claims)
    return claims, claims.device, now


async def _session(connection: Connection, claims: Claims, now: datetime) -> Session:
    """What a token is checked against; notes the first use of a token, from which on the refresh
    token before it is no longer good.
    """
    family, generation = claims.session, claims.generation
    session = await sessions.session(
        connection, claims.staff_code, claims.device, family, generation
    )
    if session.is_first_use and family is not None and generation is not None:
        await sessions.note_first_use(connection, family, generation, now)
    return session


async def caller(request: Request, _: Annotated[str | None, Depends(scheme)]) -> Caller:
    """The signed-in cadre or app, who has the right of this route somewhere or is asking for what
    is their own.
    """
    state = state_of(request)
    claims = await state.of(Tokens).read(await bearer(request), state.now())
    right = right_of(request)
    found = await standing(request, state, claims, right)
    if claims.client is None and not right.signed:
        found.units()
    return found


async def standing(request: Request, state: State, claims: Claims, right: Right | None) -> Caller:
    """The caller of a token that is still good; raises `Problem` when the sign-in, the device or
    all posts have ended.

    Leaves what the caller may at present in the request's scope as `rights`: roles or scopes, each
    with its unit.
    """
    now = state.now()
    async with state.database.reading() as connection:
        if claims.client is not None:
            return await _app(request, connection, claims, now, right)
        session = await _session(connection, claims, now)
        tree = await tree_of(connection, session.tree_version)
    request.scope["staff"] = hashed(claims.staff_code, state.settings.keyring.log_key)
    _refuse_ended(session, request, state, now)
    if session.revoked_at is not None:
        raise Problem(
            DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync."
        )
    # What an app may do is given to apps, with a scope; no person has it by a post.
    posts = [post._replace(tree=tree) for post in session.posts if post.role != "app_client"]
    if not any_present(posts, now) and operation_of(request) not in _WITHOUT_POSTS:
        raise posts_ended()
    request.scope["rights"] = sorted(
        {f"{post.role} {post.unit}" for post in posts if post.valid_at(now)}
    )
    return Caller(claims, posts, now, right or Right(), session.has_second_factor, tree)


def operation_of(request: Request) -> str | None:
    """The operation id of a request's route, once it was found; of a page that of the route whose
    right it has.
    """
    operation = getattr(request.scope.get("route"), "operation_id", None)
    return PAGES.get(operation, operation) if operation else None


async def _app(
    request: Request, connection: Connection, claims: Claims, now: datetime, right: Right | None
) -> Caller:
    row = await client_queries.client(connection, str(claims.client))
    if row is None or row["revoked_at"] is not None:
        raise Problem(SESSION_ENDED, "This app's account was ended; ask the administrator.")
    # What an app was once allowed and is no longer, its older tokens do not allow either.
    scopes = set(claims.scopes) & set(row["scopes"])
    request.scope["rights"] = sorted(f"{scope} {row['unit']}" for scope in scopes)
    if right is not None and (right.scope is None or right.scope not in scopes):
        raise Problem(
            NOT_ALLOWED,
            Text(
                "The app's token lacks the scope {scope}; ask for a token with it, if it is"
                " allowed.",
                scope=right.scope or Text("for people"),
            ),
        )
    tree = await tree_of(connection, row["tree_version"])
    return Caller(
        claims,
        [PostHeld("app_client", row["unit"], row["created_at"], None, tree=tree)],
        now,
        right or Right(),
        tree=tree,
    )


def _refuse_ended(session: Session, request: Request, state: State, now: datetime) -> None:
    if session.ended:
        raise Problem(
            SESSION_ENDED,
            "This sign-in was ended: by signing out, by a new password, by an administrator, or"
            " because its refresh token was used twice;"
            " sign in again.",
        )
    operation = operation_of(request)
    if session.must_change and operation not in _BEFORE_THE_CHANGE:
        raise Problem(
            PASSWORD_CHANGE_NEEDED,
            "This is a first password; choose your own at POST /v1/auth/password, then go on.",
        )
    if (
        not session.has_second_factor
        and operation not in _BEFORE_ENROLMENT
        and is_asked_for(state.settings, session.posts, now)
    ):
        raise Problem(
            OTP_ENROLMENT_NEEDED,
            "Your role asks for a second factor; set one up at POST /v1/auth/otp, then go on.",
        )


Signed = Annotated[Caller, Depends(caller)]
