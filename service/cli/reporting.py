"""`gridloop reporting`: who reads the views of the schema `report`."""

import asyncio
from typing import Annotated, TypeVar

import asyncpg
import typer
from rich.table import Table

from migrations import reporting
from migrations.reporting import NoSuchUnit, NotForReports
from service.audit.audit_log import record_operator
from service.cli.console import console, shown
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal, say
from service.kit.database import Database
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.texts import Text

T = TypeVar("T")
reporting_app = typer.Typer(
    no_args_is_help=True, help="Views for reporting tools, and the roles that read them."
)
Role = Annotated[str, typer.Argument(help="A role of the database, for one tool or one person.")]


@reporting_app.command("grant")
def grant(
    role: Role,
    unit: Annotated[str, typer.Option(help="The unit that it reads, with all below it.")],
    data: Data = None,
) -> None:
    """Let a role of the database read the views of a unit and of all below it. A role that is not
    there is made, and its password shown once.
    """
    with database_url(chosen(data), superuser=True) as settings:
        try:
            password = asyncio.run(
                reporting.grant(settings.owner_url, settings.service_role, role, unit)
            )
        except NoSuchUnit:
            raise Refusal(Text("There is no unit ‘{unit}’.", unit=unit)) from None
        except NotForReports:
            raise Refusal(
                Text(
                    "The role ‘{role}’ is the service's, or may do more than read; name another"
                    " one for reports.",
                    role=role,
                )
            ) from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise Refusal(
                Text(
                    "The role of GRIDLOOP_OWNER_DATABASE_URL may not do this ({error}). Run the"
                    " command with the URL of a superuser in it.",
                    error=str(error),
                )
            ) from None
        _record(settings, "reporting-granted", f"{role} {unit}", 1)
    if password is not None:
        say(
            console,
            Text(
                "The role ‘{role}’ was made. Its password, which is shown only now: {password}",
                role=role,
                password=password,
            ),
        )
    say(
        console,
        Text(
            "‘{role}’ reads the views of the schema report, of unit {unit} and all below it.",
            role=role,
            unit=unit,
        ),
    )


@reporting_app.command("revoke")
def revoke(
    role: Role,
    unit: Annotated[str | None, typer.Option(help="Only this unit; else every one.")] = None,
    data: Data = None,
) -> None:
    """Take a unit, or every one, from a role again. The role stays, and sees no rows of it."""
    with database_url(chosen(data), superuser=True) as settings:
        count = asyncio.run(reporting.revoke(settings.owner_url, role, unit))
        if not count:
            raise Refusal(Text("‘{role}’ was not granted that.", role=role))
        _record(settings, "reporting-revoked", role if unit is None else f"{role} {unit}", count)
    say(console, Text("{count} units were taken from ‘{role}’.", count=count, role=role))


@reporting_app.command("list")
def list_roles(data: Data = None) -> None:
    """Show the roles that read views, and of which units."""
    with database_url(chosen(data), superuser=True) as settings:
        rows = asyncio.run(reporting.granted(settings.owner_url))
    table = Table()
    for title in (Text("role"), Text("unit")):
        table.add_column(shown(title))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _record(settings: Settings, action: str, subject: str, count: int) -> None:
    """A line in the trail."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await record_operator(connection, utc_now(), action, subject, count)

    run(settings, work)
