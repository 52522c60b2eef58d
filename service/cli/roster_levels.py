"""`gridloop roster levels`: the levels of the tree of units."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from service.audit.audit_log import record_operator
from service.cli.console import (
    console,
    shown,
)
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import WRONG_USE, Refusal
from service.cli.roster import content_of
from service.kit.database import Database, retry_on_conflict
from service.kit.now import utc_now
from sync_protocol.periods import local_day
from sync_protocol.texts import Text

if TYPE_CHECKING:
    from service.organisation.tree import LevelFacts

commands = typer.Typer()
_LEVEL_HEADS = (
    *(Text("position"), Text("level"), Text("in Chinese"), Text("in English"), Text("sees tags")),
)


@commands.command("levels")
def roster_levels(
    set_: Annotated[
        Path | None,
        typer.Option(
            "--set",
            help="A CSV file in UTF-8 with the columns slug, name_zh, name_en and sees_tags (yes or"
            " no): all levels from the topmost down to grid. 级别文件（CSV，UTF-8），从上到下。",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """List the levels of the tree of units, or set them from a file.

    列出单位树的各级，或用文件设置。
    """
    from service.kit.database import Connection
    from service.organisation.levels import set_levels
    from service.organisation.trees import read_tree

    given = None if set_ is None else _levels_in(set_)

    async def work(database: Database) -> "list[LevelFacts]":
        async def once() -> "list[LevelFacts]":
            async with database.transaction() as connection:
                return await change(connection)

        async def change(connection: Connection) -> "list[LevelFacts]":
            if given is not None:
                await set_levels(connection, given, local_day(utc_now()))
                slugs = " ".join(level.slug for level in given)
                await record_operator(connection, utc_now(), "levels-set", slugs, len(given))
            return [*(await read_tree(connection)).levels.values()]

        return await retry_on_conflict(once)

    with database_url(chosen(data)) as settings:
        levels = run(settings, work)
    table = Table(*map(shown, _LEVEL_HEADS))
    for level in levels:
        sees = shown(Text("yes") if level.sees_tags else Text("no"))
        table.add_row(str(level.position), level.slug, level.name_zh, level.name_en, sees)
    console.print(table)


def _levels_in(file: Path) -> "list[LevelFacts]":
    from service.organisation.tree import LevelFacts

    try:
        rows = [*csv.DictReader(content_of(file).decode("utf-8-sig").splitlines())]
        return [
            LevelFacts(
                row["slug"].strip(),
                position,
                row["name_zh"].strip(),
                row["name_en"].strip(),
                row["sees_tags"].strip().lower() in ("yes", "true", "1", "是"),
            )
            for position, row in enumerate(rows, 1)
        ]
    except (UnicodeDecodeError, KeyError, AttributeError, csv.Error):
        raise Refusal(
            Text(
                "{file} is no CSV file in UTF-8 with the columns slug, name_zh, name_en and"
                " sees_tags; write it like that.",
                file=file,
            ),
            WRONG_USE,
        ) from None
