"""Alembic's entry: runs the migrations on the connection that `migrations.upgrade` hands over, or on GRIDLOOP_DATABASE_URL."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from migrations import driver_url
from service.limits import UNLIMITED
from service.models import metadata


def run(connection: Connection) -> None:
    """Migrates over a connection."""
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    """Opens a connection of its own and migrates."""
    role = context.config.get_main_option("gridloop.role")
    url = driver_url(str(context.config.get_main_option("sqlalchemy.url")))
    server_settings = UNLIMITED.server_settings() | ({"role": role} if role else {})
    engine = create_async_engine(url, connect_args={"server_settings": server_settings})
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect_and_run())
