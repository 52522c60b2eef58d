"""Migrates a database, with the two roles that keep the service from changing its tables."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import unquote, urlsplit

import asyncpg

import migrations
from migrations.roles import Migrated, NotTheOwner, Roles, migrate, refuse_others_than_the_owner
from service.audit.audit_log import record_operator
from service.kit.database import Connection
from service.kit.database_errors import (
    WITHOUT_RIGHTS,
    behind,
    fault_of,
    first_of_database,
    said,
)
from service.kit.database_limits import UNLIMITED
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.runtime.postgres import as_role, role_of
from service.runtime.tables import Tables, tables_of
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


class WouldLose(Exception):
    """The way back from the revision of a database to an older one would lose something, so nothing
    was changed; `text` says all that it would lose, and what to do instead.
    """

    def __init__(self, revision: str, to: str, items: Sequence[migrations.Declared]) -> None:
        self.text = Text(
            "The database is at revision {revision}. To go back to {to} would lose: {losses}."
            " Nothing was changed. A release of revision {oldest} or newer runs over the tables as"
            " they are; for an older one restore a backup from before the upgrade.",
            revision=revision,
            to=to,
            losses=[
                Text("{revision}: {what}", revision=item.revision, what=item.loses)
                for item in items
            ],
            oldest=migrations.compatible_from(revision),
        )
        super().__init__(self.text)


class MigrationEnded(Exception):
    """A migration ended half-way by an error of the database; `text` says which, how far it has
    come, and what to do.
    """

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


class MigrationInterrupted(KeyboardInterrupt):
    """The same by Ctrl-C or a signal."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


def refuse_losses(revision: str, to: str) -> None:
    """Raises `WouldLose` where going back from a revision to another would lose something."""
    items = [item for item in migrations.between(to, revision)[::-1] if item.loses is not None]
    if items:
        raise WouldLose(revision, to, items)


def _is_back(tables: Tables, to: str) -> bool:
    """Whether a revision is older than what a database has; raises `WouldLose` where the way there
    would lose something.
    """
    if tables.revision is None or not goes_back(tables.revision, to):
        return False
    refuse_losses(tables.revision, to)
    return True


def goes_back(revision: str | None, to: str) -> bool:
    """Whether a revision is older than that of a database, of those that this release knows."""
    known = migrations.revisions()
    return revision in known and to in known and known.index(to) > known.index(revision)


def migrate_embedded(settings: Settings, url: str, to: str = "head") -> Settings:
    """Migrates a database of the embedded server; returns settings that connect as the two roles.

    `url` is that of its superuser. Of `to` and what is raised see `migrate_given`.
    """
    roles = Roles(settings.owner_role, settings.service_role)
    if to != "head":
        migrations.between(None, to)
    tables = asyncio.run(tables_at(url))
    if not _are_newer(tables, to):
        back = _is_back(tables, to)
        with _noted(url):
            migrate(url, roles, to=to, back=back)
    return over_embedded(settings, url)


def over_embedded(settings: Settings, url: str) -> Settings:
    """Settings that connect to a database of the embedded server, whose superuser's URL is given,
    as the two roles.
    """
    service, owner = as_role(url, settings.service_role), as_role(url, settings.owner_role)
    return settings.model_copy(update={"database_url": service, "owner_database_url": owner})


def migrate_given(settings: Settings, to: str = "head") -> Migrated | None:
    """Migrates the database of the settings, up or back to a revision: with an owner's URL, both
    roles are set right, too. Newer tables over which this release may run stay as they are.

    Raises `NotTheOwner` where the role that migrates may not, `NewerTables` where the tables are
    too new, `WouldLose` where the way back would lose something, `migrations.NoSuchRevision`;
    `MigrationEnded` and `MigrationInterrupted` where it was begun and may be run again.
    """
    if to != "head":
        migrations.between(None, to)
    url = str(settings.database_url)
    tables = asyncio.run(tables_at(settings.owner_url))
    if _are_newer(tables, to):
        return None
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


def _are_newer(tables: Tables, to: str) -> bool:
    """Whether there is nothing to migrate because the tables are of a newer release; raises
    `NewerTables` where this one may not run, or a revision is asked for, to which it knows no way.
    """
    if tables.too_new is not None or (tables.are_newer and to != "head"):
        raise NewerTables(str(tables.revision))
    return tables.are_newer


