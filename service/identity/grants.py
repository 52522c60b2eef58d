"""The grants of the token endpoint: by password, by refresh token, and for apps."""

import base64
import binascii
import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

from fastapi import Request

from service.audit.audit_log import address_of
from service.audit.sign_ins import failures_noted, note_act, note_failure
from service.identity import queries, second_factor, second_factor_queries, staff_codes
from service.identity import session_queries as sessions
from service.identity.attempts import Attempts, Origin, network_of
from service.identity.passwords import Passwords
from service.identity.rights import any_present
from service.identity.session_queries import NewToken
from service.identity.token_models import Grant, TokenAnswer
from service.identity.tokens import (
    Issued,
    Tokens,
    hash_of,
    new_refresh_token,
    refused,
    successor_of,
)
from service.kit import metrics
from service.kit.database import Connection, Row
from service.kit.errors import (
    GRANT_REFUSED,
    INVALID,
    OTP_NEEDED,
    PASSWORD_EXPIRED,
    POSTS_ENDED,
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


async def origin_of(
    connection: Connection, staff_code: str, device: str | None, address: str
) -> Origin:
    """Whose attempt it is, and whether the device or the address is known to the account."""
    network = network_of(address)
    known_device = device is not None and await sessions.is_known_device(
        connection, device, staff_code
    )
    known_address = not known_device and await sessions.is_known_address(
        connection, staff_code, network
    )
    return Origin(staff_code.casefold(), address, device if known_device else None, known_address)


# -------------------------------------------------------------------------------------- by password


# How often a password is looked at whose hash others change meanwhile.
_TRIES = 3


class _Proven(NamedTuple):
    """A cadre whose password, and second factor, were right."""

    cadre: Row
    newer_hash: str | None
    needs_enrolment: bool
    how: str = "password"


async def by_password(state: State, request: Request, grant: Grant, now: datetime) -> TokenAnswer:
    """Signs a cadre in; raises `Problem`."""
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
                answer = await _begin(state, request, grant, proven, now)
                if answer is not None:
                    return answer
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


async def check_code(
    state: State, staff_code: str, code: str | None, now: datetime
) -> second_factor.Taken:
    """Raises `Problem` unless a code of the second factor, or a recovery code, is right and new;
    which of them it was.
    """
    if not code:
        raise Problem(
            OTP_NEEDED,
            "The password is right; send the code of the authenticator app, too, as otp.",
        )
    async with state.of(Attempts).counted(
        state.of(Attempts).of_code(staff_code.casefold()), now, OTP_NEEDED
    ):
        async with state.database.transaction() as connection:
            taken = await second_factor.takes(connection, state.settings, staff_code, code, now)
            if taken is not None:
                return taken
        raise Problem(OTP_NEEDED, "The code is wrong, or was used before; wait for the next one.")


async def _begin(
    state: State, request: Request, grant: Grant, proven: _Proven, now: datetime
) -> TokenAnswer | None:
    """Begins a sign-in of who has proven to be the cadre; None when the password's hash is another
    one by now.
    """
    cadre, registered_at = proven.cadre, None
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
            _end_of(state, now, now),
            0,
            now,
            network_of(address_of(request)),
        )
        await sessions.add_refresh_token(connection, token)
        await note_act(
            connection, request, staff_code, "signed-in", grant.device_id, now, proven.how
        )
    answer = _answer(state, token, refresh_token, registered_at, now)
    answer.password_change_needed = cadre["must_change"]
    answer.otp_enrolment_needed = proven.needs_enrolment
    return answer


async def _bind(
    connection: Connection, grant: Grant, device: str, staff_code: str, now: datetime
) -> datetime:
    """Registers the device, or renews what is known of it; returns since when it is registered."""
    about = (grant.device_name, grant.platform, grant.app_version)
    bound = await queries.bind_device(connection, device, staff_code, about, now)
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
        else await queries.inherit_registration(connection, device, since)
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


def posts_ended() -> Problem:
    """The answer to who has no post at present."""
    return Problem(
        POSTS_ENDED,
        "You have no post at present. A phone may still hand in what it holds, at /v1/sync; for"
        " all else ask the administrator.",
    )


# --------------------------------------------------------------------------------- by refresh token


