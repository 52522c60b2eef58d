"""The two roles of the database: the owner of the tables, and the service's, which owns nothing.

What a role may do is set right whenever the database is migrated: the catalogue is compared with
what is wanted, and only what differs is changed. So later tables, too, have their grants, and a
database that is right is not touched. The SQL here writes SQL: each query answers with the
statements that are missing, which are then run, or shown to an administrator where this role may
not run them.
"""

import asyncio
from typing import NamedTuple, TypeAlias

import asyncpg

from migrations import downgrade, reporting, revisions, upgrade
from migrations.role_sql import quoted, scram_verifier
from service.kit.database_limits import UNLIMITED

Connection: TypeAlias = asyncpg.Connection

# Tables to which the service may add and which it may read, and no more.
APPEND_ONLY = ("audit",)
READ_ONLY = ("alembic_version",)
_LOCK = "SELECT pg_advisory_lock(hashtext('gridloop roles'))"
_MYSELF = "SELECT current_user AS name, rolsuper FROM pg_roles WHERE rolname = current_user"
_IS_THERE = "SELECT true FROM pg_roles WHERE rolname = $1"


class Roles(NamedTuple):
    """Their names. `owner` counts where a superuser migrates; another role owns the tables
    itself.
    """

    owner: str
    service: str


class Migrated(NamedTuple):
    """Who owns the tables, and the statements that the role may not run; an administrator must."""

    owner: str
    missing: list[str]


class NotTheOwner(Exception):
    """The role may make no tables, so nothing was changed.

    `missing`: the statements that an administrator may run.
    """

    def __init__(self, role: str, missing: list[str]) -> None:
        super().__init__(f"The role ‘{role}’ may not change the tables of this database.")
        self.role = role
        self.missing = missing


def migrate(
    url: str, roles: Roles, password: str | None = None, to: str = "head", back: bool = False
) -> Migrated:
    """Brings a database up to a revision, the newest, or back to an older one, as the owner of its
    tables; gives the service's role its rights.

    `url` connects as a superuser or as the owner; raises `NotTheOwner` for another. `password` is
    what a new role of the service gets.
    """
    owner, missing = asyncio.run(_prepare(url, roles, password))
    moves = not asyncio.run(_is_at(url, revisions()[0] if to == "head" else to))
    if moves:
        reporting.take_down(url)
    if back:
        downgrade(url, to, owner)
    else:
        upgrade(url, owner, to)
    if to == "head":
        # Also where another one was stopped before it came to this.
        reporting.put_up(url)
    if owner != roles.service:  # who owns the tables can do everything with them
        missing += asyncio.run(_grant(url, Roles(owner, roles.service)))
    return Migrated(owner, missing)


async def refuse_others_than_the_owner(url: str) -> None:
    """Raises `NotTheOwner` where the role of `url` may make no tables."""
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        await _refuse(connection, await connection.fetchval("SELECT current_user"), [])
    finally:
        await connection.close()


async def _refuse(connection: Connection, role: str, missing: list[str]) -> None:
    may = "SELECT has_schema_privilege($1::name, current_schema(), 'CREATE')"
    if not await connection.fetchval(may, role):
        raise NotTheOwner(role, missing)


async def _is_at(url: str, revision: str) -> bool:
    """Whether the tables are at a revision already."""
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        there = "SELECT to_regclass('public.alembic_version') IS NOT NULL"
        if not await connection.fetchval(there):
            return False
        at = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        return bool(at == revision)
    finally:
        await connection.close()


async def _prepare(url: str, roles: Roles, password: str | None) -> tuple[str, list[str]]:
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        await connection.execute(_LOCK)
        row = await connection.fetchrow(_MYSELF)
        assert row is not None, "a role that has connected is there"
        owner = roles.owner if row["rolsuper"] else row["name"]
        missing = []
        for name in (owner, roles.service):
            if not await connection.fetchval(_IS_THERE, name):
                given = password if name == roles.service else None
                missing += await _make_role(connection, name, given)
        for query in (_DATABASE, _SCHEMA, _OWNERS):
            missing += await _set_right(connection, query, owner, roles.service)
        await _refuse(connection, owner, missing)
        return owner, missing
    finally:
        await connection.close()


async def _grant(url: str, roles: Roles) -> list[str]:
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        await connection.execute(_LOCK)
        if not await connection.fetchval(f"{_IS_THERE} AND NOT rolsuper", roles.service):
            return []
        missing = []
        for query in (_TABLES, _SEQUENCES, _DEFAULTS):
            missing += await _set_right(connection, query, roles.owner, roles.service)
        return missing
    finally:
        await connection.close()


async def _make_role(connection: Connection, name: str, password: str | None) -> list[str]:
    """Makes a role that can log in; without a password it can only where the server trusts."""
    statement = f"CREATE ROLE {quoted(name)} LOGIN"
    try:
        secret = f" PASSWORD '{scram_verifier(password)}'" if password else ""
        await connection.execute(statement + secret)
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return []  # made meanwhile, for another database of the server
    except asyncpg.InsufficientPrivilegeError:
        shown = " PASSWORD '(the one in GRIDLOOP_DATABASE_URL)'" if password else ""
        return [f"{statement}{shown};"]
    return []


