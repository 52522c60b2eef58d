"""Lines of the trail about sign-ins: each that succeeded, and failures in a number that no attack
can drive up.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from service.audit.audit_log import address_of, note, record
from service.identity import attempt_queries
from service.identity.attempts import network_of
from service.jobs.kinds import Job, JobKind
from service.kit.database import Connection, Database
from service.kit.errors import SIGN_IN_FAILED, TOO_MANY, Problem
from service.kit.state import State

# Failures of an account from an address make a line at once, and then one a minute that counts
# those since.
LINE_EVERY_S = 60
_PREFIX = "trail "


@dataclass
class Actor:
    """Who signs in, or tries to, and when."""

    staff_code: str
    now: datetime

    def units_or_none(self) -> list[str]:
        """None: signing in is for oneself."""
        return []


async def note_act(
    connection: Connection,
    request: Request,
    staff_code: str,
    action: str,
    subject: str | None,
    now: datetime,
    how: str | None = None,
) -> None:
    """Adds a line about an account, in the transaction of what it tells of; `how` it was done, in a
    word.
    """
    await note(
        connection,
        request,
        Actor(staff_code, now),
        action,
        [word for word in (subject, how) if word],
        1,
    )


async def note_failure(
    state: State, request: Request, staff_code: str | None, action: str, now: datetime
) -> None:
    """Counts a failure, and adds a line when it is time for one; in a transaction of its own.

    What was typed for an account that does not exist is not kept: it may be a password.
    """
    account = staff_code or ""
    address = network_of(address_of(request))
    async with state.database.transaction(bookkeeping=True) as connection:
        key = f"{_PREFIX}{action} {account} {address}"
        count = await attempt_queries.count_once_a_while(
            connection, key, now.timestamp(), LINE_EVERY_S
        )
        if count is not None:
            await note(
                connection,
                request,
                Actor(account, now),
                action,
                [account] if account else [],
                count,
            )


@asynccontextmanager
async def failures_noted(
    state: State, request: Request, staff_code: str | None, action: str, now: datetime
) -> AsyncIterator[None]:
    """Notes when what is done inside fails for a wrong password, secret or code, or for too many of
    them.
    """
    try:
        yield
    except Problem as problem:
        if problem.type in (SIGN_IN_FAILED, TOO_MANY):
            await note_failure(state, request, staff_code, action, now)
        raise


async def note_counted(database: Database, now: datetime) -> int:
    """Adds the lines of failures that were counted and after which none came: an attack that ended
    within its minute. How many.
    """
    async with database.transaction() as connection:
        rows = await attempt_queries.take_counts(connection, _PREFIX, now.timestamp(), LINE_EVERY_S)
        for row in rows:
            action, _, rest = row["key"].removeprefix(_PREFIX).partition(" ")
            account, _, address = rest.rpartition(" ")
            await record(
                connection,
                now,
                account,
                action,
                [account] if account else [],
                row["count"],
                address,
            )
    return len(rows)


async def _work(job: Job) -> None:
    await note_counted(job.database, job.now())


NOTE_SIGN_INS = JobKind("note-sign-ins", _work, max_concurrency=1, every="* * * * *")
