"""`gridloop migrate`: brings the database to the newest tables, or shows what that would do."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

import migrations
from migrations.roles import NotTheOwner
from service.cli.console import console
from service.cli.database import OWNER, SERVICE, database_url, reach, run
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal, say
from service.kit.database import Database
from service.kit.encryption import KeyMissing
from service.kit.localization import in_language, language_of_the_terminal
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.runtime.migrating import (
    NewerTables,
    goes_back,
    migrate_embedded,
    migrate_given,
    refuse_losses,
    rewriting_at,
    tables_at,
)
from sync_protocol.texts import Text, text_of

if TYPE_CHECKING:
    pass

commands = typer.Typer()

OWNER_NEEDED = Text(
    "To migrate, set GRIDLOOP_OWNER_DATABASE_URL to a URL of the role that owns the tables, or of"
    " a superuser."
)


END_NEWER_FIRST = Text(
    "Going back takes away what processes of the newer release need: end them first, if any still"
    " run."
)


STATEMENTS_NEEDED = Text(
    "The role of GRIDLOOP_OWNER_DATABASE_URL may not do all that is needed."
    " Ask an administrator of the database to run these statements in it, then run ‘gridloop"
    " migrate’ again:"
)


@commands.command()
def migrate(
    data: Data = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Only show which migrations would run, and whom each keeps out."
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Migrate up, or back where that loses nothing, to this revision."
        ),
    ] = None,
) -> None:
    """Bring the database to the newest tables, and try again what was held because an older server
    did not know its kind.
    """
    from service.inbox.retry_held import release_unknown_kinds

    async def try_again(database: Database) -> int:
        return await release_unknown_kinds(database, settings, utc_now())

    target = "head" if to is None else to
    if target != "head":
        migrations.between(None, target)  # before a server is started
    given = chosen(data)
    with database_url(given, superuser=True) as settings:
        if given.database_url:
            asyncio.run(
                reach(settings.owner_url, SERVICE if settings.owner_database_url is None else OWNER)
            )
        if plan:
            _show_plan(settings.owner_url, target)
            return
        before = asyncio.run(tables_at(settings.owner_url))
        if goes_back(before.revision, target):
            say(console, END_NEWER_FIRST, "yellow")
        elif begun := asyncio.run(rewriting_at(settings.owner_url)):
            say(console, _goes_on(begun), "yellow")
        if given.database_url:
            _migrate_given(settings, target)
        else:
            settings = migrate_embedded(settings, str(settings.database_url), target)
        tables = asyncio.run(tables_at(settings.owner_url))
        _show_what_ran(before.revision, tables.revision)
        if tables.revision != migrations.revisions()[0]:
            say(
                console,
                tables.warning
                or Text("The database is at revision {revision}.", revision=tables.revision or ""),
                "yellow",
            )
            return
        released = 0
        try:
            released = run(settings, try_again, keys=True)
        except KeyMissing as error:  # where one migrates, the keys of the service need not lie
            say(
                console,
                Text(
                    "What was held for want of newer tables was not tried again. {why}",
                    why=text_of(error),
                ),
                "yellow",
            )
        say(
            console,
            Text(
                "The database is at the newest revision, {revision}.",
                revision=tables.revision,
            ),
            "green",
        )
        if released:
            say(console, Text("{count} held mutations went through.", count=released), "green")


def _migrate_given(settings: Settings, to: str) -> None:
    """Migrates a database that is not the embedded one, and says what its role may not do."""
    try:
        migrated = migrate_given(settings, to)
        missing = migrated.missing if migrated else []
    except NotTheOwner as error:
        say(
            console,
            Text(
                "The role ‘{role}’ may not change the tables of this database. {owner}",
                role=error.role,
                owner=OWNER_NEEDED,
            ),
        )
        missing = error.missing
        if not missing:
            raise typer.Exit(1) from None
    if missing:
        say(console, STATEMENTS_NEEDED)
        typer.echo("\n".join(missing))
        raise typer.Exit(1)


def _goes_on(begun: list[Text]) -> Text:
    return Text(
        "A rewrite was interrupted before, and goes on where it was: {begun}. How to give it up"
        " stands in docs/operations/upgrades.md.",
        begun=begun,
    )


def _show_what_ran(before: str | None, after: str | None) -> None:
    """Lists the migrations that have run, forward or back."""
    known = migrations.revisions()
    if after not in known or not (before is None or before in known):
        return
    language = language_of_the_terminal()
    for item in migrations.between(before, after):
        console.print(
            f"{item.revision}  {in_language(item.summary, language)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    for item in migrations.between(after, before)[::-1] if before is not None else ():
        text = Text("{revision} was taken back.", revision=item.revision)
        console.print(in_language(text, language), highlight=False, soft_wrap=True)


def _show_plan(url: str, to: str) -> None:
    """Prints what a migration would do, with what to mind; raises `Refusal` or `WouldLose` where it
    would be refused.
    """
    from service.runtime import migration_plan

    language = language_of_the_terminal()
    found = asyncio.run(migration_plan.plan(url, None if to == "head" else to))
    if found.tables.too_new is not None:
        raise Refusal(found.tables.too_new)
    if found.tables.are_newer and to != "head":
        raise NewerTables(str(found.tables.revision))
    if found.tables.are_newer:
        say(console, found.tables.warning or "", "yellow")
    elif not found.forward and not found.back:
        say(
            console,
            Text(
                "The database is at revision {revision} already; there is nothing to migrate.",
                revision=found.to,
            ),
            "green",
        )
    elif found.tables.revision is None:
        say(
            console,
            Text(
                "The database has no tables yet: all {count} migrations up to {revision} would run,"
                " which takes a moment.",
                count=len(found.forward),
                revision=found.to,
            ),
            "green",
        )
    else:
        console.print(migration_plan.table_of(found, language))
    if found.begun and found.forward:
        say(console, _goes_on(found.begun), "yellow")
    if found.back:
        refuse_losses(str(found.tables.revision), found.to)
        say(console, END_NEWER_FIRST, "yellow")
    stops = migration_plan.stops_older(found)
    if stops and found.tables.revision is not None:
        text = Text(
            "End all processes of the release before first: revision {revision} takes away what"
            " they need. Until the newer release runs,"
            " phones keep what they write.",
            revision=stops[0].declared.revision,
        )
        console.print(in_language(text, language), highlight=False, soft_wrap=True)
    elif found.forward and found.tables.revision is not None:
        text = Text(
            "Processes of the release before may run on meanwhile; change them over one by one"
            " afterwards."
        )
        console.print(in_language(text, language), highlight=False, soft_wrap=True)
