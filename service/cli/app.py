"""The command `gridloop`."""

import typer

from service.cli import (
    accounts,
    calendar,
    data,
    jobs,
    keys,
    migrate,
    reporting,
    roster,
    roster_imports,
    roster_levels,
    serve,
    trials,
)
from service.cli.refusals import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gridloop: offline-first field work for village grids.",
)
for commands in (serve.commands, migrate.commands, data.commands, trials.commands):
    app.add_typer(commands)
for commands in (roster_imports.commands, roster_levels.commands):
    roster.roster_app.add_typer(commands)
app.add_typer(roster.roster_app, name="roster")
app.add_typer(calendar.calendar_app, name="calendar")
app.add_typer(data.epoch_app, name="epoch")
app.add_typer(keys.keys_app, name="keys")
app.add_typer(accounts.account_app, name="account")
app.add_typer(data.erase_app, name="erase")
app.add_typer(jobs.jobs_app, name="jobs")
app.add_typer(reporting.reporting_app, name="reporting")
