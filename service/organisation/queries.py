"""The SQL of units: lists, and the tree."""

from collections.abc import Sequence

from service.kit.conditions import Conditions, Range, contains
from service.kit.database import Connection, Row

UNIT_COLUMNS = ("codes", "levels_of", "parents", "since", "closed", "go_live")


async def units(
    connection: Connection,
    within: Sequence[Range],
    level: str | None,
    only: Sequence[str] | None,
    text: str | None,
    after: str | None,
    limit: int,
) -> list[Row]:
    """Units in order of code; `only`: of these codes."""
    where = Conditions("code", within)
    if level is not None:
        where.add("level = {}", level)
    if only is not None:
        where.add("code = ANY({}::text[])", list(only))
    if text is not None:
        where.add(
            "(name LIKE {0} OR name_mn LIKE {0} OR EXISTS (SELECT FROM unit_name n"
            " WHERE n.unit = code AND n.name LIKE {0}))",
            contains(text),
        )
    if after is not None:
        where.add("code > {}", after)
    last = where.parameter(limit)
    return await connection.fetch(
        f"""
        SELECT code, level, name, name_mn, kind, party_group, since, closed, go_live,
               (SELECT coalesce(json_agg(json_build_object('language', n.language, 'name', n.name,
                   'until', n.valid_to) ORDER BY n.valid_to, n.language), '[]')
                FROM unit_name n WHERE n.unit = code) AS former_names
        FROM unit WHERE {where.sql} ORDER BY code LIMIT {last}
        """,
        *where.values,
    )


async def tree_version(connection: Connection) -> str:
    """The version of the tree of units."""
    version: str = await connection.fetchval("SELECT tree_version FROM server")
    return version


async def tree(connection: Connection) -> Row:
    """All units with their days, the parents of those that moved, the levels, and the version."""
    row = await connection.fetchrow(
        """
        SELECT s.tree_version AS version, u.*,
               (SELECT coalesce(json_agg(p ORDER BY p.unit, p.valid_from), '[]')
                FROM unit_parent p)::text AS spells,
               (SELECT coalesce(json_agg(l ORDER BY l.position), '[]') FROM level l)::text AS levels
        FROM server s, (
            SELECT coalesce(array_agg(code ORDER BY code), '{}') AS codes,
                   coalesce(array_agg(level ORDER BY code), '{}') AS levels_of,
                   coalesce(array_agg(parent ORDER BY code), '{}') AS parents,
                   coalesce(array_agg(since ORDER BY code), '{}') AS since,
                   coalesce(array_agg(closed ORDER BY code), '{}') AS closed,
                   coalesce(array_agg(go_live ORDER BY code), '{}') AS go_live
            FROM unit) AS u
        """
    )
    assert row is not None
    return row
