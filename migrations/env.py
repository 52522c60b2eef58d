"""Alembic's entry: runs the migrations on a connection to the database of the configuration.

Each migration is a transaction of its own, so that the next try goes on after those that are done.
None waits long for a lock, for whoever comes after it would wait behind it: it gives up after a
moment, lets the others through, and tries again.
"""

import asyncio
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from migrations import MARK, driver_url, mark
from migrations.operations import read
from service.kit.database_limits import UNLIMITED
from service.kit.localization import in_language
from service.models import metadata
from sync_protocol.texts import Text

# Less than PostgreSQL's `deadlock_timeout`, a second: where a migration and a request wait for each
# other, the migration gives way.
LOCK_MS = 500
_PAUSE_S = 1.0
_TRIES = 300
# Longer than a request waits for a lock.
_TRIES_FOR_WRITERS = 20
# A lock that was not there in time, and one for which others waited in another order.
_IN_THE_WAY = ("55P03", "40P01")
_HELD = text("""
    SELECT l.relation::regclass::text AS name, l.pid, a.xact_start AS since
    FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid() AND c.relkind = 'r'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relnamespace = 'public'::regnamespace
        AND (CAST(:name AS text) IS NULL OR l.relation = to_regclass(CAST(:name AS text)))
    ORDER BY a.xact_start LIMIT 1
""")
_ALONE = text("SELECT pg_try_advisory_lock(hashtext('gridloop migrate'))")


def note(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Writes into the database which releases may run over the tables that a migration left, in its
    transaction.
    """
    assert ctx.connection is not None
    for revision in heads:
        if step.is_upgrade and ctx.connection.scalar(text(f"SELECT {MARK}")) != mark(revision):
            _wait_for_writers(ctx.connection)
        ctx.impl.execute(f"COMMENT ON TABLE alembic_version IS '{mark(revision)}'")


def _wait_for_writers(connection: Connection) -> None:
    """Waits until all transactions have ended that began over the tables as they were marked
    before, and lets no other begin until this one is through: what writes reads the mark first. So
    nothing is written over tables that are declared too new for it.

    Some of them may wait for what this migration holds: they give up before it does.
    """
    for left in range(_TRIES_FOR_WRITERS, -1, -1):
        try:
            with connection.begin_nested():
                connection.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
            return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY or not left:
                raise


def run(connection: Connection) -> None:
    """Migrates over a connection."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        transaction_per_migration=True,
        on_version_apply=note,
    )
    with context.begin_transaction():
        context.run_migrations()


def tell(text: Text) -> None:
    """Says something on standard error, in English and Chinese."""
    for language in ("en", "zh"):
        print(in_language(text, language), file=sys.stderr, flush=True)


async def alone(connection: AsyncConnection) -> None:
    """Waits until no other session migrates; asking again and again, for one that waits in a
    statement holds up an index that is built concurrently.
    """
    told = False
    while not await connection.scalar(_ALONE):
        await connection.rollback()
        if not told:
            tell(Text("Another ‘gridloop migrate’ is under way; this one waits until it is done."))
            told = True
        await asyncio.sleep(_PAUSE_S / 4)
    await connection.execute(text(f"SET lock_timeout = {LOCK_MS}"))
    await connection.commit()


class Held(NamedTuple):
    """A table that a session holds: which process of PostgreSQL it is, and since when its
    transaction goes on, None where this role may not see that.
    """

    table: str
    pid: int
    since: datetime | None


async def held(connection: AsyncConnection, statement: str) -> Held | None:
    """Who holds the table of a statement that could not get its lock, or, where the statement names
    none, the table that was held first.
    """
    [operation] = read([statement])
    row = (await connection.execute(_HELD, {"name": operation.table})).first()
    await connection.rollback()
    return None if row is None else Held(row.name, row.pid, row.since)


async def tell_of_waiting(connection: AsyncConnection, statement: str, left: int) -> Held | None:
    """Says who is in the way, and until when it is tried again."""
    until = datetime.now(UTC).astimezone() + timedelta(seconds=left * (_PAUSE_S + LOCK_MS / 1000))
    found = await held(connection, statement)
    if found is None:
        tell(
            Text(
                "Somebody held a table that is migrated; it is tried again until about {until}.",
                until=f"{until:%H:%M:%S}",
            )
        )
        return None
    since: Text | str = Text("a moment that this role may not see")
    if found.since is not None:
        since = f"{found.since.astimezone():%H:%M:%S}"
    tell(
        Text(
            "Session {pid} of PostgreSQL holds the table {table} since {since}; migrating tries"
            " again until it is free, and gives up at about {until}. ‘SELECT"
            " pg_terminate_backend({pid})’ ends that session.",
            pid=found.pid,
            table=found.table,
            since=since,
            until=f"{until:%H:%M:%S}",
        )
    )
    return found


async def connect_and_run() -> None:
    """Opens a connection of its own and migrates."""
    role = context.config.get_main_option("gridloop.role")
    url = driver_url(str(context.config.get_main_option("sqlalchemy.url")))
    server_settings = UNLIMITED.server_settings() | ({"role": role} if role else {})
    engine = create_async_engine(url, connect_args={"server_settings": server_settings})
    try:
        async with engine.connect() as connection:
            await alone(connection)
            told: list[Held | None] = []
            for left in range(_TRIES, -1, -1):
                try:
                    await connection.run_sync(run)
                    await connection.commit()
                    return
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY or not left:
                        raise
                    statement = error.statement or ""
                # Not within the `except`: what fails from here on has nothing to do with the lock.
                await connection.rollback()
                if left == _TRIES or await held(connection, statement) not in [*told, None]:
                    told.append(await tell_of_waiting(connection, statement, left))
                await asyncio.sleep(_PAUSE_S)
    finally:
        await engine.dispose()


asyncio.run(connect_and_run())
