"""What is done to the data: `gridloop check`, `purge`, `erase`, `epoch`, `fill`."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Column, Table

from service.audit.audit_log import OPERATOR, record_operator
from service.cli.console import bars, console, load_roster, progress_bar, shown, steps
from service.cli.database import database_url, nothing, run
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal, say
from service.kit.database import Database, open_pool
from service.kit.localization import language_of_the_terminal
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.ids import is_uuid
from sync_protocol.periods import local_day
from sync_protocol.texts import Text, text_of

if TYPE_CHECKING:
    from service.tallies.recount import Difference

log = logging.getLogger("gridloop")
commands = typer.Typer()
epoch_app = typer.Typer(no_args_is_help=True, help="The identity of the server's history.")
erase_app = typer.Typer(
    no_args_is_help=True, help="Erase the personal data of a household or a cadre, for good."
)


_INTERRUPTED = 130  # as a shell counts a Ctrl-C


@epoch_app.command("new")
def epoch_new(data: Data = None) -> None:
    """Take a new epoch: run this after restoring the database from a backup, before phones sync
    again.
    """
    from service.writes.queries import new_epoch, server_state

    async def renew(database: Database) -> str:
        async with database.transaction() as connection:
            epoch = await new_epoch(connection, str((await server_state(connection))["epoch"]))
            await record_operator(connection, utc_now(), "epoch-renewed", epoch)
            return epoch

    with database_url(chosen(data)) as settings:
        epoch = run(settings, renew)
    say(console, Text("The epoch is now {epoch}.", epoch=epoch), "green")


@commands.command()
def purge(
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Clear what was kept for its time: locations, old lines of the trail, expired tokens. Run it
    daily.
    """
    from service.privacy.purge import TRAIL_KEPT, Purged
    from service.privacy.purge import purge as clear

    with database_url(chosen(data)) as settings:

        async def work(database: Database) -> list[Purged]:
            report = await clear(database, settings, utc_now(), dry_run)
            async with database.transaction() as connection:
                for what, _, count in report:
                    if count and not dry_run:
                        await record_operator(connection, utc_now(), "purged", str(what), count)
            return report

        count = Text("would go") if dry_run else Text("cleared")
        table = Table(*map(shown, (Text("what"), Text("older than"), count)), title="purge")
        report = run(settings, work, keys=not dry_run, owner=True)
        for what, age, number in report:
            table.add_row(shown(what), shown(age), str(number))
    console.print(table)
    if any(what == TRAIL_KEPT for what, _, _ in report):
        raise typer.Exit(1)


Reason = Annotated[str, typer.Option(help="Why; it is kept, so say it without name and number.")]


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


