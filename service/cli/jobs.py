"""`gridloop jobs`: the queue of work in the background, and what of it has failed."""

from typing import Annotated

import typer
from rich.table import Column, Table

from service.audit.audit_log import record_operator
from service.cli.console import console, shown
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import WRONG_USE, Refusal, say
from service.jobs import queries
from service.kit.database import Database, Row
from service.kit.now import utc_now
from sync_protocol.texts import Text

jobs_app = typer.Typer(
    no_args_is_help=True, help="The work in the background, and what of it has failed."
)
Ids = Annotated[list[int] | None, typer.Argument(help="Numbers of jobs, as ‘list’ shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that have failed.")]
Kind = Annotated[str | None, typer.Option(help="All of a kind that have failed.")]
_SHOWN = 200


@jobs_app.command("list")
def list_jobs(data: Data = None) -> None:
    """Show how many jobs of each kind wait and run, and those that have failed."""

    async def read(database: Database) -> tuple[list[Row], list[Row]]:
        async with database.reading() as connection:
            return await queries.numbers(connection), await queries.failed(connection, _SHOWN)

    with database_url(chosen(data)) as settings:
        numbers, failed = run(settings, read, clock=False)
    table = Table(title=shown(Text("jobs")))
    titles = (Text("kind"), Text("waiting"), Text("later"), Text("running"), Text("failed"))
    for title in titles:
        table.add_column(shown(title))
    for row in numbers:
        table.add_row(*(str(value) for value in [*row.values()][: len(titles)]))
    console.print(table)
    if not failed:
        say(console, Text("No job has failed."), "green")
        return
    titles = (Text("number"), Text("kind"), Text("failed at"), Text("tried"), Text("why"))
    table = Table(*(Column(shown(title), overflow="fold") for title in titles))
    for row in failed:
        at = row["failed_at"].astimezone().isoformat(timespec="seconds")
        table.add_row(str(row["id"]), row["kind"], at, str(row["tried"]), _why(row["why"]))
    console.print(table)


def _why(kept: str | None) -> str:
    """Why a job has failed, as it is shown."""
    if kept == queries.BROKEN_OFF:
        return shown(Text("its process was killed or ran out of memory, each time"))
    return kept or ""


@jobs_app.command("retry")
def retry(ids: Ids = None, kind: Kind = None, every: All = False, data: Data = None) -> None:
    """Try failed jobs again: by their numbers, all of a kind, or all."""

    from service.jobs import library

    async def work(database: Database) -> int:
        async with database.transaction() as connection:
            found = await _failed_of(database, ids, kind, every)
            # Of a key one job waits at most: work that comes again by itself has gone on by now.
            await queries.drop_waiting_anyway(connection, found)
            await library.queries(connection).requeue_jobs(library.job_ids(found))
            if found:
                names = ", ".join(map(str, found[:_SHOWN]))
                await record_operator(connection, utc_now(), "jobs-retried", names, len(found))
            return len(found)

    _refuse_nothing(ids, kind, every)
    with database_url(chosen(data)) as settings:
        count = run(settings, work)
    say(console, Text("{count} jobs are tried again.", count=count), "green")


@jobs_app.command("delete")
def delete(ids: Ids = None, kind: Kind = None, every: All = False, data: Data = None) -> None:
    """Delete failed jobs that nobody wants any more."""

    async def work(database: Database) -> int:
        async with database.transaction() as connection:
            found = await _failed_of(database, ids, kind, every)
            count = await queries.delete_failed(connection, found)
            if count:
                names = ", ".join(map(str, found[:_SHOWN]))
                await record_operator(connection, utc_now(), "jobs-deleted", names, count)
            return count

    _refuse_nothing(ids, kind, every)
    with database_url(chosen(data)) as settings:
        count = run(settings, work)
    say(console, Text("{count} jobs were deleted.", count=count), "green")


def _refuse_nothing(ids: list[int] | None, kind: str | None, every: bool) -> None:
    if not (ids or kind or every):
        raise Refusal(
            Text("Name the jobs: their numbers, --kind KIND, or --all."),
            WRONG_USE,
        )


async def _failed_of(
    database: Database, ids: list[int] | None, kind: str | None, every: bool
) -> list[int]:
    """Those of the jobs meant that have failed."""
    async with database.reading() as connection:
        failed = await queries.failed_ids(connection, None if every else kind)
    return failed if every or kind else [id for id in failed if id in (ids or ())]
