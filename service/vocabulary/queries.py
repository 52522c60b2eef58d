"""The SQL of words, limits and calendar days."""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime

from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row
from service.vocabulary.days import DayOff
from service.vocabulary.terms import Term


async def version(connection: Connection) -> str:
    """The version of words, limits and the calendar."""
    found: str = await connection.fetchval("SELECT vocabulary_version FROM server")
    return found


async def everything(connection: Connection) -> Row:
    """All terms, years and days, and the version."""
    row = await connection.fetchrow(
        """
        SELECT s.vocabulary_version AS version,
               (SELECT coalesce(json_agg(t ORDER BY t.list, t.code, t.valid_from), '[]')
                FROM vocabulary_term t)::text AS terms,
               (SELECT coalesce(json_agg(y ORDER BY y.unit, y.year), '[]')
                FROM calendar_year y)::text AS years,
               (SELECT coalesce(json_agg(d ORDER BY d.unit, d.day), '[]')
                FROM calendar_day d)::text AS days
        FROM server s
        """
    )
    assert row is not None
    return row


async def lock_vocabulary(connection: Connection) -> None:
    """Lets one transaction at a time change lists, calendars or units: each sees what the one
    before has done.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gridloop units'))")


async def hold_writers(connection: Connection) -> None:
    """Lets nobody write a record until the transaction ends, and waits for those who do: what they
    write is judged by one version, and the due times that are there follow it.
    """
    await connection.execute("LOCK TABLE counter IN EXCLUSIVE MODE")


async def put_term(
    connection: Connection, term: Term, mailbox: str, rev: int, by: str, now: datetime
) -> None:
    """Writes a term, in the place of the one that begins on the same day, if there is one."""
    await connection.execute(
        """
        INSERT INTO vocabulary_term (id, mailbox, rev, list, code, name_zh, name_en, name_mn,
            position, valid_from, valid_to, attributes, changed_by, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::date, $11::text::date,
            $12::text::jsonb, $13, $14)
        ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, name_zh = excluded.name_zh,
            name_en = excluded.name_en, name_mn = excluded.name_mn, position = excluded.position,
            valid_to = excluded.valid_to, attributes = excluded.attributes,
            changed_by = excluded.changed_by, changed_at = excluded.changed_at
        """,
        term.id,
        mailbox,
        rev,
        term.list,
        term.code,
        term.name_zh,
        term.name_en,
        term.name_mn,
        term.position,
        # asyncpg takes the first and the last of all days for infinite ones.
        term.valid_from.isoformat(),
        None if term.valid_to is None else term.valid_to.isoformat(),
        json.dumps(dict(term.attributes), ensure_ascii=False),
        by,
        now,
    )


async def lists_of(connection: Connection, units: Sequence[str]) -> list[Row]:
    """Which of these units have lists of which years, by whom and since when."""
    return await connection.fetch(
        "SELECT unit, year, uploaded_by, uploaded_at FROM calendar_year"
        " WHERE unit = ANY($1::text[]) ORDER BY year, unit",
        list(units),
    )


async def replace_year(
    connection: Connection,
    unit: str,
    year: int,
    days: Iterable[tuple[date, DayOff]] | None,
    by: str,
    now: datetime,
) -> None:
    """Puts a list in the place of the one that a unit has for a year; None: none at all."""
    await connection.execute(
        "DELETE FROM calendar_day WHERE unit = $1 AND day BETWEEN $2 AND $3",
        unit,
        date(year, 1, 1),
        date(year, 12, 31),
    )
    await connection.execute("DELETE FROM calendar_year WHERE unit = $1 AND year = $2", unit, year)
    if days is None:
        return
    await connection.execute(
        "INSERT INTO calendar_year (unit, year, uploaded_by, uploaded_at) VALUES ($1, $2, $3, $4)",
        unit,
        year,
        by,
        now,
    )
    await connection.executemany(
        "INSERT INTO calendar_day (unit, day, works, name) VALUES ($1, $2, $3, $4)",
        [(unit, day, what.works, what.name) for day, what in days],
    )


async def due_between(
    connection: Connection, within: Sequence[Range], first: datetime, last: datetime
) -> list[str]:
    """The problems of some units that were raised before a moment and are, or were, due at or after
    another.
    """
    rows = await connection.fetch(
        "SELECT c.problem::text FROM case_file c JOIN unnest($1::text[], $2::text[])"
        " AS u(low, high) ON c.grid >= u.low AND c.grid < u.high"
        " WHERE c.raised_at < $4 AND c.due >= $3 ORDER BY c.grid, c.problem",
        *bounds(within),
        first,
        last,
    )
    return [row["problem"] for row in rows]


async def raised_since(connection: Connection, since: datetime) -> list[str]:
    """The problems that were raised at or after a moment."""
    rows = await connection.fetch(
        "SELECT problem::text FROM case_file WHERE raised_at >= $1 ORDER BY grid, problem", since
    )
    return [row["problem"] for row in rows]
