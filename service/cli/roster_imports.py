"""`gridloop roster import`, `imports` and `undo`: a city's own files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Column, Table

from service.audit.audit_log import OPERATOR
from service.cli.console import (
    bars,
    console,
    progress_bar,
    shown,
)
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import WRONG_USE, Refusal, say, writing
from service.cli.roster import content_of
from service.cli.roster_report import show_import, show_left
from service.cli.unfinished_imports import finish_former, to_the_end
from service.kit.conditions import EVERYWHERE
from service.kit.database import Database
from service.kit.localization import language_of_the_terminal
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.runtime.memory import seldom_look_for_garbage
from sync_protocol.periods import in_minutes, local_day
from sync_protocol.texts import Text

if TYPE_CHECKING:
    from service.imports import runs
    from service.imports.report import Report, State
    from service.kit.database import Row

commands = typer.Typer()
InNameOf = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="Staff code of the administrator in whose name it is done. 以哪位管理员的名义。",
    ),
]
_IMPORT_HEADS = (
    *(Text("state"), Text("begun at"), Text("by"), Text("units"), Text("options")),
    *(Text("progress"), Text("import")),
)
# What the stages of an import are called in progress bars.
_STAGES = {
    "reading": Text("reading files"),
    "checking": Text("checking households"),
    "levels": Text("levels"),
    "unit": Text("units"),
    "person": Text("people"),
    "post": Text("posts"),
    "households": Text("writing households"),
    "undoing": Text("taking back"),
}
# How far an import has come, see `report.State`.
_STATES = {
    "waiting": Text("waiting"),
    "checking": Text("checking"),
    "checked": Text("checked"),
    "refused": Text("refused"),
    "applying": Text("applying"),
    "done": Text("done"),
    "failed": Text("failed"),
    "undoing": Text("being taken back"),
    "undone": Text("taken back"),
    "partly-undone": Text("partly taken back"),
}


@commands.command("import")
def roster_import(
    files: Annotated[
        list[Path],
        typer.Argument(help="Workbooks and text files: .xlsx .xls .csv. 工作簿或文本文件。"),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and tell, write nothing. 只检查，不写入。")
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Take the good rows although others are wrong. 跳过有错的行。"
        ),
    ] = False,
    end_missing: Annotated[
        bool,
        typer.Option(
            "--end-missing",
            help="End posts, and delete households, of the units and villages in the files that"
            " the files do not have any more. 终止文件中已没有的任职，删除已没有的农牧户。",
        ),
    ] = False,
    as_: InNameOf = None,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write every fault into this file, .csv or .xlsx. 把全部问题写入此文件。",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Import a city's own units, people, posts and households. Nothing is written unless every row
    is good, or --skip-bad is said. The same files again change nothing.

    导入本地的单位、人员、任职和农牧户；除非每行都正确或使用 --skip-bad，否则不写入任何内容。
    """
    from service.imports import runs
    from service.imports.fault_report import SUFFIXES, FaultReport

    if report_file is not None and report_file.suffix.lower() not in SUFFIXES:
        text = Text("{file}: a report is written as .csv or .xlsx.", file=report_file)
        raise Refusal(text, WRONG_USE)
    contents = [(file.name, content_of(file)) for file in files]
    chosen_options = {"dry_run": dry_run, "skip_bad": skip_bad, "end_missing": end_missing}
    options = [name for name, wanted in chosen_options.items() if wanted]
    with database_url(chosen(data), makes=True, migrate=True) as settings:
        size = sum(len(content) for _, content in contents)
        if size > settings.import_max_bytes:
            raise Refusal(_too_large(size, settings))
        with progress_bar() as progress:
            show = _stages(progress)
            faults = None
            if report_file is not None:
                with writing(report_file):
                    faults = FaultReport(report_file, language_of_the_terminal())
            hear = None if faults is None else faults.add

            async def work(database: Database) -> "tuple[str, State, Report]":
                units = await _units_of(database, as_)
                await finish_former(database, settings, show, leave_all=dry_run)
                asked = runs.Asked(as_ or OPERATOR, units, options, contents)
                return await _carry_out(database, settings, asked, show, hear)

            seldom_look_for_garbage()
            try:
                id, state, report = run(settings, work, keys=True)
            finally:
                if faults is not None:
                    faults.close()
    show_import(id, state, report, None if report_file is None else str(report_file))
    if state in ("refused", "failed") or (dry_run and report.fault_count):
        raise typer.Exit(1)


