"""The database of a command: which one it is, whether it is there, and whether its tables and keys
are.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg
from rich.console import Console

from service.cli.refusals import WRONG_USE, Refusal, say
from service.kit.database import Connection, Database, open_pool
from service.kit.database_errors import fault_of, said
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.runtime.clocks import read_clocks
from service.runtime.migrating import (
    MigrationInterrupted,
    connected,
    migrate_embedded,
    over_embedded,
    tables_at,
)
from service.runtime.postgres import PostgresFailed, database_of, embedded, has_database
from service.runtime.stopping import stopping_in_order
from service.runtime.tables import look, refuse_too_new
from service.writes import timelines
from sync_protocol.texts import Text, text_of

T = TypeVar("T")
# At most, and no more than are needed: an import has one for its lock, one for each group of
# villages that is being written, one to compare the next, and one to say how far it is.
_CONNECTIONS = 5
log = logging.getLogger("gridloop")

# The database of the demo in its data folder.
DEMO = "gridloop_demo"
SERVICE, OWNER = "GRIDLOOP_DATABASE_URL", "GRIDLOOP_OWNER_DATABASE_URL"
AS_ROOT = Text(
    "This runs as root: better start Gridloop as an ordinary user. An embedded PostgreSQL runs as"
    " the user gridloop-postgres."
)


@contextmanager
def database_url(
    settings: Settings, makes: bool = False, migrate: bool = False, superuser: bool = False
) -> Iterator[Settings]:
    """The settings with a database: the server's own, or the embedded one.

    `makes`: whether the command makes a data folder where there is none; it is refused otherwise,
    for it is more likely another one. `migrate`: whether the embedded one is migrated; older tables
    are refused otherwise, as they are on a server of one's own. `superuser`: its URL is that of its
    superuser, for a command that migrates by itself.
    """
    if settings.database_url is None and settings.owner_database_url is not None:
        raise Refusal(
            Text(
                "GRIDLOOP_OWNER_DATABASE_URL is set, but GRIDLOOP_DATABASE_URL is not: that would"
                " be the embedded database of the folder {folder}. Set GRIDLOOP_DATABASE_URL to the"
                " same database as the role of the service, or unset both.",
                folder=settings.data.absolute(),
            ),
            WRONG_USE,
        )
    if not settings.database_url:
        if os.geteuid() == 0:
            say(Console(stderr=True), AS_ROOT, "yellow")
        if not makes:
            _refuse_empty(settings.data)
    try:
        with stopping_in_order(), _telling_how_far():
            if settings.database_url:
                yield settings
                return
            with embedded(settings.data) as url:
                if not superuser and asyncio.run(_is_of_demo(url, settings.demo, makes)):
                    url = database_of(url, DEMO)  # what `gridloop demo` has kept
                if superuser:
                    yield settings.model_copy(update={"database_url": url})
                elif migrate:
                    yield migrate_embedded(settings, url)
                else:
                    wrong = asyncio.run(tables_at(url)).wrong
                    if wrong is not None:
                        raise Refusal(wrong)
                    yield over_embedded(settings, url)
    except PostgresFailed as error:
        raise Refusal(text_of(error)) from None


async def _is_of_demo(url: str, demo: bool, makes: bool) -> bool:
    """Whether a data folder's database is that of `gridloop demo`: for the demo itself where it is
    there, and for whoever looks at a folder that has no other.
    """
    if not await has_database(url, DEMO):
        return False
    if demo or makes:
        return demo
    connection = await asyncpg.connect(url)
    try:
        is_there = await connection.fetchval("SELECT to_regclass('unit') IS NOT NULL")
        return not (is_there and await connection.fetchval("SELECT EXISTS (SELECT FROM unit)"))
    finally:
        await connection.close()


@contextmanager
def _telling_how_far() -> Iterator[None]:
    """Says how far a migration has come that a signal ends, before the signal takes effect."""
    try:
        yield
    except MigrationInterrupted as error:
        say(Console(), error.text, "yellow")
        raise


def _refuse_empty(folder: Path) -> None:
    if not os.path.lexists(
        folder / "postgres"
    ):  # a link that leads nowhere is told of where the database is started
        raise Refusal(
            Text(
                "There is no database in the folder {folder}. Name its folder with --data or"
                " GRIDLOOP_DATA, or a database with"
                " GRIDLOOP_DATABASE_URL; ‘gridloop serve’ and ‘gridloop roster load’ make a new"
                " one.",
                folder=folder.absolute(),
            )
        )


async def reach(url: str, setting: str) -> None:
    """Raises `Refusal`, which names the setting, unless a database can be connected to. No text has
    a password.
    """
    try:
        await (await asyncpg.connect(url, timeout=10)).close()
    except asyncpg.InvalidAuthorizationSpecificationError:
        raise Refusal(
            Text(
                "PostgreSQL does not let the role of {setting} in; check the role and its password"
                " in that URL. Where the role is not there yet, ‘gridloop migrate’ with"
                " GRIDLOOP_OWNER_DATABASE_URL makes it.",
                setting=setting,
            )
            if setting == SERVICE
            else Text(
                "PostgreSQL does not let the role of {setting} in; check the role and its password"
                " in that URL.",
                setting=setting,
            )
        ) from None
    except asyncpg.InvalidCatalogNameError:
        raise Refusal(
            Text(
                "There is no such database as {setting} names; check the name, or let an"
                " administrator make it.",
                setting=setting,
            )
        ) from None
    except (asyncpg.InterfaceError, ValueError):
        raise Refusal(
            Text(
                "{setting} is no URL of a PostgreSQL database; write"
                " postgresql://ROLE:PASSWORD@HOST/DATABASE.",
                setting=setting,
            ),
            WRONG_USE,
        ) from None
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        fault = fault_of(error)
        if isinstance(error, asyncpg.PostgresError) and fault is not None:
            raise Refusal(
                Text(
                    "The database of {setting} cannot be used: {trouble} PostgreSQL says: {said}."
                    " What to do about ‘{name}’ stands in docs/operations/faults.md.",
                    setting=setting,
                    trouble=fault.text,
                    said=said(error),
                    name=fault.name,
                )
            ) from None
        raise Refusal(
            Text(
                "The database of {setting} cannot be reached: {why}. Check host and port in that"
                " URL, and whether PostgreSQL runs.",
                setting=setting,
                why=_why(error),
            )
        ) from None


def _why(error: Exception) -> Text | str:
    """Why no connection came about, for people."""
    match error:
        case FileNotFoundError():
            return Text("there is no such socket")
        case socket.gaierror():
            return Text("the host name is unknown")
        case ConnectionRefusedError():
            return Text("nobody listens there")
        case TimeoutError():
            return Text("nobody answered in time")
    return said(error)


async def with_database(
    settings: Settings,
    work: Callable[[Database], Awaitable[T]],
    keys: bool = False,
    owner: bool = False,
    clock: bool = True,
) -> T:
    """Does a command's work over a database that can be reached and has its tables; raises
    `Refusal`.

    `keys`: also that its keys are known, for a command that encrypts something. `owner`: that its
    owner can connect, if one is set. `clock`: that the clock is right, for all that store something
    by it, or clear what is old.
    """
    await reach(str(settings.database_url), SERVICE)
    if owner and settings.owner_database_url is not None:
        await reach(settings.owner_database_url, OWNER)
    pool = await open_pool(str(settings.database_url), _CONNECTIONS, init=timelines.note_timeline)
    try:
        database = Database(pool, look_first=refuse_too_new)
        right = partial(refuse_wrong_clock, settings=settings) if clock else None
        tables = await look(database.reading(), settings, right, keys)
        if tables.wrong is not None:
            raise Refusal(tables.wrong)
        return await work(database)
    finally:
        await pool.close()


async def refuse_wrong_clock(connection: Connection, settings: Settings) -> None:
    """Raises `Refusal` where the clock differs from the database's, or lies behind what stands
    there; warns where phones say otherwise.
    """
    clocks = await read_clocks(connection, utc_now)
    wrong = clocks.apart or (None if settings.trust_clock else clocks.behind)
    if wrong is not None:
        raise Refusal(wrong)
    if clocks.phones_differ is not None:
        log.warning("%s", clocks.phones_differ)


async def look_before_start(settings: Settings) -> None:
    """Raises `Refusal` or `KeyMissing` for what would keep every service process from serving: also
    tables of a release too new. A database that is down may come up yet, and one without tables, or
    with older ones, be migrated.
    """
    url = str(settings.database_url)
    try:
        right = partial(refuse_wrong_clock, settings=settings)
        tables = await look(connected(url, timeout_s=10), settings, right)
    except asyncpg.InvalidAuthorizationSpecificationError:
        await reach(url, SERVICE)
        return
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return  # each process looks again
    if tables.too_new is not None:
        raise Refusal(tables.too_new)


def run(
    settings: Settings,
    work: Callable[[Database], Awaitable[T]],
    keys: bool = False,
    owner: bool = False,
    clock: bool = True,
) -> T:
    """The same for a command that is no coroutine."""
    return asyncio.run(with_database(settings, work, keys, owner, clock))


async def nothing(_: Database) -> None:
    """For a command whose own work begins later."""
