"""The SQL of what the rows of an import are compared with: units, people, posts, and the households
by their keys.
"""

from collections.abc import Collection, Sequence

from service.imports.keys import StoredKey
from service.imports.sheet_check import Post
from service.imports.units import Unit, unit_of
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row
from service.kit.sql import array, text_array


async def all_units(connection: Connection) -> dict[str, Unit]:
    """Every unit, by code."""
    rows = await connection.fetch(
        "SELECT code, level, parent, name, name_mn, kind, party_group, go_live FROM unit"
    )
    return {row["code"]: unit_of(row) for row in rows}


async def people(connection: Connection, codes: Collection[str]) -> list[Row]:
    """People by staff code, and whether each was erased."""
    return await connection.fetch(
        "SELECT staff_code, name, phone, party_member, EXISTS (SELECT FROM erasure e WHERE e.kind ="
        " 'cadre' AND e.subject = c.staff_code) AS erased FROM cadre c WHERE staff_code ="
        " ANY($1::text[])",
        list(codes),
    )


async def posts(
    connection: Connection, codes: Collection[str], ranges: Sequence[Range]
) -> dict[str, list[Post]]:
    """The posts of people, and all at units in these ranges, by staff code."""
    rows = await connection.fetch(
        "SELECT id::text, staff_code, role, unit, valid_from, valid_to, title FROM post"
        " WHERE staff_code = ANY($3::text[]) OR EXISTS (SELECT FROM unnest($1::text[], $2::text[])"
        " AS t(low, high) WHERE unit >= t.low AND unit < t.high) ORDER BY valid_from, id",
        *bounds(ranges),
        list(codes),
    )
    found: dict[str, list[Post]] = {}
    for row in rows:
        found.setdefault(row["staff_code"], []).append(Post(*row))
    return found


async def apps(connection: Connection) -> set[str]:
    """The names of the accounts of apps."""
    return {row["id"] for row in await connection.fetch("SELECT id FROM app_client")}


async def by_indexes(
    connection: Connection, scopes: Sequence[str], indexes: Sequence[bytes]
) -> list[tuple[bytes, str]]:
    """The households of keys: blind index and id. `scopes` beside `indexes`."""
    rows = await connection.fetch(
        "SELECT k.blind, k.household::text FROM unnest($1::text[], $2::bytea[]) AS w(scope, blind)"
        " JOIN import_key k USING (scope, blind)",
        list(scopes),
        list(indexes),
    )
    return [(row["blind"], row["household"]) for row in rows]


async def keys_of(connection: Connection, households: Collection[str]) -> list[StoredKey]:
    """All keys of households."""
    rows = await connection.fetch(
        "SELECT scope, blind, household::text, content FROM import_key"
        " WHERE household = ANY($1::uuid[])",
        list(households),
    )
    return [StoredKey(*row) for row in rows]


async def numbered(connection: Connection, households: Collection[str]) -> set[str]:
    """Those of households that have a number in the city."""
    rows = await connection.fetch(
        "SELECT DISTINCT household::text FROM import_key WHERE scope = '#'"
        " AND household = ANY($1::uuid[])",
        list(households),
    )
    return {row["household"] for row in rows}


async def living_in(connection: Connection, ranges: Sequence[Range]) -> list[str]:
    """The ids of the living households of grids in these ranges."""
    rows = await connection.fetch(
        "SELECT h.id::text FROM unnest($1::text[], $2::text[]) AS t(low, high)"
        " JOIN household h ON h.grid >= t.low AND h.grid < t.high WHERE NOT h.deleted",
        *bounds(ranges),
    )
    return [row["id"] for row in rows]


async def revs_of(
    connection: Connection, households: Collection[str]
) -> dict[str, tuple[str, int]]:
    """Where households stand, and at which revision."""
    rows = await connection.fetch(
        "SELECT id::text, grid, rev FROM household WHERE id = ANY($1::uuid[])", list(households)
    )
    return {row["id"]: (row["grid"], row["rev"]) for row in rows}


async def lock_grids(connection: Connection, grids: Collection[str]) -> None:
    """Locks the counters of grids, in the order of the write path."""
    await connection.execute(
        "SELECT FROM counter WHERE grid = ANY($1::text[]) ORDER BY grid FOR UPDATE", sorted(grids)
    )


async def add_keys(connection: Connection, keys: Sequence[StoredKey]) -> None:
    """Keeps keys; one that is another's by now stays that one's."""
    await connection.execute(
        "INSERT INTO import_key (id, scope, blind, household, content)"
        " SELECT gen_random_uuid(), k.*"
        " FROM unnest($1::text::text[], $2::bytea[], $3::text::uuid[], $4::bytea[]) AS k"
        " ON CONFLICT DO NOTHING",
        text_array(key.scope for key in keys),
        [key.blind for key in keys],
        array(key.household for key in keys),
        [key.content for key in keys],
    )


async def drop_keys(connection: Connection, households: Collection[str]) -> None:
    """Forgets by what households are known again."""
    await connection.execute(
        "DELETE FROM import_key WHERE household = ANY($1::uuid[])", list(households)
    )
