"""`gridloop roster`: units, people and households, from a city's own files or made up."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.audit.audit_log import record_operator
from service.cli.console import (
    console,
    load_public_units,
    load_roster,
)
from service.cli.database import database_url, nothing, run
from service.cli.options import Data, chosen
from service.cli.refusals import WRONG_USE, Refusal, refusal_of, say, writing
from service.kit.database import Database
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.periods import local_day
from sync_protocol.texts import Text
from sync_protocol.vocabulary import Label

if TYPE_CHECKING:
    from service.imports.words import Words

roster_app = typer.Typer(
    no_args_is_help=True, help="Units, people, posts and households. 单位、人员、任职和农牧户。"
)


@roster_app.command("load")
def roster_load(
    data: Data = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Also make up people, households and the demo sign-ins. 另外虚构人员和农牧户。",
        ),
    ] = False,
) -> None:
    """Load Baotou's units down to villages; what is there stays as it is. With --demo also made-up
    grids, people and households.

    载入包头市到嘎查村的单位；已有的不变。
    """

    async def line(database: Database) -> None:
        async with database.transaction() as connection:
            await record_operator(connection, utc_now(), "roster-loaded", "roster")

    with database_url(chosen(data, demo), makes=True, migrate=True) as settings:
        run(settings, nothing, keys=True)
        asyncio.run(load_roster(settings) if demo else load_public_units(settings))
        run(settings, line)


@roster_app.command("template")
def roster_template(
    file: Annotated[Path, typer.Argument(help="The workbook to write, .xlsx. 要写出的工作簿。")],
    lang: Annotated[str, typer.Option(help="zh or en. 表头语言。")] = "zh",
    data: Data = None,
) -> None:
    """Write an empty workbook with the sheets, headers and lists that `roster import` reads. The
    lists have the words of the database, where there is one.

    写出空白模板，含表头、说明和下拉列表；有数据库时下拉列表用其中的类别和职务名称。
    """
    from service.imports.template import write_template

    if lang not in ("zh", "en"):
        raise Refusal(Text("--lang is zh or en."), WRONG_USE)
    words = _words_of_the_day(chosen(data), data is not None)
    with writing(file):
        write_template(file, "en" if lang == "en" else "zh", words)
    say(
        console,
        Text(
            "{file} is written; fill it in, then: gridloop roster import {file} --dry-run",
            file=file,
        ),
        "green",
    )


def _words_of_the_day(settings: Settings, named: bool) -> "Words | None":
    """The words of the database; None where there is none, or none that can be read and nobody
    named it.
    """
    from service.imports.words import Words
    from service.organisation.trees import current_tree
    from service.vocabulary.keeping import current_reference_data

    if not (named or settings.database_url or (settings.data / "postgres").exists()):
        return None

    async def ask(database: Database) -> Words:
        async with database.reading() as connection:
            vocabulary = (await current_reference_data(connection)).vocabulary
            tree = await current_tree(connection)
        levels = {one.slug: Label(one.name_zh, one.name_en) for one in tree.levels.values()}
        return Words(vocabulary, local_day(utc_now()), levels)

    try:
        with database_url(settings) as found:
            return run(found, ask, clock=False)
    except Exception as error:
        refusal = refusal_of(error)
        if named or refusal is None:
            raise
        text = Text(
            "The lists of the workbook have the words of a new database: {why}", why=refusal.text
        )
        say(console, text, "yellow")
        return None


def content_of(file: Path) -> bytes:
    """What stands in a file that an operator named."""
    try:
        return file.read_bytes()
    except OSError as error:
        why = error.strerror or ""
        raise Refusal(Text("{file} cannot be read: {why}.", file=file, why=why)) from None
