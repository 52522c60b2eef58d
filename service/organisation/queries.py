"""The SQL of units: lists."""

from collections.abc import Sequence

from service.kit.conditions import Conditions, contains
from service.kit.database import Connection, Row


async def units(
    connection: Connection,
    within: Sequence[str],
    level: str | None,
    parent: str | None,
    text: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Units in order of code."""
    where = Conditions("code", within)
    if level is not None:
        where.add("level = {}", level)
    if parent is not None:
        where.add("parent = {}", parent)
    if text is not None:
        where.add("name LIKE {}", contains(text))
    if after is not None:
        where.add("code > {}", after)
    last = where.parameter(limit)
    return await connection.fetch(
        f"SELECT code, level, parent, name, kind, party_group FROM unit WHERE {where.sql}"
        f" ORDER BY code LIMIT {last}",
        *where.values,
    )