async def by_refresh_token(
    state: State, request: Request, grant: Grant, now: datetime
) -> TokenAnswer:
    """Renews a sign-in. The successor of a refresh token is always the same, so that a lost answer
    can be asked for again.
    """
    refresh_token = grant.refresh_token or ""
    async with state.database.transaction() as connection:
        row = await sessions.refresh_token(connection, hash_of(refresh_token))
        if row is not None:
            await sessions.lock_sign_ins(connection, row["staff_code"])
            row = await sessions.refresh_token(connection, hash_of(refresh_token))
        if row is None or not _is_good(state, row, now) or is_computed(row["device"] or ""):
            raise refused("The refresh token is unknown, expired or revoked; sign in again.")
        if grant.device_id is not None and grant.device_id != row["device"]:
            raise refused("The refresh token belongs to another device; sign in on this one.")
        successor = await sessions.successor_of(connection, row["family"], row["generation"])
        problem = await _reason_to_end(connection, request, row, successor, now)
        if problem is None:
            return await _renew(state, connection, row, successor, refresh_token, now)
    # Raised only now, so that the end of the sign-in is kept.
    raise problem


def _is_good(state: State, row: Row, now: datetime) -> bool:
    end = row["family_since"] + timedelta(days=state.settings.sign_in_days)
    return row["revoked_at"] is None and row["expires_at"] > now and end > now


async def _reason_to_end(
    connection: Connection, request: Request, row: Row, successor: Row | None, now: datetime
) -> Problem | None:
    """Ends the sign-in of a refresh token if its time is over, and returns why."""
    if successor is not None and successor["first_used_at"] is not None:
        # The phone has the successor; so somebody else has a copy of this one, and nobody keeps the
        # sign-in.
        await sessions.revoke_family(connection, row["family"], now, "theft")
        await note_act(
            connection, request, row["staff_code"], "refresh-token-reused", row["device"], now
        )
        return refused(
            "The refresh token was used again after its successor, so its whole sign-in has been"
            " ended; sign in again."
        )
    if row["device"] is None:
        posts = await queries.posts_of(connection, row["staff_code"])
        if not any_present(posts, now):
            await sessions.revoke_family(connection, row["family"], now, "posts-ended")
            return posts_ended()
    return None


async def _renew(
    state: State,
    connection: Connection,
    row: Row,
    successor: Row | None,
    refresh_token: str,
    now: datetime,
) -> TokenAnswer:
    following = successor_of(refresh_token, state.settings)
    token = NewToken(
        hash_of(following),
        row["family"],
        row["staff_code"],
        row["device"],
        _end_of(state, row["family_since"], now),
        row["generation"] + 1,
        row["family_since"],
        row["address"],
    )
    if successor is None:
        await sessions.add_refresh_token(connection, token)
    elif successor["hash"] != token.hash:
        await sessions.replace_hash(connection, successor["hash"], token.hash)
    await sessions.use_refresh_token(connection, row["hash"], now)
    answer = _answer(state, token, following, row["registered_at"], now)
    answer.password_change_needed = row["must_change"]
    factor = await second_factor_queries.second_factor(connection, row["staff_code"])
    if factor is None or factor["confirmed_at"] is None:
        answer.otp_enrolment_needed = second_factor.is_asked_for(
            state.settings, await queries.posts_of(connection, row["staff_code"]), now
        )
    return answer


def _end_of(state: State, since: datetime, now: datetime) -> datetime:
    """Until when a refresh token is good that is given now, in a sign-in that began at `since`."""
    settings = state.settings
    return min(
        now + timedelta(days=settings.refresh_days), since + timedelta(days=settings.sign_in_days)
    )


def _answer(
    state: State, token: NewToken, refresh_token: str, registered_at: datetime | None, now: datetime
) -> TokenAnswer:
    about = Issued(token.device, token.family, token.generation, registered_at)
    return TokenAnswer(
        access_token=state.of(Tokens).access_token(token.staff_code, now, about),
        expires_in=state.settings.access_minutes * 60,
        refresh_token=refresh_token,
        staff_code=token.staff_code,
        registered_at=registered_at,
    )


# ----------------------------------------------------------------------------------------- for apps


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
        row = await queries.client(connection, id)
    right, newer = await state.of(Passwords).verify(secret, row["secret"] if row else None)
    if row is None or not right or row["revoked_at"] is not None:
        raise Problem(
            SIGN_IN_FAILED,
            "No app has this client_id and secret; check both.",
            error="invalid_client",
        )
    if newer is not None:
        async with state.database.reading() as connection:
            await queries.set_client_hash(connection, id, row["secret"], newer)
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