def _stages(progress: Progress) -> "runs.Progress":
    """What shows the stages of an import as bars, in the language of the terminal."""
    show = bars(progress)
    return lambda stage, done, total: show(_STAGES.get(stage, stage), done, total)


def _too_large(size: int, settings: Settings) -> Text:
    return Text(
        "The files have {size} bytes, at most {max} are taken at once. Import them one after"
        " another, or raise GRIDLOOP_IMPORT_MAX_BYTES.",
        size=size,
        max=settings.import_max_bytes,
    )


async def _units_of(database: Database, staff_code: str | None) -> list[str]:
    """The units for which it is done: those that the person administers, or everything."""
    from service.identity.queries import posts_of
    from service.identity.rights import ADMINISTERS, scope

    if staff_code is None:
        return [""]
    async with database.reading() as connection:
        units = scope(await posts_of(connection, staff_code), utc_now(), ADMINISTERS)
    if not units:
        raise Refusal(
            Text(
                "‘{cadre}’ administers no unit at present; name another person with --as, or leave"
                " it out.",
                cadre=staff_code,
            )
        )
    return units


async def _carry_out(
    database: Database,
    settings: Settings,
    asked: "runs.Asked",
    show: "runs.Progress",
    hear: "runs.OnFault | None" = None,
) -> "tuple[str, State, Report]":
    from service.imports import queries, runs
    from sync_protocol.ids import new_uuid7

    id = new_uuid7(utc_now())
    async with database.transaction() as connection:
        await queries.lock_imports(connection)
        await runs.ask(connection, settings, asked, id, utc_now())
    run = runs.Run(database, settings, id, utc_now, show, on_fault=hear)
    state, report = await to_the_end(database, run)
    return id, state, report


@commands.command("imports")
def roster_imports(data: Data = None) -> None:
    """List the imports, the newest first. 列出各次导入。"""
    from service.imports import queries

    async def ask(database: Database) -> "Sequence[Row]":
        async with database.reading() as connection:
            return await queries.imports(connection, [EVERYWHERE], None, 100)

    with database_url(chosen(data)) as settings:
        rows = run(settings, ask, clock=False)
    table = Table(
        *(Column(shown(head), overflow="fold") for head in _IMPORT_HEADS),
        show_lines=True,
    )
    for row in rows:
        stage = shown(_STAGES[row["stage"]]) if row["stage"] in _STAGES else row["stage"]
        done = f"{stage} {row['done']}/{row['total']}" if row["total"] else ""
        table.add_row(
            shown(_STATES.get(row["state"], row["state"])),
            in_minutes(row["at"]),
            row["asked_by"],
            " ".join(row["units"]),
            " ".join(f"--{option.replace('_', '-')}" for option in row["options"]),
            done,
            row["id"],
        )
    console.print(table)


@commands.command("undo")
def roster_undo(
    id: Annotated[str, typer.Argument(help="The import, see `roster imports`. 导入编号。")],
    as_: InNameOf = None,
    data: Data = None,
) -> None:
    """Take an import back, as far as nobody has edited since what it did; the rest is listed.

    撤销一次导入；其后有人改过的保留并列出。
    """
    from service.imports import asking, runs
    from service.imports.report import State

    with database_url(chosen(data)) as settings, progress_bar() as progress:
        show = _stages(progress)

        async def work(database: Database) -> "tuple[State, Report]":
            units = await _units_of(database, as_)
            today = local_day(utc_now())
            async with database.reading() as connection:
                row = await asking.import_within(connection, id, units, today)
            # One that was interrupted goes on.
            is_begun = row["state"] == State.UNDOING
            await finish_former(database, settings, show, but=id if is_begun else "")
            if not is_begun:
                async with database.transaction() as connection:
                    await asking.begin_undo(connection, id, units, today, as_ or OPERATOR)
            return await to_the_end(database, runs.Run(database, settings, id, utc_now, show))

        state, report = run(settings, work, keys=True)
    taken_back = (
        Text("One change of import {id} was taken back.", id=id)
        if report.undone == 1
        else Text("{count} changes of import {id} were taken back.", count=report.undone, id=id)
    )
    say(console, taken_back, "green")
    show_left(report)
    if state == "failed":
        raise typer.Exit(1)
