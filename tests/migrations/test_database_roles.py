"""The service's role owns nothing and changes neither the trail nor what guards it; `gridloop
migrate` makes it so.
"""

import asyncio
import base64
from collections.abc import AsyncIterator

import asyncpg
import pytest

from migrations.role_sql import scram_verifier
from migrations.roles import Migrated, NotTheOwner, Roles, migrate
from service.audit.queries import may_change_trail
from service.runtime.postgres import as_role, fresh_database
from simulator.places import SUPERVISOR
from simulator.throwaway import ROLES
from tests.conftest import keep_from_temporary_tables
from tests.world import World

OLD_LINE = (
    "INSERT INTO audit SELECT gen_random_uuid(), now() - make_interval(days => 400),"
    " 'admin', 'visits', '{}', 1, '', ''"
)
NEW_LINE = "INSERT INTO audit SELECT gen_random_uuid(), now(), 'admin', 'visits', '{}', 1, '', ''"

REFUSED = (
    "UPDATE audit SET staff_code = 'x'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE at < now() - interval '300 days'",
    "TRUNCATE audit",
    "SELECT set_config('gridloop.purging', 'on', false); DELETE FROM audit",
    "INSERT INTO audit SELECT * FROM audit ON CONFLICT (id) DO UPDATE SET staff_code = 'x'",
    "MERGE INTO audit USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
    "DROP TRIGGER audit_only_grows ON audit",
    "ALTER TABLE audit DISABLE TRIGGER audit_only_grows",
    "ALTER TABLE audit DISABLE TRIGGER ALL",
    "DROP TABLE audit",
    "DROP SCHEMA public CASCADE",
    "CREATE TRIGGER mine BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
    "CREATE RULE mine AS ON INSERT TO audit DO INSTEAD NOTHING",
    "CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN"
    " RETURN OLD; END'",
    "ALTER FUNCTION audit_only_grows() RENAME TO other",
    "SET session_replication_role = replica",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE mine (one integer)",
    "CREATE TEMPORARY TABLE mine (one integer)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE SCHEMA mine",
    "ALTER TABLE visit ADD COLUMN mine integer",
    "DROP INDEX visit_days",
    "TRUNCATE visit",
    "UPDATE alembic_version SET version_num = '0001'",
    "COPY audit TO PROGRAM 'cat'",
    "COPY visit FROM PROGRAM 'true'",
    "COPY visit TO '/visits'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT * FROM pg_authid",
    f"SET ROLE {ROLES.owner}",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    f"GRANT {ROLES.owner} TO {ROLES.service}",
    f"ALTER ROLE {ROLES.service} SUPERUSER",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION dblink",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SELECT pg_reload_conf()",
    "CREATE SUBSCRIPTION mine CONNECTION '' PUBLICATION mine",
)


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the service has it, over a trail of two lines."""
    connection = await asyncpg.connect(as_role(database_url, ROLES.service))
    await connection.execute(OLD_LINE)
    await connection.execute(NEW_LINE)
    yield connection
    await connection.close()


@pytest.mark.parametrize("sql", REFUSED)
async def test_the_role_of_the_service_is_refused(service: asyncpg.Connection, sql: str) -> None:
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
        await service.execute(sql)
    assert await service.fetchval("SELECT count(*) FROM audit") == 2


async def test_the_role_of_the_service_owns_nothing_and_inherits_nothing(
    service: asyncpg.Connection,
) -> None:
    owned = (
        "SELECT count(*) FROM pg_shdepend WHERE refobjid = current_user::regrole AND deptype = 'o'"
    )
    assert await service.fetchval(owned) == 0
    assert (
        await service.fetchval(
            "SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole"
        )
        == 0
    )
    assert await may_change_trail(service) is None


async def test_the_owner_itself_deletes_no_line_before_its_time(
    database_url: str, service: asyncpg.Connection
) -> None:
    owner = await asyncpg.connect(as_role(database_url, ROLES.owner))
    try:
        assert await may_change_trail(owner) == ROLES.owner
        for sql in ("DELETE FROM audit", "UPDATE audit SET count = 0", "TRUNCATE audit"):
            with pytest.raises(asyncpg.RaiseError, match="only added to"):
                await owner.execute(f"SELECT set_config('gridloop.purging', 'on', false); {sql}")
        assert (
            await owner.execute("DELETE FROM audit WHERE at < now() - interval '180 days'")
            == "DELETE 1"
        )
    finally:
        await owner.close()


async def test_every_table_is_readable_and_writable_but_for_those_that_only_grow(
    service: asyncpg.Connection,
) -> None:
    rows = await service.fetch(
        """
        SELECT relname, array_agg(kind ORDER BY kind) AS rights FROM pg_class, unnest(
            '{DELETE,INSERT,REFERENCES,SELECT,TRIGGER,TRUNCATE,UPDATE}'::text[]) AS kind
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND has_table_privilege(oid, kind) GROUP BY relname
        """
    )
    rights = {row["relname"]: row["rights"] for row in rows}
    assert len(rights) > 20
    assert (rights.pop("audit"), rights.pop("alembic_version")) == (
        ["INSERT", "SELECT"],
        ["SELECT"],
    )
    assert {
        name for name, kinds in rights.items() if kinds != ["DELETE", "INSERT", "SELECT", "UPDATE"]
    } == set()


async def test_the_app_in_every_test_runs_as_that_role(world: World) -> None:
    async with world.state.database.reading() as connection:
        assert await connection.fetchval("SELECT current_user") == ROLES.service
    assert (await world.get("/v1/households", SUPERVISOR)).status_code == 200


# --------------------------------------------------------------------------------- gridloop migrate


def named(url: str, tail: str) -> Roles:
    """Roles of a test's own: they belong to the whole server."""
    name = url.partition("?")[0].rpartition("/")[2]
    return Roles(f"{name}_owner_{tail}", f"{name}_service_{tail}")


