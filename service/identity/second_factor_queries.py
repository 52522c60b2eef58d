"""The SQL of second factors and one-time codes."""

from collections.abc import Sequence
from datetime import datetime

from service.kit.database import Connection, Row


async def second_factor(connection: Connection, staff_code: str) -> Row | None:
    """A cadre's authenticator app, confirmed or not."""
    return await connection.fetchrow(
        "SELECT secret, confirmed_at, last_step FROM second_factor WHERE staff_code = $1",
        staff_code,
    )


async def begin_enrolment(
    connection: Connection, staff_code: str, secret: str, now: datetime
) -> bool:
    """Keeps a secret that is still to be confirmed; False when there is a confirmed one."""
    status = await connection.execute(
        """
        INSERT INTO second_factor AS f (staff_code, secret, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (staff_code) DO UPDATE
            SET secret = excluded.secret, created_at = excluded.created_at
        WHERE f.confirmed_at IS NULL
        """,
        staff_code,
        secret,
        now,
    )
    return status.endswith(" 1")


async def confirm(connection: Connection, staff_code: str, now: datetime) -> bool:
    """From now on the second factor is asked for; False when it was already."""
    status = await connection.execute(
        "UPDATE second_factor SET confirmed_at = $2 WHERE staff_code = $1 AND confirmed_at IS NULL",
        staff_code,
        now,
    )
    return status.endswith(" 1")


async def take_step(connection: Connection, staff_code: str, step: int) -> bool:
    """Takes the code of a time step; False when that or a later one was taken before."""
    status = await connection.execute(
        "UPDATE second_factor SET last_step = $2 WHERE staff_code = $1 AND last_step < $2",
        staff_code,
        step,
    )
    return status.endswith(" 1")


async def forget_second_factor(connection: Connection, staff_code: str) -> bool:
    """Takes a cadre's second factor and its recovery codes away; False when there was none."""
    await delete_codes(connection, staff_code, "second-factor")
    return (
        await connection.execute("DELETE FROM second_factor WHERE staff_code = $1", staff_code)
    ).endswith(" 1")


async def replace_codes(
    connection: Connection,
    staff_code: str,
    purpose: str,
    hashes: Sequence[str],
    now: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Keeps new one-time codes in place of all that a cadre has for that purpose."""
    await delete_codes(connection, staff_code, purpose)
    await connection.execute(
        "INSERT INTO one_time_code (staff_code, purpose, hash, created_at, expires_at)"
        " SELECT $1, $2, hash, $4, $5 FROM unnest($3::text[]) AS t(hash)",
        staff_code,
        purpose,
        list(hashes),
        now,
        expires_at,
    )


async def lock_codes(
    connection: Connection, staff_code: str, purpose: str, now: datetime
) -> list[str]:
    """The one-time codes that a cadre has for a purpose and whose time is not over, as they are
    kept, locked.
    """
    rows = await connection.fetch(
        "SELECT hash FROM one_time_code WHERE staff_code = $1 AND purpose = $2"
        " AND (expires_at IS NULL OR expires_at > $3)"
        " ORDER BY hash FOR UPDATE",
        staff_code,
        purpose,
        now,
    )
    return [row["hash"] for row in rows]


async def delete_code(connection: Connection, staff_code: str, purpose: str, stored: str) -> None:
    """Deletes one of them, by how it is kept."""
    await connection.execute(
        "DELETE FROM one_time_code WHERE staff_code = $1 AND purpose = $2 AND hash = $3",
        staff_code,
        purpose,
        stored,
    )


async def delete_codes(connection: Connection, staff_code: str, purpose: str) -> None:
    """Deletes a cadre's one-time codes for a purpose."""
    await connection.execute(
        "DELETE FROM one_time_code WHERE staff_code = $1 AND purpose = $2", staff_code, purpose
    )
