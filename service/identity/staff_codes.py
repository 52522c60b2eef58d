"""Staff codes: the one by which records name a person never changes; a later one is what the person
goes by, and every code that somebody ever had leads to them.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from service.kit.database import Connection
from service.kit.errors import INVALID, NOT_NOW, Problem
from sync_protocol.texts import Text

MAX_LENGTH = 40
# That of the fields of records that name a cadre.
_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
# Under these the server itself writes records.
_THE_SERVERS = frozenset({"erasure", "purge", "server"})


async def key_of(connection: Connection, code: str) -> str:
    """The staff code by which records name whoever has or had this code; the same where nobody
    was given it later.
    """
    key: str | None = await connection.fetchval(
        "SELECT staff_code FROM staff_code_alias WHERE code = $1", code
    )
    return key or code


async def keys_of(connection: Connection, codes: Sequence[str]) -> dict[str, str]:
    """The same of several codes: each with its key."""
    rows = await connection.fetch(
        "SELECT code, staff_code FROM staff_code_alias WHERE code = ANY($1::text[])", list(codes)
    )
    return {code: code for code in codes} | {row["code"]: row["staff_code"] for row in rows}


async def codes_of(connection: Connection, staff_code: str) -> list[str]:
    """Every code of a person, the first one first."""
    rows = await connection.fetch(
        "SELECT code FROM staff_code_alias WHERE staff_code = $1 ORDER BY given_at, code",
        staff_code,
    )
    return [staff_code, *(row["code"] for row in rows)]


def check_form(code: str) -> str:
    """The code itself; raises `Problem` for one that records could not hold."""
    if not _FORM.fullmatch(code):
        raise Problem(
            INVALID,
            Text(
                "‘{code}’ cannot be a staff code; it has at most 40 letters from a to z, digits,"
                " dots, hyphens and underscores, and begins with a letter or digit.",
                code=code[:60],
            ),
        )
    return code


async def take(connection: Connection, code: str, key: str | None = None) -> None:
    """Keeps a code from being given to anybody else until the transaction ends; raises `Problem`
    when it is somebody's already, or was, unless that is the person `key`.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('gridloop staff code'), hashtext($1))", code
    )
    taken = code in _THE_SERVERS or await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM cadre WHERE staff_code = $1 AND $1 IS DISTINCT FROM $2::text)
            OR EXISTS (SELECT FROM staff_code_alias WHERE code = $1
                AND staff_code IS DISTINCT FROM $2::text)
            OR EXISTS (SELECT FROM app_client WHERE id = $1)
        """,
        code,
        key,
    )
    if taken:
        raise Problem(
            NOT_NOW,
            Text(
                "The staff code ‘{code}’ is somebody's, or was, and stays theirs; choose another.",
                code=code,
            ),
        )


async def give(connection: Connection, staff_code: str, code: str, now: datetime) -> None:
    """Lets a person go by another code from now on; those so far still lead to them. The caller
    has locked the person.
    """
    check_form(code)
    await take(connection, code, staff_code)
    if code != staff_code:
        await connection.execute(
            "INSERT INTO staff_code_alias (code, staff_code, given_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (code) DO NOTHING",
            code,
            staff_code,
            now,
        )
    await connection.execute(
        "UPDATE cadre SET shown_code = nullif($2, staff_code) WHERE staff_code = $1",
        staff_code,
        code,
    )
