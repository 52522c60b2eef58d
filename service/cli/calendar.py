"""`gridloop calendar`: working days from a file."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from service.audit.audit_log import OPERATOR, record_operator
from service.cli.console import console
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal, say
from service.kit.database import Database
from service.kit.now import utc_now
from service.organisation.tree import Tree
from sync_protocol.periods import FIRST_YEAR, LAST_YEAR, local_day
from sync_protocol.texts import Text

calendar_app = typer.Typer(no_args_is_help=True, help="Working days and holidays. 工作日和节假日。")


class Operator(NamedTuple):
    """Who keeps every calendar by the command line."""

    now: datetime
    tree: Tree
    staff_code: str = OPERATOR

    @property
    def today(self) -> date:
        """The day of the command in Asia/Shanghai."""
        return local_day(self.now)

    def reaches(self, code: str) -> bool:
        """Whether the unit is there."""
        return code in self.tree.units


@calendar_app.command("import")
def calendar_import(
    file: Annotated[
        Path,
        typer.Argument(help="CSV: day, 休 or 班 (off, worked), name. 每行：日期、休或班、名称。"),
    ],
    year: Annotated[int, typer.Option(min=FIRST_YEAR, max=LAST_YEAR, help="Of which year. 年份。")],
    unit: Annotated[
        str | None,
        typer.Option(
            help="Local holidays of this unit; else the official calendar."
            " 某单位的地方假日；不写则为官方日历。"
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Put a list of days in the place of the one that a year has. Due times of problems follow.
    Nothing is changed unless every line is good.

    用文件替换某年的日历；每行都正确才会改动，问题的办理时限随之重算。
    """
    from service.organisation.trees import current_tree
    from service.vocabulary.calendar_file import read_days
    from service.vocabulary.changes import Changes, topmost

    try:
        content = file.read_bytes()
    except OSError as error:
        why = error.strerror or ""
        raise Refusal(Text("{file} cannot be read: {why}.", file=file, why=why)) from None
    read = read_days(content, year)
    for line, value, what in read.faults:
        say(
            Console(stderr=True),
            Text("Line {line}: ‘{value}’ {what}.", line=line, value=value, what=what),
        )
    if read.faults:
        raise Refusal(
            Text(
                "{count} lines of {file} cannot be taken, and nothing was changed.",
                count=len(read.faults),
                file=file,
            )
        )
    with database_url(chosen(data), migrate=True) as settings:

        async def work(database: Database) -> tuple[str, int, list[Text]]:
            now = utc_now()
            async with database.transaction() as connection:
                who = Operator(now, await current_tree(connection))
                code = unit or topmost(who.tree, who.today)
                if not who.reaches(code):
                    raise Refusal(Text("There is no unit ‘{unit}’.", unit=code))
                changes = Changes(connection, settings, who)
                moved = await changes.put_year(code, year, read.days)
                subject = f"{code} {year}"
                await record_operator(connection, now, "calendar-written", subject, len(read.days))
                if moved:
                    await record_operator(connection, now, "dues-recomputed", subject, moved)
                return code, moved, changes.told_of(code, year, read.days)

        code, moved, odd = run(settings, work)
    for text in odd:
        say(console, text, "yellow")
    say(
        console,
        Text(
            "{days} days of {year} hold for {unit}; {moved} problems are due at another time.",
            days=len(read.days),
            year=year,
            unit=code,
            moved=moved,
        ),
        "green",
    )