@contextmanager
def _noted(url: str) -> Iterator[None]:
    """Leaves a line in the trail if what is done inside changes the revision of the tables, also
    where it ends half-way. Raises `MigrationEnded` and `MigrationInterrupted` then.
    """
    before = asyncio.run(tables_at(url)).revision
    try:
        yield
    except NotTheOwner:
        raise
    except BaseException as error:
        ended = _ended(error, url)
        with suppress(Exception):  # the database may be away; what ended it is told first
            asyncio.run(_note_revision(url, before))
        if ended is None:
            raise
        raise ended from error
    asyncio.run(_note_revision(url, before))


def _ended(error: BaseException, url: str) -> MigrationEnded | MigrationInterrupted | None:
    """What is to be said of what ended a migration half-way; None for what nobody foresaw."""
    if _is_interrupt(error):
        return MigrationInterrupted(
            Text(
                "Migrating was interrupted. {reached} Run ‘gridloop migrate’ again: it goes on"
                " where it was.",
                reached=_reached(url),
            )
        )
    found = first_of_database(error)
    if found is None:
        return None
    fault = fault_of(found)
    what: Text | str = Text("PostgreSQL refused a statement.") if fault is None else fault.text
    if isinstance(found, WITHOUT_RIGHTS):
        what = Text("The role that migrates may not do this.")
    return MigrationEnded(
        Text(
            "Migrating ended half-way. {what} (“{said}”) {reached} Put that right, then run"
            " ‘gridloop migrate’ again: it goes on where it was.",
            what=what,
            said=said(found),
            reached=_reached(url),
        )
    )


def _is_interrupt(error: BaseException) -> bool:
    """Whether a signal ended it: what is under way is cancelled then, and may end in other
    errors.
    """
    for each in behind(error):
        if isinstance(each, TimeoutError):
            return False  # it cancels what took too long
        if isinstance(each, (KeyboardInterrupt, asyncio.CancelledError)):
            return True
    return False


_POSITIONS = "SELECT name, rows FROM rewrite_position ORDER BY begun_at"


async def rewriting(connection: Connection) -> list[Text]:
    """How far each rewrite has come that was begun and is not through."""
    if await connection.fetchval("SELECT to_regclass('rewrite_position') IS NULL"):
        return []
    return [
        Text(
            "{table}: {rows} rows done",
            table=row["name"].removeprefix("rewrite "),
            rows=f"{row['rows']:,}",
        )
        for row in await connection.fetch(_POSITIONS)
    ]


async def rewriting_at(url: str) -> list[Text]:
    """The same of the database at a URL."""
    async with connected(url) as connection:
        return await rewriting(connection)


def _reached(url: str) -> Text:
    """How far a migration has come, a sentence."""

    async def look() -> Text:
        async with connected(url, timeout_s=10) as connection:
            revision = (await tables_of(connection)).revision
            begun = await rewriting(connection)
        if revision is None:
            return Text("The database has no tables yet.")
        if not begun:
            return Text("The database is at revision {revision}.", revision=revision)
        return Text(
            "The database is at revision {revision}, and this was begun for the next: {begun}.",
            revision=revision,
            begun=begun,
        )

    try:
        return asyncio.run(look())
    except Exception:
        return Text("How far it has come cannot be read from the database just now.")


async def tables_at(url: str) -> Tables:
    """Which tables the database at a URL has."""
    async with connected(url) as connection:
        return await tables_of(connection)


@asynccontextmanager
async def connected(url: str, timeout_s: float = 60) -> AsyncIterator[Connection]:
    """A connection of its own, without limits of time."""
    connection = await asyncpg.connect(
        url, timeout=timeout_s, server_settings=UNLIMITED.server_settings()
    )
    try:
        yield connection
    finally:
        await connection.close()


_HAS_ROOM = """
    SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('audit')
        AND attname = 'units' AND NOT attisdropped)
"""


async def _note_revision(url: str, before: str | None) -> None:
    async with connected(url) as connection:
        after = (await tables_of(connection)).revision
        # Tables of older releases have no room for all that a line of the trail says today.
        has_room = await connection.fetchval(_HAS_ROOM)
        if after is not None and after != before and has_room:
            await record_operator(connection, utc_now(), "migrated", after)
