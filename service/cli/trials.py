"""What shows or tests the service: `gridloop demo`, `simulate`, `conformance`, `openapi`."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from service.cli.console import console
from service.cli.database import DEMO, database_url
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal, say
from service.kit.localization import language_of_the_terminal
from service.kit.settings_reading import read_settings
from service.runtime.migrating import migrate_embedded, migrate_given
from service.runtime.postgres import fresh_database
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")
commands = typer.Typer()


@commands.command()
def simulate(
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeded histories to live through.")
    ] = 200,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Simulate phones, faults, kills and restores from seeds, and check every promise."""
    from simulator.run import run

    raise typer.Exit(1 if run(first, seeds, workers, console) else 0)


@commands.command()
def conformance(
    command: Annotated[
        str | None,
        typer.Option("--command", help="Starts the client: it reads hooks from standard input."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Where a client that is running takes hooks, on this machine."),
    ] = None,
    only: Annotated[
        list[str],
        typer.Option(
            help="Play these transcripts, by the names of their files, and no history; several"
            " times."
        ),
    ] = [],  # noqa: B006 - typer reads it and changes nothing
    seeds: Annotated[
        int, typer.Option(min=0, help="How many seeded histories against a real service.")
    ] = 3,
    first: Annotated[int, typer.Option(help="The first seed.")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of a history.")] = 80,
    language: Annotated[
        str | None, typer.Option(help="zh or en; left out: as the terminal's locale says.")
    ] = None,
) -> None:
    """Test any client of the sync protocol: transcripts, then histories with faults. Without a
    client, the reference device. Exit code 1 when it got anything wrong; docs/conformance.md
    describes the hooks.
    """
    from service.conformance.command import Wanted, run

    if (command and url) or language not in (None, "zh", "en"):
        raise Refusal(Text("Give --command or --url, not both; --language is zh or en."))
    spoken = "zh" if language == "zh" else "en" if language == "en" else language_of_the_terminal()
    raise typer.Exit(
        run(command, url, Wanted(only, first, 0 if only else seeds, steps), console, spoken)
    )


@commands.command()
def openapi(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("openapi/openapi.json"),
) -> None:
    """Write the OpenAPI document, the JSON Schema of the sync messages, and the tables in
    PROTOCOL.md.
    """
    from service.app import create_app
    from service.openapi import write
    from sync_protocol.describe import PROTOCOL_MD, written
    from sync_protocol.schema import write_schema

    changed = write(
        create_app(read_settings().model_copy(update={"open_docs": True, "open_metrics": True})),
        path,
    )
    done = (
        Text("{file} was written.", file=path)
        if changed
        else Text("{file} is up to date.", file=path)
    )
    say(console, done, "green")
    write_schema()
    PROTOCOL_MD.write_text(written(PROTOCOL_MD.read_text(encoding="utf-8")), encoding="utf-8")


@commands.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the service.")] = 8000,
    data: Data = None,
    once: Annotated[
        bool, typer.Option("--once", help="End after the report instead of staying up.")
    ] = False,
    article: Annotated[
        bool,
        typer.Option(
            "--article",
            help="A city whose year shows the numbers of the founding article, in place of the"
            " week.",
        ),
    ] = False,
    one_in: Annotated[
        int,
        typer.Option(
            min=1,
            help="With --article: one in so many of its visits, problems and ties, for a quick"
            " look; 1 is the whole year.",
        ),
    ] = 1,
) -> None:
    """Live through a week with 60 phones of one township, then show the supervisor's summary. With
    --article exit code 1 where a figure is not read back as it should be.
    """
    from service.demo.article_year import HOUSEHOLDS_PER_GRID
    from service.demo.run import run

    settings = chosen(data, demo=True)
    if article:
        settings = settings.model_copy(update={"households_per_grid": HOUSEHOLDS_PER_GRID})
    if data is None:
        settings = settings.model_copy(update={"data": Path(".gridloop-demo")})
    with database_url(settings, makes=True, superuser=True) as settings:
        url = str(settings.database_url)
        if chosen(data).database_url is None:
            try:
                url = asyncio.run(fresh_database(url, DEMO))
            except asyncpg.ObjectInUseError:
                raise Refusal(
                    Text(
                        "Another demo uses this data folder. Stop it first, or name another:"
                        " ARGS='--data FOLDER'"
                    )
                ) from None
            settings = migrate_embedded(settings, url)
        else:
            migrate_given(settings)
        raise typer.Exit(run(settings, port, once, console, one_in if article else 0))
