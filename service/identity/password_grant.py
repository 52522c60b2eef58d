"""The grant by password: proves who it is, and begins a sign-in."""

import uuid
from datetime import datetime
from typing import NamedTuple

from fastapi import Request

from service.audit.audit_log import address_of
from service.audit.sign_ins import note_act, note_failure
from service.identity import (
    device_queries,
    queries,
    second_factor,
    second_factor_queries,
    staff_codes,
)
from service.identity import session_queries as sessions
from service.identity.attempts import Attempts, network_of
from service.identity.grants import answer_of, check_code, end_of, origin_of, posts_ended
from service.identity.passwords import Passwords
from service.identity.rights import any_present
from service.identity.session_queries import NewToken
from service.identity.token_models import Grant, TokenAnswer
from service.identity.tokens import hash_of, new_refresh_token, refused
from service.kit import metrics
from service.kit.database import Connection, Row
from service.kit.errors import (
    INVALID,
    OTP_NEEDED,
    PASSWORD_EXPIRED,
    SIGN_IN_FAILED,
    TOO_MANY,
    UNAVAILABLE,
    Problem,
)
from service.kit.state import State
from service.sync import predecessors
from service.writes.queries import SERVER_PLATFORM
from sync_protocol.ids import is_computed, is_uuid
from sync_protocol.texts import Text

# How often a password is looked at whose hash others change meanwhile.
_TRIES = 3


class Begun(NamedTuple):
    """A sign-in that has begun, with its first refresh token; and what has to be done before
    anything else: choosing another password, or setting up a second factor.
    """

    token: NewToken
    refresh_token: str
    registered_at: datetime | None
    password_change_needed: bool
    otp_enrolment_needed: bool


class _Proven(NamedTuple):
    """A cadre whose password, and second factor, were right."""

    cadre: Row
    newer_hash: str | None
    needs_enrolment: bool
    how: str = "password"


async def by_password(state: State, request: Request, grant: Grant, now: datetime) -> TokenAnswer:
    """Signs a cadre in; raises `Problem`."""
    begun = await sign_in(state, request, grant, now, end_of(state, now, now))
    answer = answer_of(state, begun.token, begun.refresh_token, begun.registered_at, now)
    answer.password_change_needed = begun.password_change_needed
    answer.otp_enrolment_needed = begun.otp_enrolment_needed
    return answer


async def sign_in(
    state: State, request: Request, grant: Grant, now: datetime, end: datetime
) -> Begun:
    """Begins a sign-in that is good until `end`; raises `Problem`. Attempts are counted."""
    if grant.device_id is not None and not is_uuid(grant.device_id):
        raise Problem(
            INVALID, "device_id is no UUID in lower case; let the phone make one and keep it."
        )
    _refuse_the_servers(grant)
    async with state.database.reading() as connection:
        staff_code = await staff_codes.key_of(connection, grant.username or "")
        origin = await origin_of(connection, staff_code, grant.device_id, address_of(request))
        cadre = await queries.cadre(connection, staff_code)
    try:
        async with state.of(Attempts).counted(state.of(Attempts).of_cadre(origin), now):
            proven = await _prove(state, grant, cadre, now)
            for _ in range(_TRIES):
                begun = await _begin(state, request, grant, proven, (now, end))
                if begun is not None:
                    return begun
                proven = await _prove_again(state, grant, proven)
            raise Problem(
                UNAVAILABLE,
                "The account is being changed; try again in a moment.",
                {"Retry-After": "2"},
            )
    except Problem as problem:
        if problem.type in (SIGN_IN_FAILED, TOO_MANY) or (problem.type is OTP_NEEDED and grant.otp):
            metrics.sign_in_failures.inc()
            await note_failure(
                state, request, cadre["staff_code"] if cadre else None, "sign-in-failed", now
            )
        raise


def _refuse_the_servers(grant: Grant) -> None:
    """Raises `Problem` for a phone that says to be a server-side device: anybody can compute the id
    of somebody else's.
    """
    if grant.device_id is not None and is_computed(grant.device_id):
        raise Problem(
            INVALID,
            "device_id is a UUID of version 5, as the server makes them for itself; let the phone"
            " make a random one.",
        )
    if grant.platform.strip().lower() == SERVER_PLATFORM:
        raise Problem(
            INVALID,
            Text(
                "platform ‘{platform}’ is the server's own; name that of the phone.",
                platform=SERVER_PLATFORM,
            ),
        )


