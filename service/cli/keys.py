"""`gridloop keys`: what signs tokens, and what encrypts personal data."""

import logging
from functools import partial
from typing import Annotated

import typer
from rich.progress import TaskID

from service.app import utc_now
from service.audit.audit_log import record_operator
from service.cli.console import console, progress_bar
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.kit.database import Database
from service.kit.key_file import new_key

log = logging.getLogger("gridloop")
keys_app = typer.Typer(
    no_args_is_help=True, help="The keys that sign tokens, and those that encrypt personal data."
)


@keys_app.command("rotate")
def keys_rotate(
    data: Data = None,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="Let the old keys go now: everybody signs in or refreshes anew."
        ),
    ] = False,
) -> None:
    """Sign tokens with a new key; the old ones stay published until all that they signed has
    expired.
    """
    from service.identity.tokens import Tokens

    with database_url(chosen(data)) as settings:

        async def rotate(database: Database) -> str:
            now = utc_now()
            act = partial(
                record_operator,
                at=now,
                action="signing-keys-rotated",
                subject="at once" if at_once else "",
            )
            return await Tokens(database, settings).rotate(now, at_once, act)

        console.print(
            f"Key {run(settings, rotate)} signs from now on; running processes take it within a"
            " minute."
        )


@keys_app.command("secret")
def keys_secret() -> None:
    """Print a new key for GRIDLOOP_SECRET_KEYS or the key file: put it last and restart, then first
    and restart, then `keys reencrypt`.
    """
    typer.echo(new_key())


@keys_app.command("reencrypt")
def keys_reencrypt(
    data: Data = None,
    give_up: Annotated[
        bool,
        typer.Option(
            "--give-up",
            help="Record completion even though a key is missing: what it encrypted stays"
            " unreadable.",
        ),
    ] = False,
) -> None:
    """Encrypt everything by the newest key in the present form; older keys can go afterwards. May
    be run again at any time.

    After an upgrade it is run once no process of the previous release is left: those cannot read
    what is written from then on.
    """
    from service.privacy.reencrypt import reencrypt
    from service.privacy.reencrypted_values import Outcome

    with database_url(chosen(data)) as settings, progress_bar() as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=done)

        async def work(database: Database) -> Outcome:
            outcome = await reencrypt(database, settings, show, give_up)
            async with database.transaction() as connection:
                await record_operator(
                    connection, utc_now(), "reencrypted", settings.keyring.kid, outcome.changed
                )
            return outcome

        outcome = run(settings, work)
    console.print(f"{outcome.changed} rows were encrypted anew by key {settings.keyring.kid}.")
    if outcome.lost:
        console.print(
            f"[yellow]{outcome.lost} values could not be decrypted and were left as they"
            " are.[/yellow]"
        )
    if outcome.missing:
        console.print(
            f"[red]Keys are missing: {', '.join(sorted(outcome.missing))}.[/red] Add them and run"
            " this again."
        )
    if not outcome.complete:
        console.print(
            "Completion was not recorded: the previous release's form is still read, too."
            " --give-up records it all the same."
        )
    if (outcome.lost or outcome.missing or not outcome.complete) and not give_up:
        raise typer.Exit(1)


@keys_app.command("reseal", hidden=True, deprecated=True)
def keys_reseal(data: Data = None) -> None:
    """The former name of `gridloop keys reencrypt`."""
    console.print("[yellow]‘keys reseal’ is called ‘keys reencrypt’ now.[/yellow]")
    keys_reencrypt(data, give_up=False)
