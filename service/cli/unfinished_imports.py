"""What becomes of imports that somebody interrupts, or that a process began that was killed."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from service.cli.console import console
from service.cli.refusals import Refusal, say
from service.kit.database import Database
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.texts import Text

if TYPE_CHECKING:
    from service.imports import runs
    from service.imports.report import Report, State


async def finish_former(
    database: Database,
    settings: Settings,
    show: "runs.Progress",
    leave_all: bool = False,
    but: str = "",
) -> None:
    """Goes on with what a process began that was killed; with `leave_all` only says so, as a trial
    writes nothing. `but`: not with this one.
    """
    from service.imports import queries, runs
    from service.imports.report import State

    async with database.reading() as connection:
        former = await queries.unfinished(connection)
    for row in former:
        id = row["id"]
        if id == but:
            continue
        if leave_all:
            text = Text("Import {id} is not finished; this trial leaves it as it is.", id=id)
            say(console, text, "yellow")
            continue
        text = (
            Text("Import {id} was interrupted while it was taken back; that is ended first.", id=id)
            if row["state"] == State.UNDOING
            else Text("Import {id} was interrupted; it is finished first.", id=id)
        )
        tell = partial(say, console, text, "yellow")
        try:
            await runs.Run(database, settings, id, utc_now, show, on_begin=tell).carry_out()
        except runs.Busy:
            raise _busy(id) from None


def _busy(id: str) -> Refusal:
    return Refusal(
        Text(
            "Import {id} is under way in another process, and nothing was done here; try again"
            " when it has ended, see ‘gridloop roster imports’.",
            id=id,
        )
    )


async def _end_or_tell(database: Database, run: "runs.Run") -> None:
    """What was interrupted before anything was written has ended; of other imports it is told who
    goes on with them.
    """
    from service.imports import queries
    from service.imports.report import State

    async with database.alone_with(f"gridloop import {run.id}") as free:
        async with database.reading() as connection:
            row = await queries.one_import(connection, run.id)
        if row is None:
            return
        if free and State(row["state"]) in (State.WAITING, State.CHECKING):
            await run.end(State.FAILED, "roster-import-failed")
            text = Text(
                "Import {id} was stopped before anything was written, and has ended.", id=run.id
            )
        elif row["state"] == State.UNDOING:
            text = Text(
                "Import {id} was stopped while it was taken back; ‘gridloop roster undo {id}’ goes"
                " on with that, and so does the service.",
                id=run.id,
            )
        else:
            text = Text(
                "Import {id} was stopped while it was written. The service goes on with it, and so"
                " does the next ‘gridloop roster import’; after that ‘gridloop roster undo {id}’"
                " takes it back.",
                id=run.id,
            )
    say(console, text, "yellow")


async def to_the_end(database: Database, run: "runs.Run") -> "tuple[State, Report]":
    """Carries it out, and says how it stands where somebody interrupts that."""
    from service.imports import queries, runs
    from service.imports.report import State

    try:
        report = await run.carry_out()
    except runs.Busy:
        raise _busy(run.id) from None
    except asyncio.CancelledError:
        await _end_or_tell(database, run)
        raise
    async with database.reading() as connection:
        row = await queries.one_import(connection, run.id)
    assert row is not None
    return State(row["state"]), report
