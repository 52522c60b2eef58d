"""The SQL of re-encryption: rows that hold encrypted values, locked a few hundred at a time, and
written back.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from service.kit.database import Connection, Row
from service.privacy.queries import BlockKey
from service.writes.erased_queries import LineKey

# Columns with their types.
Columns = Mapping[str, str]


async def lock_encrypted(
    connection: Connection,
    table: str,
    key: Columns,
    columns: Sequence[str],
    where: str,
    after: Row | None,
    limit: int,
) -> list[Row]:
    """Rows of a table that hold encrypted values, locked, in order of their key: its parts, then
    the columns, all as text.

    `after`: the last row of those before. The key is compared as its index has it, so that each row
    is come by once.
    """
    parts = ", ".join(key)
    begun = f"AND ({parts}) > ({', '.join(_given(key.values(), 2))})" if after is not None else ""
    chosen = ", ".join(f"{name}::text AS {name}" for name in (*key, *columns))
    ordered = f"ORDER BY {', '.join(f'{table}.{name}' for name in key)}"
    return await connection.fetch(
        f"SELECT {chosen} FROM {table} WHERE ({where}) {begun} {ordered}"
        " LIMIT $1 FOR NO KEY UPDATE",
        limit,
        *([after[name] for name in key] if after is not None else ()),
    )


async def write_encrypted(
    connection: Connection,
    table: str,
    key: Columns,
    columns: Columns,
    rows: Sequence[Sequence[str | None]],
) -> None:
    """Writes encrypted values back: the parts of the key first, then the columns."""
    values = _given([*key.values(), *columns.values()], 1)
    where = " AND ".join(f"{name} = {value}" for name, value in zip(key, values, strict=False))
    sets = ", ".join(
        f"{name} = {value}" for name, value in zip(columns, values[len(key) :], strict=True)
    )
    await connection.executemany(f"UPDATE {table} SET {sets} WHERE {where}", rows)


def _given(types: Iterable[str], first: int) -> list[str]:
    """Parameters that come as text, from the number `first` on."""
    return [f"${place}::text::{kind}" for place, kind in enumerate(types, first)]


async def lock_log(connection: Connection, kid: str, after: LineKey, limit: int) -> list[Row]:
    """Lines of the mutation log with a body of their own, or a verdict or digest that is not by the
    key `kid`, locked, in order.
    """
    return await connection.fetch(
        """
        SELECT device::text, seq, received_at, kind, id, grid, digest, verdict, body FROM mutation
        WHERE (body IS NOT NULL OR length(digest) = 12 OR substr(digest, 1, 4) <> decode($1, 'hex')
               OR left(verdict::text, 14) <> '"gl2.' || $1 || '.')
          AND (device, seq, received_at) > ($2::uuid, $3, $4)
        ORDER BY device, seq, received_at LIMIT $5 FOR NO KEY UPDATE
        """,
        kid,
        *after,
        limit,
    )


async def write_log(
    connection: Connection, rows: Sequence[tuple[str, int, datetime, bytes, str | None, str | None]]
) -> None:
    """Writes digests, verdicts and bodies of lines back."""
    await connection.executemany(
        "UPDATE mutation SET digest = $4, verdict = $5::text::json, body = $6"
        " WHERE device = $1::uuid AND seq = $2 AND received_at = $3",
        rows,
    )


async def lock_blocks(connection: Connection, kid: str, after: BlockKey, limit: int) -> list[Row]:
    """Blocks of the log that another key than `kid` encrypted, locked, in order."""
    return await connection.fetch(
        """
        SELECT device::text, received_at, first_seq, last_seq, located, body FROM mutation_body
        WHERE substr(body, 1, 4) <> decode($1, 'hex')
            AND (device, received_at, first_seq) > ($2::uuid, $3, $4)
        ORDER BY device, received_at, first_seq LIMIT $5 FOR NO KEY UPDATE
        """,
        kid,
        *after,
        limit,
    )
