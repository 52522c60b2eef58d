"""`gridloop roster`: units, cadres and households."""

import asyncio
import logging
from typing import Annotated

import typer

from service.app import utc_now
from service.audit.audit_log import record_operator
from service.cli.console import load_roster
from service.cli.database import database_url, nothing, run
from service.cli.options import Data, chosen
from service.kit.database import Database

log = logging.getLogger("gridloop")
roster_app = typer.Typer(no_args_is_help=True, help="Units, cadres and households.")


@roster_app.command("load")
def roster_load(
    data: Data = None,
    demo: Annotated[bool, typer.Option("--demo", help="Make the demo sign-ins, too.")] = False,
) -> None:
    """Load Baotou's units, and the made-up cadres and households below; what is there stays as it
    is.
    """

    async def line(database: Database) -> None:
        async with database.transaction() as connection:
            await record_operator(connection, utc_now(), "roster-loaded", "roster")

    with database_url(chosen(data, demo), makes=True, migrate=True) as settings:
        run(settings, nothing, keys=True)
        asyncio.run(load_roster(settings))
        run(settings, line)
