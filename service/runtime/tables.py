"""Which tables a database has, and whether this release may run over them."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import migrations
from service.kit.database import Connection
from service.kit.database_errors import TablesTooNew
from service.kit.encryption_queries import refuse_unknown_keys
from service.kit.settings import Settings
from sync_protocol.texts import Text

# The revision of the tables, and the mark that says which releases may run over them, in one value
# that any statement can read along: NULL where nothing was migrated yet. Who reads it in a
# transaction keeps the table `alembic_version` from being locked to its end, and a migration locks
# that before it makes tables too new for others: so nothing is written over tables that are too
# new.
KEPT = f"(SELECT concat_ws(' ', version_num, {migrations.MARK}) FROM alembic_version)"


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

    @classmethod
    def read(cls, kept: str | None) -> "Tables":
        """What `KEPT` says."""
        revision, _, mark = (kept or "").partition(" ")
        return cls(revision or None, migrations.marked(mark))

    def refuse_too_new(self) -> None:
        """Raises `TablesTooNew` where this release may not run over them."""
        if self.too_new is not None:
            raise TablesTooNew(self.revision)


async def tables_of(connection: Connection) -> Tables:
    """Which tables a database has."""
    if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
        return Tables(None)
    return Tables.read(await connection.fetchval(f"SELECT {KEPT}"))


async def refuse_too_new(connection: Connection) -> None:
    """Raises `TablesTooNew` where this release may not run over the tables; to be called first in a
    transaction, which a migration that makes them too new waits for then.
    """
    Tables.read(await connection.fetchval(f"SELECT {KEPT}")).refuse_too_new()


async def look(
    acquired: AbstractAsyncContextManager[Connection],
    settings: Settings,
    also: Callable[[Connection], Awaitable[None]] | None = None,
    keys: bool = True,
) -> Tables:
    """What is asked before anything is done over a database: which tables it has, and, where this
    release may run over them, whether there are the keys by which it is encrypted (raises
    `KeyMissing`; `keys`: whether that matters), and what the caller asks `also`.

    Keys that are set and cannot be read are told without a database, too.
    """
    if keys and settings.has_keys:
        _ = settings.keyring
    async with acquired as connection:
        tables = await tables_of(connection)
        if tables.wrong is not None:
            return tables
        if keys:
            async with connection.transaction():  # the first start makes the first key
                await refuse_unknown_keys(connection, settings)
        if also is not None:
            await also(connection)
    return tables
