"""The SQL of the names that pages show beside codes: of units, people and devices."""

from collections.abc import Sequence
from datetime import date

from service.kit.conditions import Conditions, Range
from service.kit.database import Connection, Row


async def unit_names(connection: Connection, codes: Sequence[str]) -> list[Row]:
    """What units are called."""
    return await connection.fetch(
        "SELECT code, level, name FROM unit WHERE code = ANY($1::text[])", list(codes)
    )


async def cadre_names(connection: Connection, staff_codes: Sequence[str]) -> list[Row]:
    """What people are called."""
    return await connection.fetch(
        "SELECT staff_code, name FROM cadre WHERE staff_code = ANY($1::text[])", list(staff_codes)
    )


async def device_names(connection: Connection, ids: Sequence[str]) -> list[Row]:
    """What devices are called, and on what they run."""
    return await connection.fetch(
        "SELECT id::text, name, platform FROM device WHERE id = ANY($1::uuid[])", list(ids)
    )


async def units_called(
    connection: Connection, within: Sequence[Range], name: str, today: date, limit: int
) -> list[Row]:
    """The units of a name, Chinese or Mongolian, that are open on a day, in order of code."""
    where = Conditions("code", within)
    where.add("{0} IN (name, name_mn)", name)
    where.add("(closed IS NULL OR closed > {})", today)
    last = where.parameter(limit)
    return await connection.fetch(
        f"SELECT code FROM unit WHERE {where.sql} ORDER BY code LIMIT {last}", *where.values
    )
