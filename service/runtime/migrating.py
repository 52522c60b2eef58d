"""Migrates a database, with the two roles that keep the service from changing its tables."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import asyncpg

import migrations
from migrations.roles import Migrated, Roles, migrate, refuse_others_than_the_owner
from service.audit.audit_log import record_operator
from service.kit.database import Connection
from service.kit.database_limits import UNLIMITED
from service.kit.settings import Settings
from service.runtime.postgres import as_role, role_of
from sync_protocol.texts import Text


class NewerTables(Exception):
    """The tables are of a release that this one does not know, so it migrates nothing; `text` says
    what to do.
    """

    def __init__(self, revision: str) -> None:
        self.text = Text(
            "The tables of the database are of a newer release ({revision}), which this one does"
            " not know; nothing was changed. Run the"
            " newer release, or restore a backup from before the upgrade.",
            revision=revision,
        )
        super().__init__(self.text)


class Tables(NamedTuple):
    """Which tables a database has. `revision`: None where it has none; `oldest`: the oldest
    revision whose processes may run over them, as the release says that migrated it.
    """

    revision: str | None
    oldest: str | None = None

    @property
    def are_newer(self) -> bool:
        """Whether they are of a release that this one does not know."""
        return self.revision is not None and self.revision not in migrations.revisions()

    @property
    def wrong(self) -> Text | None:
        """What is to be said where this release may not run over them; None where it may."""
        if self.revision is None:
            return Text("The database has no tables of Gridloop yet; run ‘gridloop migrate’ first.")
        if self.revision in migrations.revisions()[1:]:
            return Text(
                "The tables of the database are those of an older release ({revision}); run"
                " ‘gridloop migrate’ first.",
                revision=self.revision,
            )
        return self.too_new

    @property
    def too_new(self) -> Text | None:
        """What is to be said where they are of a newer release beside which this one may not
        run.
        """
        if not self.are_newer or self.oldest in migrations.revisions():
            return None
        return Text(
            "The tables of the database are of a newer release ({revision}), over which this one"
            " ({own}) may not run: it needs revision"
            " {oldest} at least. Start the newer release in its place. Nothing was changed.",
            revision=self.revision,
            own=migrations.revisions()[0],
            oldest=self.oldest or self.revision,
        )

    @property
    def warning(self) -> Text | None:
        """What is to be said where this release may run over newer ones for a while."""
        if not self.are_newer or self.too_new is not None:
            return None
        return Text(
            "The tables of the database are of a newer release ({revision}); this one ({own}) may"
            " run over them while processes are changed"
            " over. Start the newer release in its place soon.",
            revision=self.revision,
            own=migrations.revisions()[0],
        )


async def tables_of(connection: Connection) -> Tables:
    """Which tables a database has."""
    if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
        return Tables(None)
    row = await connection.fetchrow(
        f"SELECT version_num, {migrations.MARK} AS mark FROM alembic_version"
    )
    return (
        Tables(None) if row is None else Tables(row["version_num"], migrations.marked(row["mark"]))
    )


async def tables_missing(connection: Connection) -> Text | None:
    """What is to be said of a database over which this release may not run: it was not migrated, or
    is of a release too new. None where its tables are of this release, or of a newer one that lets
    this one run on during an upgrade.
    """
    return (await tables_of(connection)).wrong


class WouldLose(Exception):
    """The way back to an older revision would lose something, so nothing was changed; `text` says
    what, and what to do instead.
    """

    def __init__(self, item: migrations.Declared, oldest: str) -> None:
        self.text = Text(
            "To go back from revision {revision} would lose {what}; nothing was changed. A release"
            " of revision {oldest} or newer runs over"
            " the tables as they are; for an older one restore a backup from before the upgrade.",
            revision=item.revision,
            what=item.loses or "",
            oldest=oldest,
        )
        super().__init__(self.text)


def _is_back(tables: Tables, to: str) -> bool:
    """Whether a revision is older than what a database has; raises `WouldLose` where the way there
    would lose something.
    """
    if to == "head" or tables.revision is None:
        return False
    for item in reversed(migrations.between(to, tables.revision)):
        if item.loses is not None:
            raise WouldLose(item, migrations.compatible_from(tables.revision))
    return bool(migrations.between(to, tables.revision))


def migrate_embedded(settings: Settings, url: str, to: str = "head") -> Settings:
    """Migrates a database of the embedded server; returns settings that connect as the two roles.

    `url` is that of its superuser. Of `to` and what is raised see `migrate_given`.
    """
    roles = Roles(settings.owner_role, settings.service_role)
    if to != "head":
        migrations.between(None, to)
    tables = asyncio.run(tables_at(url))
    if not _are_newer(tables):
        back = _is_back(tables, to)
        with _noted(url):
            migrate(url, roles, to=to, back=back)
    service, owner = as_role(url, roles.service), as_role(url, roles.owner)
    return settings.model_copy(update={"database_url": service, "owner_database_url": owner})


def migrate_given(settings: Settings, to: str = "head") -> Migrated | None:
    """Migrates the database of the settings, up or back to a revision: with an owner's URL, both
    roles are set right, too. Newer tables over which this release may run stay as they are.

    Raises `NotTheOwner` where the role that migrates may not, `NewerTables` where the tables are
    too new, `WouldLose` where the way back would lose something, `migrations.NoSuchRevision`.
    """
    url = str(settings.database_url)
    tables = asyncio.run(tables_at(settings.owner_url))
    if _are_newer(tables):
        return None
    if to != "head":
        migrations.between(None, to)
    back = _is_back(tables, to)
    if settings.owner_database_url is None:
        asyncio.run(refuse_others_than_the_owner(url))
        with _noted(url):
            if back:
                migrations.downgrade(url, to)
            else:
                migrations.upgrade(url, to=to)
        return None
    service = role_of(url) or settings.service_role
    password = urlsplit(url).password
    roles = Roles(settings.owner_role, service)
    with _noted(settings.owner_database_url):
        return migrate(
            settings.owner_database_url, roles, unquote(password) if password else None, to, back
        )


def _are_newer(tables: Tables) -> bool:
    """Whether there is nothing to migrate because the tables are of a newer release; raises
    `NewerTables` where this one may not run.
    """
    if tables.too_new is not None:
        raise NewerTables(str(tables.revision))
    return tables.are_newer


@contextmanager
def _noted(url: str) -> Iterator[None]:
    """Leaves a line in the trail if what is done inside changes the revision of the tables, also
    where it ends half-way.
    """
    before = asyncio.run(tables_at(url)).revision
    try:
        yield
    finally:
        asyncio.run(_note_revision(url, before))


async def tables_at(url: str) -> Tables:
    """Which tables the database at a URL has."""
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        return await tables_of(connection)
    finally:
        await connection.close()


_HAS_ROOM = """
    SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('audit')
        AND attname = 'units' AND NOT attisdropped)
"""


async def _note_revision(url: str, before: str | None) -> None:
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        after = (await tables_of(connection)).revision
        # Tables of older releases have no room for all that a line of the trail says today.
        has_room = await connection.fetchval(_HAS_ROOM)
        if after is not None and after != before and has_room:
            await record_operator(connection, datetime.now(UTC), "migrated", after)
    finally:
        await connection.close()
