"""Writes the trail: in the transaction of what it tells of, so that nothing is read or done without
its line."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from fastapi import Request

from service.kit import logs
from service.kit.database import Connection

_NAMED = 20
# Who acts by the command line.
OPERATOR = "command line"
# Something that is noted in the transaction that it is given.
Act = Callable[[Connection], Awaitable[None]]


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


class Actor(Protocol):
    """Who does it, and when."""

    staff_code: str
    now: datetime

    def units_or_none(self) -> list[str]:
        """The units for which it is done; none when it is for oneself."""


async def note(
    connection: Connection,
    request: Request,
    caller: Actor,
    action: str,
    subjects: Sequence[str],
    count: int,
) -> None:
    """Adds a line: what the caller read or did (`action`), of whom or where (`subjects`), and how
    many records were shown."""
    address = address_of(request)
    await record(
        connection,
        caller.now,
        caller.staff_code,
        action,
        subjects,
        count,
        address,
        logs.request_id.get() or "",
        caller.units_or_none(),
    )


async def record_operator(
    connection: Connection, at: datetime, action: str, subject: str, count: int = 1
) -> None:
    """Adds a line about what was done by the command line: for no unit in particular, so that it is
    seen from the top."""
    await record(connection, at, OPERATOR, action, [subject] if subject else [], count)


async def record(
    connection: Connection,
    at: datetime,
    staff_code: str,
    action: str,
    subjects: Sequence[str],
    count: int,
    address: str = "",
    request_id: str = "",
    units: Sequence[str] = (),
) -> None:
    """Adds a line that comes of no REST request; see `note`. Without `units` it is for those of the
    cadre's posts at that moment."""
    named = [*subjects[:_NAMED], "…"] if len(subjects) > _NAMED else list(subjects)
    await connection.execute(
        """
        INSERT INTO audit (id, at, staff_code, action, subjects, count, address, request_id, units)
        VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, CASE WHEN cardinality($8::text[]) > 0
            THEN $8::text[] ELSE (
            SELECT coalesce(array_agg(DISTINCT p.unit::text), '{}') FROM post p
            WHERE p.staff_code = $2 AND p.valid_from <= $1
                AND (p.valid_to IS NULL OR p.valid_to > $1)) END)
        """,
        at,
        staff_code,
        action,
        named,
        count,
        address,
        request_id,
        list(units),
    )
