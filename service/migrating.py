"""Migrates a database, with the two roles that keep the service from changing its tables."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import asyncpg

import migrations
from migrations.roles import Migrated, Roles, migrate, refuse_others_than_the_owner
from service.audit.trail import record_operator
from service.database import Connection
from service.limits import UNLIMITED
from service.postgres import as_role, role_of
from service.settings import Settings
from sync_protocol.texts import Text


class NewerTables(Exception):
    """The tables are of a release that this one does not know, so it migrates nothing; `text` says what to do."""

    def __init__(self, revision: str) -> None:
        self.text = Text(
            "The tables of the database are of a newer release ({revision}), which this one does not know; nothing was changed. Run the"
            " newer release, or restore a backup from before the upgrade.",
            revision=revision,
        )
        super().__init__(self.text)


async def revision_of(connection: Connection) -> str | None:
    """The revision of a database's tables; None when it has none."""
    if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
        return None
    found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return found


async def tables_missing(connection: Connection) -> Text | None:
    """What is to be said of a database that was not migrated; None where its tables are of this release, or of a newer one: during an
    upgrade processes of the release before go on over them."""
    revision = await revision_of(connection)
    if revision is None:
        return Text("The database has no tables of Gridloop yet; run ‘gridloop migrate’ first.")
    if revision in migrations.revisions()[1:]:
        return Text(
            "The tables of the database are those of an older release ({revision}); run ‘gridloop migrate’ first.", revision=revision
        )
    return None


def migrate_embedded(settings: Settings, url: str) -> Settings:
    """Migrates a database of the embedded server; returns settings that connect as the two roles.

    `url` is that of its superuser.
    """
    roles = Roles(settings.owner_role, settings.service_role)
    with _noted(url):
        migrate(url, roles)
    service, owner = as_role(url, roles.service), as_role(url, roles.owner)
    return settings.model_copy(update={"database_url": service, "owner_database_url": owner})


def migrate_given(settings: Settings) -> Migrated | None:
    """Migrates the database of the settings: with an owner's URL, both roles are set right, too.

    Raises `NotTheOwner` where the role that migrates may not.
    """
    url = str(settings.database_url)
    if settings.owner_database_url is None:
        asyncio.run(refuse_others_than_the_owner(url))
        with _noted(url):
            migrations.upgrade(url)
        return None
    service = role_of(url) or settings.service_role
    password = urlsplit(url).password
    roles = Roles(settings.owner_role, service)
    with _noted(settings.owner_database_url):
        return migrate(settings.owner_database_url, roles, unquote(password) if password else None)


@contextmanager
def _noted(url: str) -> Iterator[None]:
    """Leaves a line in the trail if what is done inside changes the revision of the tables; raises `NewerTables` before it is done."""
    before = asyncio.run(_revision_at(url))
    if before is not None and before not in migrations.revisions():
        raise NewerTables(before)
    yield
    asyncio.run(_note_revision(url, before))


async def _revision_at(url: str) -> str | None:
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        return await revision_of(connection)
    finally:
        await connection.close()


async def _note_revision(url: str, before: str | None) -> None:
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        after = await revision_of(connection)
        if after is not None and after != before:
            await record_operator(connection, datetime.now(UTC), "migrated", after)
    finally:
        await connection.close()
