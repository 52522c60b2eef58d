"""The SQL of answers that are kept for repeated requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.database import Connection, Row


async def begin(
    connection: Connection,
    caller: str,
    key: str,
    digests: Sequence[bytes],
    now: datetime,
    stale: datetime,
) -> Row | None:
    """Takes a key, or returns what is known of it. One that has been without an answer since before
    `stale` is taken again.

    `digests`: all that the request may be known by; the first is kept.
    """
    taken = await connection.fetchval(
        """
        INSERT INTO idempotency AS i (caller, key, request, at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (caller, key) DO UPDATE SET at = excluded.at
        WHERE i.status IS NULL AND i.at < $5 AND i.request = ANY($6::bytea[]) RETURNING true
        """,
        caller,
        key,
        digests[0],
        now,
        stale,
        list(digests),
    )
    if taken:
        return None
    return await connection.fetchrow(
        "SELECT request, status, headers, body, rights FROM idempotency WHERE caller = $1"
        " AND key = $2",
        caller,
        key,
    )


async def count_since(connection: Connection, caller: str, since: datetime) -> int:
    """How many keys a caller has taken since a moment."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM idempotency WHERE caller = $1 AND at >= $2", caller, since
    )
    return count


class Answer(NamedTuple):
    """An answer to be kept; `rights`: what the caller could do at the time."""

    status: int
    headers: str
    body: str
    rights: Sequence[str]


async def finish(
    connection: Connection, caller: str, key: str, at: datetime, answer: Answer
) -> None:
    """Keeps the answer of the request that took the key at a moment, unless another has taken it
    since.
    """
    await connection.execute(
        "UPDATE idempotency SET status = $4, headers = $5, body = $6, rights = $7"
        " WHERE caller = $1 AND key = $2 AND at = $3",
        caller,
        key,
        at,
        answer.status,
        answer.headers,
        answer.body,
        list(answer.rights),
    )


async def forget(connection: Connection, caller: str, key: str, at: datetime) -> None:
    """Frees a key whose request, which took it at that moment, came to nothing."""
    await connection.execute(
        "DELETE FROM idempotency WHERE caller = $1 AND key = $2 AND at = $3 AND status IS NULL",
        caller,
        key,
        at,
    )
