"""Browsers that are signed in to the pages: a random cookie, whose hash the database keeps.

A session belongs to a sign-in like any other, with a refresh token that nobody was given. So it
ends with that: by signing out everywhere, another password, an administrator, or the end of all
posts. Pages never see a token.
"""

import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from fastapi import Request
from starlette.responses import Response

from service.identity import page_session_queries as queries
from service.identity import session_queries as sessions
from service.identity.tokens import Claims, derived_key, hash_of
from service.kit.database import Connection
from service.kit.state import State

# A browser takes a cookie of this name over TLS alone, for this host alone.
COOKIE = "__Host-gridloop"
# What it is called on this machine, where there is no TLS.
LOCAL_COOKIE = "gridloop"
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SEEN_EVERY = timedelta(minutes=1)
_NONCE_BYTES = 8
_PORT = re.compile(r":\d+$")
# What was opened so long ago has to be opened again.
_FORMS_LAST = timedelta(days=7)
_KEPT_AS = "page session"


class PageSession(NamedTuple):
    """A browser's session. `is_good`: it has not come to its end; whether its sign-in still stands
    is another question.
    """

    hash: str
    staff_code: str
    name: str | None
    family: str
    ends_at: datetime
    is_good: bool

    @property
    def claims(self) -> Claims:
        """The same claims as those of an access token of the sign-in."""
        return Claims(
            self.staff_code, None, self.ends_at.timestamp(), session=self.family, generation=0
        )


def is_local(request: Request) -> bool:
    """Whether a browser talks to its own machine without TLS."""
    return request.url.scheme == "http" and request.url.hostname in _LOCAL_HOSTS


def cookie_name(request: Request) -> str:
    """What the cookie is called."""
    return LOCAL_COOKIE if is_local(request) else COOKIE


async def of_request(state: State, request: Request) -> PageSession | None:
    """The session whose cookie a request carries, also one that is over; None of any other. It is
    looked up once a request.
    """
    if _KEPT_AS not in request.scope:
        cookie = request.cookies.get(cookie_name(request))
        request.scope[_KEPT_AS] = None if cookie is None else await _found(state, cookie)
    found: PageSession | None = request.scope[_KEPT_AS]
    return found


def kept_of(request: Request) -> PageSession | None:
    """The good session of a request that was looked up before."""
    found: PageSession | None = request.scope.get(_KEPT_AS)
    return found if found is not None and found.is_good else None


async def _found(state: State, cookie: str) -> PageSession | None:
    now = state.now()
    async with state.database.reading() as connection:
        row = await queries.session(connection, hash_of(cookie))
        if row is None:
            return None
        idle_ends = row["last_seen_at"] + timedelta(minutes=state.settings.page_idle_minutes)
        is_good = now < min(idle_ends, row["ends_at"])
        if is_good and now - row["last_seen_at"] >= _SEEN_EVERY:
            await queries.note_seen(connection, row["hash"], now)
    who = (row["staff_code"], row["name"], row["family"])
    return PageSession(row["hash"], *who, row["ends_at"], is_good)


async def begin(state: State, request: Request, family: str, staff_code: str) -> str:
    """Begins a session of a sign-in, in place of the one that the browser had; returns its
    cookie.
    """
    now = state.now()
    cookie = secrets.token_urlsafe(32)
    before = await of_request(state, request)
    async with state.database.transaction() as connection:
        if before is not None:
            await _end(connection, before, now)
        span = (now, end_of_new(state, now))
        await queries.add(connection, hash_of(cookie), family, staff_code, span)
    return cookie


def end_of_new(state: State, now: datetime) -> datetime:
    """When a session ends that begins now."""
    return now + timedelta(hours=state.settings.page_session_hours)


async def end(state: State, session: PageSession) -> None:
    """Ends a session and its sign-in."""
    async with state.database.transaction() as connection:
        await _end(connection, session, state.now())


async def _end(connection: Connection, session: PageSession, now: datetime) -> None:
    await sessions.lock_sign_ins(connection, session.staff_code)
    await sessions.revoke_family(connection, session.family, now, "sign-out")
    await queries.remove(connection, session.hash)


def set_cookie(request: Request, response: Response, cookie: str) -> None:
    """Gives the browser its cookie, which goes when it is closed."""
    response.set_cookie(
        cookie_name(request),
        cookie,
        path="/",
        secure=not is_local(request),
        httponly=True,
        samesite="lax",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Takes the cookie away."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=not is_local(request), httponly=True, samesite="lax"
    )


def form_token(state: State, staff_code: str) -> str:
    """A token for the forms of a cadre (CSRF). It is another one each time, so that nobody guesses
    it from how well a page is compressed; a form that was opened before signing in again still has
    a good one.
    """
    made = f"{int(state.now().timestamp()):x}.{secrets.token_hex(_NONCE_BYTES)}"
    return f"{made}.{_digest(state, staff_code, made)}"


def is_form_token(state: State, staff_code: str, token: str) -> bool:
    """Whether a token was made for this cadre, not too long ago."""
    made, _, digest = token.rpartition(".")
    if not hmac.compare_digest(digest.encode(), _digest(state, staff_code, made).encode()):
        return False
    age = state.now().timestamp() - int(made.partition(".")[0], 16)
    return age <= _FORMS_LAST.total_seconds()


def _digest(state: State, staff_code: str, made: str) -> str:
    key = derived_key(state.settings, b"page forms")
    return hmac.digest(key, f"{staff_code} {made}".encode(), "sha256").hex()


def is_from_elsewhere(request: Request) -> bool:
    """Whether a form comes from a page of another origin, by what the browser says."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("origin")
    if origin is None:
        return False
    scheme, _, theirs = origin.partition("://")
    # Behind a proxy that nobody named this service sees http where the browser sees https, and some
    # leave the port out.
    ours = request.headers.get("host", "")
    if _PORT.search(ours) is None:
        theirs = _PORT.sub("", theirs)
    return theirs != ours or scheme not in (request.url.scheme, "https")