async def _prove(state: State, grant: Grant, cadre: Row | None, now: datetime) -> _Proven:
    """Checks the password, then whether the cadre may sign in at all, then the second factor."""
    hashed = cadre["password"] if cadre and (state.settings.demo or not cadre["demo"]) else None
    right, newer = await state.of(Passwords).verify(grant.password or "", hashed)
    if cadre is None or not right:
        raise Problem(SIGN_IN_FAILED, "No account has this staff code and password; check both.")
    if cadre["password_expires_at"] is not None and cadre["password_expires_at"] <= now:
        raise Problem(
            PASSWORD_EXPIRED,
            "This first password was not used in time; ask for another, or for a one-time code.",
        )
    async with state.database.reading() as connection:
        posts = await queries.posts_of(connection, cadre["staff_code"])
        factor = await second_factor_queries.second_factor(connection, cadre["staff_code"])
    if grant.device_id is None and not any_present(posts, now):
        raise posts_ended()
    if factor is not None and factor["confirmed_at"] is not None:
        taken = await check_code(state, cadre["staff_code"], grant.otp, now)
        return _Proven(cadre, newer, needs_enrolment=False, how=taken.value)
    return _Proven(cadre, newer, second_factor.is_asked_for(state.settings, posts, now))


async def _prove_again(state: State, grant: Grant, proven: _Proven) -> _Proven:
    """Checks the password once more when its hash was changed meanwhile, by another sign-in or by
    somebody else.
    """
    async with state.database.reading() as connection:
        cadre = await queries.cadre(connection, proven.cadre["staff_code"])
    right, newer = await state.of(Passwords).verify(
        grant.password or "", cadre["password"] if cadre else None
    )
    if cadre is None or not right:
        raise Problem(
            SIGN_IN_FAILED, "The password was changed just now; sign in with the new one."
        )
    return proven._replace(cadre=cadre, newer_hash=newer)


async def _begin(
    state: State,
    request: Request,
    grant: Grant,
    proven: _Proven,
    span: tuple[datetime, datetime],
) -> Begun | None:
    """Begins a sign-in of who has proven to be the cadre, from now to an end; None when the
    password's hash is another one by now.
    """
    cadre, registered_at = proven.cadre, None
    now, end = span
    staff_code: str = cadre["staff_code"]
    async with state.database.transaction() as connection:
        await sessions.lock_sign_ins(connection, staff_code)
        current = await queries.cadre(connection, staff_code)
        if current is None or current["password"] != cadre["password"]:
            return None
        if grant.device_id is not None:
            registered_at = await _bind(connection, grant, grant.device_id, staff_code, now)
        if proven.newer_hash is not None:
            await queries.set_hash(connection, staff_code, cadre["password"], proven.newer_hash)
        refresh_token = new_refresh_token()
        token = NewToken(
            hash_of(refresh_token),
            str(uuid.uuid4()),
            staff_code,
            grant.device_id,
            end,
            0,
            now,
            network_of(address_of(request)),
        )
        await sessions.add_refresh_token(connection, token)
        await note_act(
            connection, request, staff_code, "signed-in", grant.device_id, now, proven.how
        )
    return Begun(token, refresh_token, registered_at, cadre["must_change"], proven.needs_enrolment)


async def _bind(
    connection: Connection, grant: Grant, device: str, staff_code: str, now: datetime
) -> datetime:
    """Registers the device, or renews what is known of it; returns since when it is registered."""
    about = (grant.device_name, grant.platform, grant.app_version)
    bound = await device_queries.bind_device(connection, device, staff_code, about, now)
    if bound.staff_code != staff_code:
        raise refused("This device_id is another cadre's; the phone must make a new one.")
    since = (
        await _registered_at(connection, grant.predecessor, staff_code)
        if grant.predecessor
        else None
    )
    return (
        bound.registered_at
        if since is None
        else await device_queries.inherit_registration(connection, device, since)
    )


async def _registered_at(
    connection: Connection, predecessor: str, staff_code: str
) -> datetime | None:
    """When the device of a refresh token or cursor of this cadre was registered; None when it
    proves nothing.

    A refresh token proves it when it was used or has expired, too, but not once somebody else had a
    copy of it.
    """
    row = await sessions.refresh_token(connection, hash_of(predecessor))
    if row is None:
        return await predecessors.registered_at(connection, predecessor, staff_code)
    if row["staff_code"] != staff_code or row["ended_by"] == "theft":
        return None
    found: datetime | None = row["registered_at"]
    return found
