"""The schema `report`: views of what is counted and done, without personal data, for tools that
draw charts. Their names and columns stay; see docs/operations/reporting.md.

A role that was granted a unit sees the rows of that unit and of all below it, by the tree of today.
The views belong to the owner of the tables, and ask themselves who reads them. They are made by
`gridloop reporting grant`, and taken down while the tables are migrated.
"""

import asyncio
import secrets

import asyncpg

from migrations.report_views import TODAY, VIEWS
from migrations.role_sql import quoted, scram_verifier
from service.kit.database import Connection
from service.kit.database_limits import UNLIMITED

_TABLES = (
    'CREATE TABLE IF NOT EXISTS report.granted (role TEXT NOT NULL, unit TEXT COLLATE "C" NOT NULL,'
    " PRIMARY KEY (role, unit))"
)
# Units with the parents of today; what the other views are made of, for nobody else to read.
_ALL_UNITS = f"""
    SELECT u.code, u.level, u.name, coalesce(m.parent, u.parent) AS parent, u.since, u.closed,
           u.party_group, u.kind
    FROM public.unit u LEFT JOIN public.unit_parent m ON m.unit = u.code
        AND m.valid_from <= {TODAY} AND (m.valid_to IS NULL OR {TODAY} < m.valid_to)
"""
_VISIBLE = """
    CREATE OR REPLACE FUNCTION report.visible_units() RETURNS TABLE (code TEXT) LANGUAGE sql STABLE
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        WITH RECURSIVE below(code) AS (
            SELECT g.unit FROM report.granted g WHERE g.role = session_user
            UNION SELECT u.code FROM below b JOIN report.all_units u ON u.parent = b.code)
        SELECT code FROM below
    $$
"""
OWNER_OF_TABLES = (
    "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.unit'::regclass"
)
_EVERY_VIEW = (
    "SELECT viewname FROM pg_views WHERE schemaname = 'report' AND viewname <> 'all_units'"
)
_IS_SET_UP = "SELECT to_regclass('report.granted') IS NOT NULL"
# A report that is asked for without end ends by itself.
_LIMITS = ("default_transaction_read_only = on", "statement_timeout = '5min'")


class NoSuchUnit(Exception):
    """There is no unit with this code."""


class NotForReports(Exception):
    """The role owns the tables, is the service's, or may do everything: a grant would say
    nothing.
    """


async def grant(url: str, service: str, role: str, unit: str) -> str | None:
    """Lets a role read the views of a unit and of all below it; makes the role if there is none,
    and returns its password then. `service`: the role of the service, which is none for reports.

    `url` connects as a superuser, or as the owner of the tables with the right to make schemas and
    roles.
    """
    async with _Connected(url) as connection:
        if not await connection.fetchval("SELECT true FROM unit WHERE code = $1", unit):
            raise NoSuchUnit(unit)
        owner = await connection.fetchval(OWNER_OF_TABLES)
        is_super = await connection.fetchval(
            "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = $1", role
        )
        if is_super or role in (owner, service):
            raise NotForReports(role)
        async with connection.transaction():
            password = await _make(connection, role) if is_super is None else None
            await _put_up(connection, owner)
            await connection.execute(
                "INSERT INTO report.granted (role, unit) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                role,
                unit,
            )
            await _let_read(connection, role)
        return password


async def revoke(url: str, role: str, unit: str | None) -> int:
    """Takes a unit, or every one, from a role again; returns how many. The role stays."""
    async with _Connected(url) as connection:
        if not await connection.fetchval(_IS_SET_UP):
            return 0
        rows = await connection.fetch(
            "DELETE FROM report.granted WHERE role = $1 AND ($2::text IS NULL OR unit = $2)"
            " RETURNING unit",
            role,
            unit,
        )
        return len(rows)


async def granted(url: str) -> list[tuple[str, str]]:
    """Every role with each unit that it was granted."""
    async with _Connected(url) as connection:
        if not await connection.fetchval(_IS_SET_UP):
            return []
        rows = await connection.fetch("SELECT role, unit FROM report.granted ORDER BY 1, 2")
        return [(row["role"], row["unit"]) for row in rows]


def take_down(url: str) -> None:
    """Drops the views, so that tables can change; who was granted what stays."""

    async def work() -> None:
        async with _Connected(url) as connection:
            if await connection.fetchval(_IS_SET_UP):
                # Those of any release.
                for (name,) in await connection.fetch(_EVERY_VIEW):
                    await connection.execute(f"DROP VIEW report.{quoted(name)}")
                await connection.execute("DROP FUNCTION IF EXISTS report.visible_units()")
                await connection.execute("DROP VIEW IF EXISTS report.all_units")

    asyncio.run(work())


def put_up(url: str) -> None:
    """Makes the views of this release, where roles were granted units."""

    async def work() -> None:
        async with _Connected(url) as connection:
            if not await connection.fetchval(_IS_SET_UP):
                return
            async with connection.transaction():
                await _put_up(connection, await connection.fetchval(OWNER_OF_TABLES))
                for (role,) in await connection.fetch(
                    "SELECT DISTINCT role FROM report.granted g WHERE EXISTS (SELECT FROM pg_roles"
                    " r WHERE r.rolname = g.role)"
                ):
                    await _let_read(connection, role)

    asyncio.run(work())


class _Connected:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Connection:
        self._connection = await asyncpg.connect(
            self._url, server_settings=UNLIMITED.server_settings()
        )
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


async def _make(connection: Connection, role: str) -> str:
    password = secrets.token_urlsafe(18)
    await connection.execute(
        f"CREATE ROLE {quoted(role)} LOGIN PASSWORD '{scram_verifier(password)}'"
    )
    for limit in _LIMITS:
        await connection.execute(f"ALTER ROLE {quoted(role)} SET {limit}")
    return password


async def _put_up(connection: Connection, owner: str) -> None:
    if not await connection.fetchval("SELECT to_regnamespace('report') IS NOT NULL"):
        await connection.execute(f"CREATE SCHEMA report AUTHORIZATION {quoted(owner)}")
    await connection.execute(f"SET LOCAL ROLE {quoted(owner)}")
    await connection.execute(_TABLES)
    await connection.execute(f"CREATE OR REPLACE VIEW report.all_units AS {_ALL_UNITS}")
    await connection.execute(_VISIBLE)
    await connection.execute("REVOKE ALL ON FUNCTION report.visible_units() FROM PUBLIC")
    for name, sql in VIEWS.items():
        await connection.execute(
            f"CREATE OR REPLACE VIEW report.{name} WITH (security_barrier = true) AS {sql}"
        )
    await connection.execute("RESET ROLE")


async def _let_read(connection: Connection, role: str) -> None:
    name = quoted(role)
    database = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"GRANT CONNECT ON DATABASE {quoted(database)} TO {name}")
    await connection.execute(f"GRANT USAGE ON SCHEMA report TO {name}")
    views = ", ".join(f"report.{view}" for view in VIEWS)
    await connection.execute(f"GRANT SELECT ON {views} TO {name}")
    await connection.execute(f"GRANT EXECUTE ON FUNCTION report.visible_units() TO {name}")
