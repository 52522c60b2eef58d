"""The SQL of what the rows of an import are compared with: units, people, posts, and the households
by their keys.
"""

from collections.abc import Collection, Sequence

from service.cases.models import IS_OPEN
from service.imports.keys import StoredKey
from service.imports.sheet_check import Post
from service.imports.units import Unit, unit_of
from service.kit.conditions import Range, bounds
from service.kit.database import Connection, Row
from service.kit.sql import array, text_array

# Of a cadre `c`, in the order of time.
SPANS = (
    "(SELECT array_agg(m.joined_on ORDER BY m.number) FROM party_membership m"
    " WHERE m.staff_code = c.staff_code) AS joined,"
    " (SELECT array_agg(m.left_on ORDER BY m.number) FROM party_membership m"
    " WHERE m.staff_code = c.staff_code) AS left_on"
)


async def all_units(connection: Connection) -> dict[str, Unit]:
    """Every unit, by code."""
    rows = await connection.fetch(
        "SELECT code, level, parent, name, name_mn, kind, party_group, go_live FROM unit"
    )
    return {row["code"]: unit_of(row) for row in rows}


async def people(connection: Connection, codes: Collection[str]) -> list[Row]:
    """People by staff code, with the spans of their party membership, and whether each was
    erased.
    """
    return await connection.fetch(
        f"SELECT staff_code, name, phone, party_member, {SPANS}, EXISTS (SELECT FROM erasure e"
        " WHERE e.kind = 'cadre' AND e.subject = c.staff_code) AS erased FROM cadre c"
        " WHERE staff_code = ANY($1::text[])",
        list(codes),
    )


def spans_of(row: Row) -> list[list[str | None]]:
    """The spans of a row of people: first day, and first day after."""
    pairs = zip(row["joined"] or (), row["left_on"] or (), strict=True)
    return [[day and day.isoformat() for day in pair] for pair in pairs]


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
        "SELECT k.blind, k.household::text FROM unnest($1::text::text[], $2::text::text[])"
        " AS w(scope, hex) JOIN import_key k ON k.scope = w.scope"
        " AND k.blind = decode(w.hex, 'hex')",
        text_array(scopes),
        array(index.hex() for index in indexes),
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


async def heads(connection: Connection, ranges: Sequence[Range]) -> dict[str, int]:
    """The revisions of grids in these ranges, of those in which anything was written."""
    rows = await connection.fetch(
        "SELECT c.grid, c.rev FROM unnest($1::text[], $2::text[]) AS t(low, high)"
        " JOIN counter c ON c.grid >= t.low AND c.grid < t.high WHERE c.rev > 0",
        *bounds(ranges),
    )
    return {row["grid"]: row["rev"] for row in rows}


async def revs_of(
    connection: Connection, households: Collection[str]
) -> dict[str, tuple[str, int]]:
    """Where households stand, and at which revision."""
    rows = await connection.fetch(
        "SELECT id::text, grid, rev FROM household WHERE id = ANY($1::uuid[])", list(households)
    )
    return {row["id"]: (row["grid"], row["rev"]) for row in rows}


async def in_hand(connection: Connection, codes: Collection[str]) -> list[Row]:
    """Of people who have something in hand: how many open problems, and how many households are
    tied or contracted to them.
    """
    return await connection.fetch(
        f"""
        SELECT * FROM (
            SELECT w.code,
                (SELECT count(*) FROM case_file c WHERE c.handler_cadre = w.code AND {IS_OPEN})
                    ::int AS problems,
                (SELECT count(*) FROM household h WHERE NOT h.deleted
                    AND (h.contact_member = w.code OR h.lead_member = w.code))::int AS households
            FROM unnest($1::text[]) AS w(code)
        ) AS found WHERE problems > 0 OR households > 0 ORDER BY code
        """,
        list(codes),
    )


async def heads_of(connection: Connection, households: Collection[str]) -> dict[str, str | None]:
    """The heads of households."""
    rows = await connection.fetch(
        "SELECT id::text, head_name FROM household WHERE id = ANY($1::uuid[])", list(households)
    )
    return {row["id"]: row["head_name"] for row in rows}


async def lock_grids(connection: Connection, grids: Collection[str]) -> None:
    """Locks the counters of grids, in the order of the write path."""
    await connection.execute(
        "SELECT FROM counter WHERE grid = ANY($1::text[]) ORDER BY grid FOR UPDATE", sorted(grids)
    )


async def add_keys(connection: Connection, keys: Sequence[StoredKey]) -> None:
    """Keeps keys; one that is another's by now stays that one's."""
    await connection.execute(
        "INSERT INTO import_key (id, scope, blind, household, content)"
        " SELECT gen_random_uuid(), k.scope, decode(k.blind, 'hex'), k.household,"
        " decode(k.content, 'hex') FROM unnest($1::text::text[], $2::text::text[],"
        " $3::text::uuid[], $4::text::text[]) AS k(scope, blind, household, content)"
        " ON CONFLICT DO NOTHING",
        text_array(key.scope for key in keys),
        array(key.blind.hex() for key in keys),
        array(key.household for key in keys),
        array(key.content.hex() for key in keys),
    )


async def drop_keys(connection: Connection, households: Collection[str]) -> None:
    """Forgets by what households are known again."""
    await connection.execute(
        "DELETE FROM import_key WHERE household = ANY($1::uuid[])", list(households)
    )
