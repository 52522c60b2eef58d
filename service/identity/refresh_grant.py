"""The grant by refresh token: renews a sign-in."""

from datetime import datetime, timedelta

from fastapi import Request

from service.audit.sign_ins import note_act
from service.identity import queries, second_factor, second_factor_queries
from service.identity import session_queries as sessions
from service.identity.grants import answer_of, end_of, posts_ended
from service.identity.rights import any_present
from service.identity.session_queries import NewToken
from service.identity.token_models import Grant, TokenAnswer
from service.identity.tokens import hash_of, refused, successor_of
from service.kit.database import Connection, Row
from service.kit.errors import Problem
from service.kit.state import State
from sync_protocol.ids import is_computed


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
        end_of(state, row["family_since"], now),
        row["generation"] + 1,
        row["family_since"],
        row["address"],
    )
    if successor is None:
        await sessions.add_refresh_token(connection, token)
    elif successor["hash"] != token.hash:
        await sessions.replace_hash(connection, successor["hash"], token.hash)
    await sessions.use_refresh_token(connection, row["hash"], now)
    answer = answer_of(state, token, following, row["registered_at"], now)
    answer.password_change_needed = row["must_change"]
    factor = await second_factor_queries.second_factor(connection, row["staff_code"])
    if factor is None or factor["confirmed_at"] is None:
        answer.otp_enrolment_needed = second_factor.is_asked_for(
            state.settings, await queries.posts_of(connection, row["staff_code"]), now
        )
    return answer