async def drop(url: str, *names: str) -> None:
    connection = await asyncpg.connect(url)
    for name in names:
        if await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name
        ):
            await connection.execute(
                f'REASSIGN OWNED BY "{name}" TO postgres; DROP OWNED BY "{name}"; DROP ROLE'
                f' "{name}"'
            )
    await connection.close()


async def migrated(url: str, roles: Roles) -> Migrated:
    return await asyncio.to_thread(migrate, url, roles)


async def test_migrating_takes_over_a_database_that_a_superuser_owned_and_again_changes_nothing(
    database_url: str,
) -> None:
    roles = named(database_url, "a")
    superuser = await asyncpg.connect(database_url)
    tables = (
        "SELECT DISTINCT relowner::regrole::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    try:
        await superuser.execute(f"REASSIGN OWNED BY {ROLES.owner} TO postgres")
        assert await migrated(database_url, roles) == (roles.owner, [])
        assert await superuser.fetchval(tables) == roles.owner
        before = await superuser.fetch("SELECT xmin::text, relname FROM pg_class ORDER BY oid")
        assert await migrated(database_url, roles) == (roles.owner, [])
        assert (
            await superuser.fetch("SELECT xmin::text, relname FROM pg_class ORDER BY oid") == before
        )
        # Its owner alone suffices for the next one.
        assert await migrated(as_role(database_url, roles.owner), roles) == (roles.owner, [])
    finally:
        await superuser.close()
        await drop(database_url, *roles)


async def test_a_table_of_a_later_migration_is_granted_too(database_url: str) -> None:
    owner = await asyncpg.connect(as_role(database_url, ROLES.owner))
    await owner.execute("CREATE TABLE later (one integer)")
    await owner.close()
    service = await asyncpg.connect(as_role(database_url, ROLES.service))
    assert await service.execute("INSERT INTO later VALUES (1)") == "INSERT 0 1"
    await service.close()


async def test_what_was_granted_by_hand_beyond_it_is_taken_back(database_url: str) -> None:
    superuser = await asyncpg.connect(database_url)
    await superuser.execute(
        f"GRANT ALL ON audit TO {ROLES.service}; GRANT CREATE ON SCHEMA public TO {ROLES.service};"
        f" REVOKE INSERT ON visit FROM {ROLES.service}"
    )
    await superuser.close()
    assert (await migrated(database_url, ROLES)).missing == []
    service = await asyncpg.connect(as_role(database_url, ROLES.service))
    assert await service.fetchval("SELECT has_table_privilege('visit', 'INSERT')")
    assert not await service.fetchval("SELECT has_schema_privilege('public', 'CREATE')")
    assert await may_change_trail(service) is None
    await service.close()


async def test_an_owner_who_may_make_no_roles_is_told_the_statements(
    server: str, database_url: str
) -> None:
    """A database of a plain owner, as a provider hands it out; the administrator runs what is said,
    and nothing is left.
    """
    roles = named(database_url, "b")
    name = f"{roles.owner}_db"
    plain = await fresh_database(server, name)
    administrator = await asyncpg.connect(plain)
    try:
        await administrator.execute(
            f'CREATE ROLE "{roles.owner}" LOGIN; GRANT CREATE ON SCHEMA public TO "{roles.owner}"'
        )
        url = as_role(plain, roles.owner)
        first = await asyncio.to_thread(migrate, url, roles, "a pass'word")
        assert first.owner == roles.owner
        assert (
            f"CREATE ROLE \"{roles.service}\" LOGIN PASSWORD '(the one in GRIDLOOP_DATABASE_URL)';"
            in first.missing
        )
        assert f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;" in first.missing
        assert "a pass'word" not in "".join(first.missing)
        for statement in first.missing:
            await administrator.execute(statement)
        assert await migrated(url, roles) == (roles.owner, [])
        service = await asyncpg.connect(as_role(plain, roles.service))
        assert await may_change_trail(service) is None
        assert await service.fetchval("SELECT count(*) FROM audit") == 0
        await service.close()
    finally:
        await administrator.close()
        connection = await asyncpg.connect(server)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()
        await drop(server, *roles)


async def test_a_role_without_any_right_on_the_schema_is_refused_before_anything_is_changed(
    server: str, database_url: str
) -> None:
    name = f"{named(database_url, 'c').owner}_db"
    plain = await fresh_database(server, name)
    try:
        with pytest.raises(NotTheOwner, match=ROLES.service):
            await migrated(as_role(plain, ROLES.service), Roles("nobody", "nobody"))
    finally:
        connection = await asyncpg.connect(server)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


async def test_a_new_role_has_the_password_of_the_url(database_url: str) -> None:
    roles, password = named(database_url, "d"), "p ä ss'word"
    superuser = await asyncpg.connect(database_url)
    kept = "SELECT rolpassword FROM pg_authid WHERE rolname = $1"
    try:
        await asyncio.to_thread(migrate, database_url, roles, password)
        ours = await superuser.fetchval(kept, roles.service)
        # What PostgreSQL itself makes of the password.
        await superuser.execute(f"ALTER ROLE {roles.service} PASSWORD 'p ä ss''word'")
        theirs = await superuser.fetchval(kept, roles.service)
        assert [scram_verifier(password, salt_of(value)) for value in (ours, theirs)] == [
            ours,
            theirs,
        ]
    finally:
        await superuser.close()
        await drop(database_url, *roles)


def salt_of(verifier: str) -> bytes:
    return base64.b64decode(verifier.split("$")[1].partition(":")[2])


async def test_a_clone_of_a_database_takes_temporary_tables_away_as_migrating_does(
    server: str, database_url: str
) -> None:
    await keep_from_temporary_tables(database_url)
    connection = await asyncpg.connect(server)
    name = database_url.partition("?")[0].rpartition("/")[2]
    assert not await connection.fetchval(
        "SELECT has_database_privilege('public', $1, 'TEMPORARY')", name
    )
    await connection.close()
