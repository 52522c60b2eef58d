"""Loads the roster: units, cadres and posts set by set, households as mutations through the one
write path.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from service.identity.rights import PostHeld
from service.kit.database import Connection, Database
from service.kit.encrypted_values import encrypted_phone
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.organisation import generator
from service.writes.server_writes import write_as_server
from sync_protocol.ids import NAMESPACE, household_id
from sync_protocol.messages import Mutation
from sync_protocol.texts import Text

# Posts of the roster hold since before any log can have been written.
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_HOUSEHOLDS_AT_ONCE = 3_000

Progress = Callable[[str, int, int], None]


class Loaded(msgspec.Struct):
    """How many of each there are now, and how many were new."""

    units: int
    cadres: int
    households: int
    new_units: int
    new_cadres: int
    new_households: int


async def load(
    database: Database,
    settings: Settings,
    now: datetime,
    progress: Progress = lambda what, done, total: None,
    password: str | None = None,
    below: str = "",
) -> Loaded:
    """Brings the roster in; what is there already stays as it is.

    `password` is the hash with which the demo accounts are made, None for none. `below` limits
    households to the grids of a unit, for tests and trials.
    """
    whole = generator.roster()
    async with database.transaction() as connection:
        new_units = await _load_units(connection, whole.units)
        new_cadres = await load_cadres(
            connection, whole.cadres, password, await cipher_of(connection, settings)
        )
    progress(Text("units and cadres"), 1, 1)
    grids = [grid for grid in whole.grids if grid.startswith(below)]
    new_households = 0
    async for done, new in _load_households(database, settings, whole, grids, now):
        progress(Text("households"), done, len(grids) * settings.households_per_grid)
        new_households += new
    return Loaded(
        len(whole.units),
        len(whole.cadres),
        len(grids) * settings.households_per_grid,
        new_units,
        new_cadres,
        new_households,
    )


async def load_public_units(database: Database) -> tuple[int, int]:
    """Brings the units of the public roster in, down to villages; how many there are, and how many
    were new. Grids, people and households are a city's own, see `service.imports`.
    """
    units = [unit for unit in generator.roster().units if unit.level != "grid"]
    async with database.transaction() as connection:
        return len(units), await _load_units(connection, units)


async def has_units(database: Database) -> bool:
    """Whether there is a roster."""
    async with database.reading() as connection:
        found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM unit)")
    return found


async def _load_units(connection: Connection, units: Sequence[generator.UnitRow]) -> int:
    status = await connection.execute(
        """
        INSERT INTO unit (code, level, parent, name, kind, party_group)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        ON CONFLICT (code) DO NOTHING
        """,
        *map(list, zip(*units, strict=True)),
    )
    await connection.execute(
        "INSERT INTO counter (grid, rev) SELECT code, 0 FROM unit WHERE level = 'grid'"
        " ON CONFLICT (grid) DO NOTHING"
    )
    return int(status.split()[-1])


async def load_cadres(
    connection: Connection,
    cadres: Sequence[generator.CadreRow],
    password: str | None,
    cipher: FieldCipher,
    term: tuple[datetime, datetime | None] = (SINCE, None),
) -> int:
    """Brings cadres in, each with a post, which holds for a term; what is there already stays as it
    is. How many are new.
    """
    codes, names, phones, members, roles, units = map(list, zip(*cadres, strict=True))
    status = await connection.execute(
        """
        INSERT INTO cadre (staff_code, name, phone, party_member, password, demo)
        SELECT c.*, $5::text, $5::text IS NOT NULL
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[]) AS c
        ON CONFLICT (staff_code) DO NOTHING
        """,
        codes,
        names,
        [encrypted_phone(cipher, code, phone) for code, phone in zip(codes, phones, strict=True)],
        members,
        password,
    )
    if password is not None:
        await connection.execute(
            "UPDATE cadre SET password = $2, demo = true WHERE staff_code = ANY($1::text[])"
            " AND (password IS NULL OR demo)"
            " AND NOT EXISTS (SELECT FROM erasure WHERE kind = 'cadre' AND subject = staff_code)",
            codes,
            password,
        )
    ids = [
        uuid.uuid5(NAMESPACE, f"post:{code}:{role}:{unit}")
        for code, role, unit in zip(codes, roles, units, strict=True)
    ]
    await connection.execute(
        """
        INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to)
        SELECT p.*, $5::timestamptz, $6::timestamptz
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS p
        ON CONFLICT (id) DO NOTHING
        """,
        ids,
        codes,
        roles,
        units,
        *term,
    )
    return int(status.split()[-1])


async def _load_households(
    database: Database,
    settings: Settings,
    whole: generator.Roster,
    grids: Sequence[str],
    now: datetime,
) -> AsyncIterator[tuple[int, int]]:
    """Yields how many households were gone through and how many of them are new."""
    by_village: dict[str, list[str]] = {}
    for cadre in whole.cadres:
        if cadre.role in ("village_secretary", "village_committee"):
            by_village.setdefault(cadre.unit, []).append(cadre.staff_code)
    post = PostHeld("admin", whole.units[0].code, SINCE, None)
    every = [
        (grid, number) for grid in grids for number in range(1, settings.households_per_grid + 1)
    ]
    for start in range(0, len(every), _HOUSEHOLDS_AT_ONCE):
        part = {
            household_id(grid, number): (grid, number)
            for grid, number in every[start : start + _HOUSEHOLDS_AT_ONCE]
        }
        async with database.transaction() as connection:
            known = await connection.fetch(
                "SELECT id::text FROM household WHERE id = ANY($1::uuid[])", list(part)
            )
            for row in known:
                part.pop(row["id"], None)
            mutations = [
                Mutation(
                    0,
                    "household",
                    record_id,
                    grid,
                    fields=generator.household_fields(grid, number, by_village.get(grid[:12], [])),
                )
                for record_id, (grid, number) in part.items()
            ]
            await write_as_server(connection, settings, "admin", post, mutations, now)
        yield min(start + _HOUSEHOLDS_AT_ONCE, len(every)), len(part)