@erase_app.command("household")
def erase_household(
    id: str, reason: Reason, data: Data = None, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Erase a household from records, history and everything kept aside; counts stay. Run it again
    if it was interrupted.
    """
    if not is_uuid(id.lower()):
        raise Refusal(
            Text(
                "‘{id}’ is no id of a household; give its UUID, as GET /v1/households shows it.",
                id=id,
            )
        )
    _erase("household", id.lower(), reason, data, yes, dry_run)


@erase_app.command("cadre")
def erase_cadre(
    staff_code: str, reason: Reason, data: Data = None, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Erase a cadre's account; the staff code stays as a pseudonym for the counts. Run it again if
    it was interrupted.
    """
    _erase("cadre", staff_code, reason, data, yes, dry_run)


def _erase(
    kind: str, subject: str, reason: str, data: Path | None, yes: bool, dry_run: bool
) -> None:
    from service.privacy.erasure import WORDS, Asked, Done, Erasing, erase, operators_act
    from service.privacy.erasure_console import tables

    asked = Asked(kind, subject, reason, OPERATOR)
    with database_url(chosen(data)) as settings:
        if not (yes or dry_run):
            text = Text(
                "Erase the personal data of {kind} {subject}? There is no way back",
                kind=WORDS[kind],
                subject=subject,
            )
            typer.confirm(shown(text), abort=True)

        async def work(database: Database) -> Done:
            at = Erasing(database, settings, utc_now(), dry_run)
            return await erase(at, asked, operators_act(asked, at.now))

        done = run(settings, work, keys=True)
    console.print(*tables(done, dry_run, language_of_the_terminal()), sep="\n")


@commands.command()
def fill(
    visits: Annotated[int, typer.Option(min=1, help="How many visits.")] = 1_000_000,
    problems: Annotated[
        int | None, typer.Option(min=0, help="How many problems; left out: a plausible share.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=7, max=3660, help="Over how many days up to yesterday.")
    ] = 365,
    data: Data = None,
) -> None:
    """Make up a year of field work by COPY, for benchmarks and trials; loads the roster where there
    is none.
    """
    from service.demo.fill import FillRefused
    from service.demo.fill import fill as fill_database

    async def write(settings: Settings) -> None:
        await load_roster(settings)
        # As the owner: it takes indexes away and makes them anew, and analyses the tables.
        pool = await open_pool(settings.owner_url, 2)
        try:
            with progress_bar() as progress:
                show = bars(progress)
                count = visits * 2 // 70 if problems is None else problems
                last = local_day(utc_now()) - timedelta(days=1)
                filled = await fill_database(
                    Database(pool), settings, visits, count, last, days, show
                )
        finally:
            await pool.close()
        text = Text(
            "{visits} visits, {problems} problems with {steps} steps, {texts} analyses and"
            " summaries, and the log of {mutations} mutations.",
            **msgspec.structs.asdict(filled),
        )
        say(console, text, "green")

    with database_url(chosen(data), makes=True, migrate=True) as settings:
        run(settings, nothing, keys=True, owner=True)
        try:
            asyncio.run(write(settings))
        except FillRefused as error:
            raise Refusal(text_of(error)) from None


def _stopped(done: int, parts: int, found: int, mend: bool) -> Text:
    """What is said of a check that was interrupted."""
    if mend:
        return Text(
            "Stopped after {done} of {parts} parts: {found} differences in them were mended, and"
            " nothing else was changed."
            " Run ‘gridloop check --mend’ again for the rest.",
            done=done,
            parts=parts,
            found=found,
        )
    return Text(
        "Stopped after {done} of {parts} parts: {found} differences were found in them. Run"
        " ‘gridloop check’ again to look at all.",
        done=done,
        parts=parts,
        found=found,
    )


@commands.command()
def check(
    data: Data = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="Put the recounted rows in place of those that differ.")
    ] = False,
) -> None:
    """Recount cases and tallies from the records, part by part, while the service goes on; exit
    code 1 when anything differs and was not mended.
    """
    from service.tallies.check_command import Checked, go_through

    checked = Checked()
    try:
        with database_url(chosen(data)) as settings:
            run(settings, nothing, clock=mend)  # who only looks stores nothing by the clock
            try:
                with steps(Text("parts checked")) as show:
                    go_through(settings, mend, checked, show)
            except KeyboardInterrupt:
                say(
                    console,
                    _stopped(checked.done, checked.parts, len(checked.found), mend),
                    "yellow",
                )
                raise
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if not checked.found:
        say(console, Text("All cases and tallies are what the records say."), "green")
        return
    _show_differences(checked.found)
    count = len(checked.found)
    if mend:
        say(console, Text("{count} differences were found and mended.", count=count), "green")
        return
    text = Text(
        "{count} differences were found and nothing was changed. ‘gridloop check --mend’ puts the"
        " recounted rows in place of those that differ.",
        count=count,
    )
    say(console, text, "yellow")
    raise typer.Exit(1)


_SHOWN = 50


def _show_differences(found: "list[Difference]") -> None:
    """The first differences as a table, by the names of the columns that differ."""
    titles = (Text("table"), Text("row"), Text("column"), Text("kept"), Text("recounted"))
    table = Table(*(Column(shown(title), overflow="fold") for title in titles), show_lines=True)
    for item in found[:_SHOWN]:
        there = (_there(item.kept), _there(item.recounted))
        whole = [(shown(Text("the whole row")), *there)]
        cells = ["\n".join(cell) for cell in zip(*(item.columns or whole), strict=True)]
        table.add_row(*map(escape, (item.what, item.key, *cells)))
    console.print(table)
    if len(found) > _SHOWN:
        text = Text(
            "Only the first {shown} of {count} differences are shown.",
            shown=_SHOWN,
            count=len(found),
        )
        say(console, text, "yellow")


def _there(value: str) -> str:
    """Whether a row is there."""
    return shown(Text("is missing")) if value == "None" else shown(Text("is there"))