async def _set_right(connection: Connection, query: str, owner: str, service: str) -> list[str]:
    """Runs the statements that a query answers with; returns those without effect, or refused."""
    for (statement,) in await connection.fetch(query, owner, service):
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            pass  # is missing still, as is what PostgreSQL only warns of
    return [f"{statement};" for (statement,) in await connection.fetch(query, owner, service)]


def _names(tables: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in tables)


# --------------------------------------------------------------------- what is wanted and is not so
# Each takes the owner as $1 and the service's role as $2, and is silent on a role that is not
# there.

# Everybody may make temporary tables, and with them functions, until that is taken away.
_DATABASE = """
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())
WHERE has_database_privilege('public', current_database(), 'TEMPORARY')
UNION ALL
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), rolname) FROM pg_roles
WHERE rolname IN ($1, $2) AND NOT has_database_privilege(rolname, current_database(), 'CONNECT')
UNION ALL
SELECT format('REVOKE %I FROM %I', owner.rolname, service.rolname)
FROM pg_roles AS owner, pg_roles AS service
WHERE owner.rolname = $1 AND service.rolname = $2 AND owner.oid <> service.oid
  AND NOT service.rolsuper AND pg_has_role(service.oid, owner.oid, 'MEMBER')
"""

_SCHEMA = """
SELECT 'REVOKE CREATE ON SCHEMA public FROM PUBLIC'
WHERE has_schema_privilege('public', 'public', 'CREATE')
UNION ALL
SELECT format('GRANT %s ON SCHEMA public TO %I', kind, rolname)
FROM pg_roles, unnest('{USAGE,CREATE}'::text[]) AS kind
WHERE (rolname = $1 OR rolname = $2 AND kind = 'USAGE')
  AND NOT has_schema_privilege(rolname, 'public', kind)
UNION ALL
SELECT format('REVOKE CREATE ON SCHEMA public FROM %I', rolname) FROM pg_roles
WHERE rolname = $2 AND rolname <> $1 AND NOT rolsuper
  AND has_schema_privilege(rolname, 'public', 'CREATE')
  AND NOT has_schema_privilege('public', 'public', 'CREATE')
"""

# What an extension brought stays its own; a sequence of a column goes with its table.
_OWNERS = """
SELECT format(
    'ALTER %s public.%I OWNER TO %I',
    CASE relkind
        WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE'
    END,
    relname, rolname
)
FROM pg_class, pg_roles
WHERE rolname = $1 AND $2::name IS NOT NULL AND relnamespace = 'public'::regnamespace
  AND relkind IN ('r', 'p', 'v', 'm', 'S') AND relowner <> pg_roles.oid
  AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype IN ('e', 'a', 'i')
      AND refclassid IN ('pg_class'::regclass, 'pg_extension'::regclass)
  )
UNION ALL
SELECT format('ALTER ROUTINE %s OWNER TO %I', pg_proc.oid::regprocedure, rolname)
FROM pg_proc, pg_roles
WHERE rolname = $1 AND pronamespace = 'public'::regnamespace AND proowner <> pg_roles.oid
  AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
  )
"""

_TABLES = f"""
WITH wanted AS (
    SELECT oid, relname, CASE
        WHEN relname IN ({_names(APPEND_ONLY)}) THEN '{{SELECT,INSERT}}'::text[]
        WHEN relname IN ({_names(READ_ONLY)}) THEN '{{SELECT}}'::text[]
        ELSE '{{SELECT,INSERT,UPDATE,DELETE}}'::text[]
    END AS rights
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
      AND $1::name IS NOT NULL
), each AS (
    SELECT relname, kind, kind = ANY (rights) AS want,
        has_table_privilege($2::name, oid, kind) AS has
    FROM wanted,
        unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}}'::text[]) AS kind
)
SELECT format('%s %s ON public.%I %s %I',
    CASE WHEN want THEN 'GRANT' ELSE 'REVOKE' END, string_agg(kind, ', '), relname,
    CASE WHEN want THEN 'TO' ELSE 'FROM' END, $2::name)
FROM each WHERE want <> has GROUP BY relname, want ORDER BY relname, want
"""

_SEQUENCES = """
SELECT format('GRANT USAGE ON SEQUENCE public.%I TO %I', relname, $2::name) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND $1::name IS NOT NULL
  AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege($2::name, oid, 'USAGE') END
"""

# For tables that are made by other means than `gridloop migrate`.
_DEFAULTS = """
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT %s TO %I',
    $1::name, wanted.rights, $2::name)
FROM (VALUES ('r', 'SELECT, INSERT, UPDATE, DELETE ON TABLES'), ('S', 'USAGE ON SEQUENCES'))
    AS wanted (kind, rights)
WHERE NOT EXISTS (
    SELECT FROM pg_default_acl, aclexplode(defaclacl) AS entry
    WHERE defaclrole = (SELECT oid FROM pg_roles WHERE rolname = $1)
      AND defaclnamespace = 'public'::regnamespace AND defaclobjtype::text = kind
      AND entry.grantee = (SELECT oid FROM pg_roles WHERE rolname = $2)
)
"""
