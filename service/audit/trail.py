"""Writes the trail: in the transaction of what it tells of, so that nothing is read or done without its line."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from fastapi import Request

from service.database import Connection

_NAMED = 20


class Actor(Protocol):
    """Who does it, and when."""

    staff_code: str
    now: datetime


async def note(connection: Connection, request: Request, caller: Actor, action: str, subjects: Sequence[str], count: int) -> None:
    """Adds a line: what the caller read or did (`action`), of whom or where (`subjects`), and how many records were shown."""
    address = request.client.host if request.client else ""
    await record(connection, caller.now, caller.staff_code, action, subjects, count, address, request.scope.get("request_id", ""))


async def record(
    connection: Connection,
    at: datetime,
    staff_code: str,
    action: str,
    subjects: Sequence[str],
    count: int,
    address: str = "",
    request_id: str = "",
) -> None:
    """Adds a line that comes of no REST request; see `note`."""
    named = [*subjects[:_NAMED], "…"] if len(subjects) > _NAMED else list(subjects)
    await connection.execute(
        "INSERT INTO audit (id, at, staff_code, action, subjects, count, address, request_id)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7)",
        at,
        staff_code,
        action,
        named,
        count,
        address,
        request_id,
    )
