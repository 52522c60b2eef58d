"""`gridloop keys`: what signs tokens, and what encrypts personal data."""

import logging
from functools import partial
from typing import Annotated

import typer
from rich.progress import TaskID

from service.audit.audit_log import record_operator
from service.cli.console import console, progress_bar, shown
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import say
from service.kit.database import Database
from service.kit.key_file import new_key
from service.kit.now import utc_now
from sync_protocol.texts import Text

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

        kid = run(settings, rotate)
    text = Text("Key {kid} signs from now on; running processes take it within a minute.", kid=kid)
    say(console, text, "green")


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
                tasks[what] = progress.add_task(shown(what), total=None)
            progress.update(tasks[what], completed=done)

        async def work(database: Database) -> Outcome:
            outcome = await reencrypt(database, settings, show, give_up)
            async with database.transaction() as connection:
                await record_operator(
                    connection, utc_now(), "reencrypted", settings.keyring.kid, outcome.changed
                )
            return outcome

        outcome = run(settings, work)
    text = Text(
        "{count} rows were encrypted anew by key {kid}.",
        count=outcome.changed,
        kid=settings.keyring.kid,
    )
    say(console, text, "green")
    if outcome.lost:
        text = Text(
            "{count} values could not be decrypted and were left as they are.", count=outcome.lost
        )
        say(console, text, "yellow")
    if outcome.missing:
        text = Text(
            "Keys are missing: {kids}. Add them and run this again.",
            kids=", ".join(sorted(outcome.missing)),
        )
        say(console, text)
    if not outcome.complete:
        text = Text(
            "Completion was not recorded: the previous release's form is still read, too."
            " --give-up records it all the same."
        )
        say(console, text, "yellow")
    if (outcome.lost or outcome.missing or not outcome.complete) and not give_up:
        raise typer.Exit(1)


@keys_app.command("reseal", hidden=True, deprecated=True)
def keys_reseal(data: Data = None) -> None:
    """The former name of `gridloop keys reencrypt`."""
    say(console, Text("‘keys reseal’ is called ‘keys reencrypt’ now."), "yellow")
    keys_reencrypt(data, give_up=False)
