"""Alembic's entry: runs the migrations on a connection to the database of the configuration.

Each migration is a transaction of its own, so that the next try goes on after those that are done.
None waits long for a lock, for whoever comes after it would wait behind it: it gives up after a
moment, lets the others through, and tries again.
"""

import asyncio
import sys
from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from migrations import driver_url, mark
from service.kit.database_limits import UNLIMITED
from service.models import metadata

# Less than PostgreSQL's `deadlock_timeout`, a second: where a migration and a request wait for each
# other, the migration gives way.
LOCK_MS = 500
_PAUSE_S = 1.0
_TRIES = 300
# A lock that was not there in time, and one for which others waited in another order.
_IN_THE_WAY = ("55P03", "40P01")
_ALONE = text("SELECT pg_try_advisory_lock(hashtext('gridloop migrate'))")


def note(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Writes into the database which releases may run over the tables that a migration left, in its
    transaction.
    """
    for revision in heads:
        ctx.impl.execute(f"COMMENT ON TABLE alembic_version IS '{mark(revision)}'")


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


async def alone(connection: AsyncConnection) -> None:
    """Waits until no other session migrates; asking again and again, for one that waits in a
    statement holds up an index that is built concurrently.
    """
    while not await connection.scalar(_ALONE):
        await connection.rollback()
        await asyncio.sleep(_PAUSE_S / 4)
    await connection.execute(text(f"SET lock_timeout = {LOCK_MS}"))
    await connection.commit()


async def connect_and_run() -> None:
    """Opens a connection of its own and migrates."""
    role = context.config.get_main_option("gridloop.role")
    url = driver_url(str(context.config.get_main_option("sqlalchemy.url")))
    server_settings = UNLIMITED.server_settings() | ({"role": role} if role else {})
    engine = create_async_engine(url, connect_args={"server_settings": server_settings})
    try:
        async with engine.connect() as connection:
            await alone(connection)
            for left in range(_TRIES, -1, -1):
                try:
                    await connection.run_sync(run)
                    await connection.commit()
                    return
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY or not left:
                        raise
                    await connection.rollback()
                    if left == _TRIES:
                        print(
                            "Somebody holds a table that is migrated; trying again until it is"
                            " free.",
                            file=sys.stderr,
                        )
                    await asyncio.sleep(_PAUSE_S)
    finally:
        await engine.dispose()


asyncio.run(connect_and_run())
