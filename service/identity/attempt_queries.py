"""The SQL of counted attempts. The table needs no WAL: after a crash everybody may try again."""

from collections.abc import Mapping, Sequence

from service.kit.database import Connection, Row
from service.kit.sql import array


async def lock_windows(connection: Connection, keys: Sequence[str]) -> dict[str, Row]:
    """The windows of some keys, locked in one order for everybody; those that are new have a count
    of 0.
    """
    ordered = sorted(keys)
    await connection.execute(
        "INSERT INTO attempt (key, count, expires_at) SELECT key, 0, 0"
        " FROM unnest($1::text[]) AS t(key) ORDER BY key"
        " ON CONFLICT (key) DO NOTHING",
        ordered,
    )
    rows = await connection.fetch(
        "SELECT key, count, expires_at, last_at FROM attempt WHERE key = ANY($1::text[])"
        " ORDER BY key FOR UPDATE",
        ordered,
    )
    return {row["key"]: row for row in rows}


async def write_windows(
    connection: Connection, windows: Mapping[str, tuple[int, float, float]]
) -> None:
    """Writes counts, ends and last failures of windows that are locked."""
    await connection.execute(
        "UPDATE attempt a SET count = t.count, expires_at = t.expires_at, last_at = t.last_at"
        # As texts: of arrays of numbers the driver would ask each new connection what they are,
        # which takes longer than all else of a sign-in.
        " FROM unnest($1::text[], $2::text::int[], $3::text::float8[], $4::text::float8[])"
        " AS t(key, count, expires_at, last_at)"
        " WHERE a.key = t.key",
        list(windows),
        array(count for count, _, _ in windows.values()),
        array(expires_at for _, expires_at, _ in windows.values()),
        array(last_at for _, _, last_at in windows.values()),
    )


async def note_failure(connection: Connection, keys: Sequence[str], at: float) -> None:
    """Keeps the moment of a failure in some windows."""
    await connection.execute(
        """
        WITH mine AS MATERIALIZED (SELECT key FROM attempt WHERE key = ANY($1::text[])
        ORDER BY key FOR UPDATE)
        UPDATE attempt a SET last_at = $2 FROM mine WHERE a.key = mine.key
        """,
        list(keys),
        at,
    )


async def give_back(
    connection: Connection, keys: Sequence[str], forget: Sequence[str] = ()
) -> None:
    """Takes an attempt out of the windows of `keys`; all attempts out of those of `forget`."""
    await connection.execute(
        """
        WITH mine AS MATERIALIZED (SELECT key FROM attempt WHERE key = ANY($1::text[])
        ORDER BY key FOR UPDATE)
        UPDATE attempt a SET count = CASE WHEN a.key = ANY($2::text[]) THEN 0
            ELSE greatest(a.count - 1, 0) END,
            last_at = CASE WHEN a.key = ANY($2::text[]) THEN 0 ELSE a.last_at END
        FROM mine WHERE a.key = mine.key
        """,
        sorted({*keys, *forget}),
        list(forget),
    )


async def count_once_a_while(
    connection: Connection, key: str, now: float, seconds: float
) -> int | None:
    """Counts an event; once in `seconds` it returns how many there were since it did so last, else
    None.
    """
    rows = await lock_windows(connection, [key])
    row = rows[key]
    count: int = row["count"] + 1
    # An end that lies too far ahead was set by a clock that was wrong.
    if now < row["expires_at"] <= now + seconds:
        await write_windows(connection, {key: (count, row["expires_at"], now)})
        return None
    await write_windows(connection, {key: (0, now + seconds, now)})
    return count


async def take_counts(connection: Connection, prefix: str, now: float, seconds: float) -> list[Row]:
    """What `count_once_a_while` has counted under keys with a prefix, and returned to nobody, in
    windows that are over; from now on 0.
    """
    return await connection.fetch(
        """
        WITH over AS MATERIALIZED (
            SELECT key, count FROM attempt WHERE starts_with(key, $1) AND count > 0
                AND NOT (expires_at > $2 AND expires_at <= $2 + $3)
            ORDER BY key FOR UPDATE SKIP LOCKED
        )
        UPDATE attempt a SET count = 0 FROM over WHERE a.key = over.key
            RETURNING over.key, over.count
        """,
        prefix,
        now,
        seconds,
    )
