"""The command `gridloop`."""

import asyncio
import gc
import json
import logging
import os
import re
import sys
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
import uvicorn
from rich.progress import TaskID
from rich.table import Table
from uvicorn.config import STARTUP_FAILURE

import migrations
from migrations.roles import NotTheOwner
from service.app import create_app, utc_now
from service.audit.audit_log import OPERATOR, record_operator
from service.cli.console import bars, console, load_roster, progress_bar, steps
from service.cli.database import OWNER, SERVICE, database_url, look_before_start, reach, run
from service.cli.refusals import Commands, Refusal, say
from service.http.connections import Limits, room_for_files
from service.http.forwarded import Forwarded, proxies_from
from service.http.origins import cross_origin
from service.kit import logs
from service.kit.addresses import checked
from service.kit.database import Database, open_pool
from service.kit.encryption import KeyMissing, new_key
from service.kit.localization import in_language, language_of_the_terminal
from service.kit.settings import Settings, read_settings
from service.runtime.admission import LoadShedding, LoadSheddingProtocol
from service.runtime.leftovers import own_folder, temporary_files_in
from service.runtime.memory import keep_freed_memory
from service.runtime.migrating import migrate_embedded, migrate_given, tables_at
from service.runtime.postgres import fresh_database
from service.runtime.reuseport import AddressTaken, Processes, Workers, can_spread
from service.runtime.stopping import Stopped, follow_first_process
from sync_protocol.ids import is_uuid
from sync_protocol.periods import local_day
from sync_protocol.texts import Text, text_of

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gridloop: offline-first field work for village grids.",
)
roster_app = typer.Typer(no_args_is_help=True, help="Units, cadres and households.")
epoch_app = typer.Typer(no_args_is_help=True, help="The identity of the server's history.")
app.add_typer(roster_app, name="roster")
app.add_typer(epoch_app, name="epoch")
keys_app = typer.Typer(no_args_is_help=True, help="The keys that sign tokens, and those that encrypt personal data.")
app.add_typer(keys_app, name="keys")
account_app = typer.Typer(no_args_is_help=True, help="Passwords of cadres, accounts of apps.")
app.add_typer(account_app, name="account")
erase_app = typer.Typer(no_args_is_help=True, help="Erase the personal data of a household or a cadre, for good.")
app.add_typer(erase_app, name="erase")

log = logging.getLogger("gridloop")
OWNER_NEEDED = Text("To migrate, set GRIDLOOP_OWNER_DATABASE_URL to a URL of the role that owns the tables, or of a superuser.")
STATEMENTS_NEEDED = Text(
    "The role of GRIDLOOP_OWNER_DATABASE_URL may not do all that is needed."
    " Ask an administrator of the database to run these statements in it, then run ‘gridloop migrate’ again:"
)
_INTERRUPTED = 130  # as a shell counts a Ctrl-C
_GARBAGE_AFTER = 100_000  # more than the objects that come and go with a full house
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the embedded PostgreSQL.")]


def chosen(data: Path | None, demo: bool = False) -> Settings:
    """Settings from the environment, with what the command line says on top."""
    settings = read_settings()
    updates: dict[str, object] = {}
    if data is not None:
        updates["data"] = data
    if demo:
        updates["demo"] = True
    return settings.model_copy(update=updates)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Service processes.")] = 1,
    data: Data = None,
    demo: Annotated[bool, typer.Option("--demo", help="Let the demo sign-ins in.")] = False,
    proxy: Annotated[
        list[str], typer.Option(help="Address or network of a proxy that may say where a request came from; give it several times.")
    ] = [],  # noqa: B006 - typer reads it and changes nothing
    trust_clock: Annotated[
        bool, typer.Option("--trust-clock", help="Serve although the clock lies behind the newest stamp in the database.")
    ] = False,
) -> None:
    """Run the service until Ctrl-C, SIGTERM or SIGHUP."""
    given = chosen(data, demo)
    if trust_clock:
        given = given.model_copy(update={"trust_clock": True})
    named = "--proxy" if proxy else "FORWARDED_ALLOW_IPS"
    try:
        proxies = [*map(checked, proxy)]
        proxies_from(proxies or given.proxies)
    except ValueError as error:
        raise Refusal(Text("{setting}: {what}.", setting=named, what=text_of(error))) from None
    # Asked to end, it has done what it should.
    with suppress(Stopped), database_url(given, makes=True) as settings, ExitStack() as stack:
        # The workers are processes of their own and read the settings from the environment.
        os.environ["GRIDLOOP_DATABASE_URL"] = str(settings.database_url)
        os.environ.pop("GRIDLOOP_OWNER_DATABASE_URL", None)  # what serves requests does not know how to be the owner
        os.environ["GRIDLOOP_DEMO"] = "1" if settings.demo else "0"
        os.environ["GRIDLOOP_DATA"] = str(settings.data.absolute())
        os.environ["GRIDLOOP_TRUST_CLOCK"] = "1" if settings.trust_clock else "0"
        if proxies:
            os.environ["GRIDLOOP_PROXIES"] = json.dumps(proxies)
        logs.install(settings.log_level)
        try:
            asyncio.run(look_before_start(settings))
        except (Refusal, KeyMissing) as error:
            raise Refusal(text_of(error), STARTUP_FAILURE) from None
        folder = stack.enter_context(own_folder("serve"))
        # Whatever its processes put down for a moment lies in it, too: of one that is killed nothing stays.
        stack.enter_context(temporary_files_in(folder))
        if workers > 1:
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(folder))
        config = uvicorn.Config(
            "service.cli:served_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http=LoadSheddingProtocol,
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            proxy_headers=False,  # its layer stands behind the door, see `served_app`
            access_log=False,
            log_config=None,
        )
        try:
            if workers == 1:
                server = uvicorn.Server(config)
                server.run()
                if not server.started:
                    raise typer.Exit(STARTUP_FAILURE)
            else:
                processes = Processes(config) if can_spread() else Workers(config, [config.bind_socket()])
                processes.run()
                if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
                    raise typer.Exit(STARTUP_FAILURE)
        except AddressTaken as error:
            raise Refusal(text_of(error)) from None


def served_app() -> LoadShedding:
    """The app of a service process, behind the door of phones."""
    follow_first_process()
    settings = read_settings()
    logs.install(settings.log_level)
    app = create_app(settings, utc_now)
    app.add_middleware(Forwarded, proxies_from(settings.proxies), app.state.strangers)
    # What is there now stays: looking for garbage in it again and again would cost every phone a little.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER, 20, 50)
    keep_freed_memory()
    limits = Limits(connections=room_for_files(settings.max_connections))
    return LoadShedding(app, app.state.concurrency, partial(cross_origin, origins=settings.cors_origins), limits)


@app.command()
def migrate(
    data: Data = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show which migrations would run, and whom each keeps out.")] = False,
    to: Annotated[str | None, typer.Option("--to", help="Migrate up, or back where that loses nothing, to this revision.")] = None,
) -> None:
    """Bring the database to the newest tables, and try again what was held because an older server did not know its kind."""
    from service.inbox.retry_held import release_unknown_kinds

    async def try_again(database: Database) -> int:
        return await release_unknown_kinds(database, settings, utc_now())

    given = chosen(data)
    with database_url(given, makes=not plan, migrate=False) as settings:
        if given.database_url:
            asyncio.run(reach(settings.owner_url, SERVICE if settings.owner_database_url is None else OWNER))
        if plan:
            _show_plan(settings.owner_url, to)
            return
        if given.database_url:
            _migrate_given(settings, to or "head")
        else:
            settings = migrate_embedded(settings, str(settings.database_url), to or "head")
        tables = asyncio.run(tables_at(settings.owner_url))
        if tables.revision != migrations.revisions()[0]:
            say(console, tables.warning or Text("The database is at revision {revision}.", revision=tables.revision or ""), "yellow")
            return
        released = 0
        try:
            released = run(settings, try_again, keys=True)
        except KeyMissing as error:  # where one migrates, the keys of the service need not lie
            say(console, Text("What was held for want of newer tables was not tried again. {why}", why=text_of(error)), "yellow")
        console.print("The database is at the newest revision.", f"{released} held mutations went through." if released else "")


def _migrate_given(settings: Settings, to: str) -> None:
    """Migrates a database that is not the embedded one, and says what its role may not do."""
    try:
        migrated = migrate_given(settings, to)
        missing = migrated.missing if migrated else []
    except NotTheOwner as error:
        say(
            console,
            Text("The role ‘{role}’ may not change the tables of this database. {owner}", role=error.role, owner=OWNER_NEEDED),
        )
        missing = error.missing
        if not missing:
            raise typer.Exit(1) from None
    if missing:
        say(console, STATEMENTS_NEEDED)
        typer.echo("\n".join(missing))
        raise typer.Exit(1)


def _show_plan(url: str, to: str | None) -> None:
    """Prints what a migration would do, with what to mind."""
    from service.runtime import migration_plan

    language = language_of_the_terminal()
    found = asyncio.run(migration_plan.plan(url, to))
    if found.tables.are_newer:
        say(console, found.tables.too_new or found.tables.warning or "", "yellow")
    elif not found.forward and not found.back:
        say(console, Text("The database is at revision {revision} already; there is nothing to migrate.", revision=found.to), "green")
    else:
        console.print(migration_plan.table_of(found, language))
    stops = migration_plan.stops_older(found)
    if stops and found.tables.revision is not None:
        text = Text(
            "End all processes of the release before first: revision {revision} takes away what they need. Until the newer release runs,"
            " phones keep what they write.",
            revision=stops[0].declared.revision,
        )
        console.print(in_language(text, language), highlight=False, soft_wrap=True)
    elif found.forward and found.tables.revision is not None:
        text = Text("Processes of the release before may run on meanwhile; change them over one by one afterwards.")
        console.print(in_language(text, language), highlight=False, soft_wrap=True)


@roster_app.command("load")
def roster_load(
    data: Data = None,
    demo: Annotated[bool, typer.Option("--demo", help="Make the demo sign-ins, too.")] = False,
) -> None:
    """Load Baotou's units, and the made-up cadres and households below; what is there stays as it is."""

    async def line(database: Database) -> None:
        async with database.transaction() as connection:
            await record_operator(connection, utc_now(), "roster-loaded", "roster")

    with database_url(chosen(data, demo), makes=True) as settings:
        run(settings, _nothing, keys=True)
        asyncio.run(load_roster(settings))
        run(settings, line)


@epoch_app.command("new")
def epoch_new(data: Data = None) -> None:
    """Take a new epoch: run this after restoring the database from a backup, before phones sync again."""
    from service.writes.queries import new_epoch, server_state

    async def renew(database: Database) -> str:
        async with database.transaction() as connection:
            epoch = await new_epoch(connection, str((await server_state(connection))["epoch"]))
            await record_operator(connection, utc_now(), "epoch-renewed", epoch)
            return epoch

    with database_url(chosen(data)) as settings:
        console.print(f"The epoch is now {run(settings, renew)}.")


async def _nothing(_: Database) -> None:
    """For a command whose own work begins later."""


@keys_app.command("rotate")
def keys_rotate(
    data: Data = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="Let the old keys go now: everybody signs in or refreshes anew.")] = False,
) -> None:
    """Sign tokens with a new key; the old ones stay published until all that they signed has expired."""
    from service.identity.tokens import Tokens

    with database_url(chosen(data)) as settings:

        async def rotate(database: Database) -> str:
            now = utc_now()
            act = partial(record_operator, at=now, action="signing-keys-rotated", subject="at once" if at_once else "")
            return await Tokens(database, settings).rotate(now, at_once, act)

        console.print(f"Key {run(settings, rotate)} signs from now on; running processes take it within a minute.")


@keys_app.command("secret")
def keys_secret() -> None:
    """Print a new key for GRIDLOOP_SECRET_KEYS or the key file: put it last and restart, then first and restart, then `keys reencrypt`."""
    typer.echo(new_key())


@keys_app.command("reencrypt")
def keys_reencrypt(
    data: Data = None,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Record completion even though a key is missing: what it encrypted stays unreadable.")
    ] = False,
) -> None:
    """Encrypt everything by the newest key in the present form; older keys can go afterwards. May be run again at any time.

    After an upgrade it is run once no process of the previous release is left: those cannot read what is written from then on.
    """
    from service.privacy.reencrypt import Outcome, reencrypt

    with database_url(chosen(data)) as settings, progress_bar() as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=done)

        async def work(database: Database) -> Outcome:
            outcome = await reencrypt(database, settings, show, give_up)
            async with database.transaction() as connection:
                await record_operator(connection, utc_now(), "reencrypted", settings.keyring.kid, outcome.changed)
            return outcome

        outcome = run(settings, work)
    console.print(f"{outcome.changed} rows were encrypted anew by key {settings.keyring.kid}.")
    if outcome.lost:
        console.print(f"[yellow]{outcome.lost} values could not be decrypted and were left as they are.[/yellow]")
    if outcome.missing:
        console.print(f"[red]Keys are missing: {', '.join(sorted(outcome.missing))}.[/red] Add them and run this again.")
    if not outcome.complete:
        console.print("Completion was not recorded: the previous release's form is still read, too. --give-up records it all the same.")
    if (outcome.lost or outcome.missing or not outcome.complete) and not give_up:
        raise typer.Exit(1)


@keys_app.command("reseal", hidden=True, deprecated=True)
def keys_reseal(data: Data = None) -> None:
    """The former name of `gridloop keys reencrypt`."""
    console.print("[yellow]‘keys reseal’ is called ‘keys reencrypt’ now.[/yellow]")
    keys_reencrypt(data, give_up=False)


@account_app.command("password")
def account_password(
    staff_code: str,
    data: Data = None,
    password: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Asked for when left out.")] = "",
) -> None:
    """Give a cadre a first password, which must be changed at the first sign-in: how the first administrator gets in."""
    from service.identity import queries
    from service.identity.account_routes import PURPOSE
    from service.identity.passwords import hasher, refuse_weak
    from service.identity.second_factor_queries import delete_codes
    from service.identity.session_queries import end_sessions, lock_sign_ins

    async def give(database: Database) -> None:
        now = utc_now()
        expires_at = now + timedelta(hours=settings.first_password_hours)
        async with database.transaction() as connection:
            await lock_sign_ins(connection, staff_code)
            await queries.refuse_erased(connection, staff_code)
            if await queries.cadre(connection, staff_code) is None:
                raise Refusal(Text("There is no cadre ‘{cadre}’; load the roster first.", cadre=staff_code))
            posts = await queries.posts_of(connection, staff_code)
            if all(post.valid_to is not None and post.valid_to <= now for post in posts):
                raise Refusal(Text("‘{cadre}’ has no post any more, so that no password would let them in.", cadre=staff_code))
            await end_sessions(connection, staff_code, now, "password")
            await queries.set_password(connection, staff_code, hasher.hash(password), expires_at)
            await delete_codes(connection, staff_code, PURPOSE)
            await record_operator(connection, now, "password-set", staff_code)

    with database_url(chosen(data)) as settings:
        refuse_weak(password, [staff_code])
        run(settings, give)
        console.print(f"{staff_code} signs in with this password within {settings.first_password_hours} hours and then chooses another.")


@account_app.command("reset-otp")
def account_reset_otp(staff_code: str, data: Data = None) -> None:
    """Take a cadre's second factor away: for an administrator who has lost the app and the recovery codes. Ends the sign-ins."""
    from service.identity.second_factor_queries import forget_second_factor
    from service.identity.session_queries import end_sessions, lock_sign_ins

    async def reset(database: Database) -> None:
        async with database.transaction() as connection:
            await lock_sign_ins(connection, staff_code)
            if not await forget_second_factor(connection, staff_code):
                raise Refusal(Text("‘{cadre}’ has no second factor; nothing was changed.", cadre=staff_code))
            await end_sessions(connection, staff_code, utc_now(), "second-factor")
            await record_operator(connection, utc_now(), "otp-reset", staff_code)

    with database_url(chosen(data)) as settings:
        run(settings, reset)
    console.print(f"{staff_code} signs in without a code, and sets up another second factor where the role asks for one.")


@account_app.command("app")
def account_app_client(
    client_id: str,
    unit: Annotated[str, typer.Option(help="The unit for which the app works, with all below.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; give it several times.")],
    name: Annotated[str, typer.Option(help="Its name for people.")] = "包头农牧",
    data: Data = None,
) -> None:
    """Make an app's account, or give it a new secret, which is shown once."""
    from service.identity import queries
    from service.identity.passwords import hasher
    from service.identity.rights import SCOPES
    from service.identity.tokens import new_refresh_token

    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise Refusal(Text("There is no scope {unknown}; there are {scopes}.", unknown=", ".join(unknown), scopes=", ".join(SCOPES)))
    if not re.fullmatch(r"[a-z][a-z0-9_-]{2,39}", client_id):
        raise Refusal(Text("A client_id is 3 to 40 small letters, digits, - and _, and begins with a letter."))
    secret = new_refresh_token()

    async def add(database: Database) -> None:
        async with database.transaction() as connection:
            if await queries.cadre(connection, client_id) is not None:
                raise Refusal(Text("‘{client}’ is a cadre's staff code; choose another.", client=client_id))
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM unit WHERE code = $1)", unit):
                raise Refusal(Text("There is no unit ‘{unit}’; load the roster first.", unit=unit))
            await queries.add_client(connection, client_id, name, hasher.hash(secret), sorted(set(scope)), unit, utc_now())
            await record_operator(connection, utc_now(), "app-account-made", client_id)

    with database_url(chosen(data)) as settings:
        run(settings, add)
    console.print(f"client_id: {client_id}\nclient_secret (shown once): {secret}")


@account_app.command("end-app")
def account_end_app(client_id: str, data: Data = None) -> None:
    """End an app's account: its tokens stop being good."""
    from service.identity import queries

    async def end(database: Database) -> None:
        async with database.transaction() as connection:
            if not await queries.revoke_client(connection, client_id, utc_now()):
                raise Refusal(Text("There is no app ‘{client}’, or it was ended before.", client=client_id))
            await record_operator(connection, utc_now(), "app-account-ended", client_id)

    with database_url(chosen(data)) as settings:
        run(settings, end)
    console.print(f"{client_id} was ended.")


@app.command()
def purge(
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Clear what was kept for its time: locations, old lines of the trail, expired tokens. Run it daily."""
    from service.privacy.purge import TRAIL_KEPT
    from service.privacy.purge import purge as clear

    with database_url(chosen(data)) as settings:

        async def work(database: Database) -> list[tuple[str, str, int]]:
            report = await clear(database, settings, utc_now(), dry_run)
            async with database.transaction() as connection:
                for what, _, count in report:
                    if count and not dry_run:
                        await record_operator(connection, utc_now(), "purged", what, count)
            return report

        table = Table("what", "older than", "would go" if dry_run else "cleared", title="purge")
        report = run(settings, work, keys=not dry_run, owner=True)
        for what, age, count in report:
            table.add_row(what, age, str(count))
    console.print(table)
    if any(what == TRAIL_KEPT for what, _, _ in report):
        raise typer.Exit(1)


Reason = Annotated[str, typer.Option(help="Why; it is kept, so say it without name and number.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


@erase_app.command("household")
def erase_household(id: str, reason: Reason, data: Data = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Erase a household from records, history and everything kept aside; counts stay. Run it again if it was interrupted."""
    if not is_uuid(id.lower()):
        raise Refusal(Text("‘{id}’ is no id of a household; give its UUID, as GET /v1/households shows it.", id=id))
    _erase("household", id.lower(), reason, data, yes, dry_run)


@erase_app.command("cadre")
def erase_cadre(staff_code: str, reason: Reason, data: Data = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Erase a cadre's account; the staff code stays as a pseudonym for the counts. Run it again if it was interrupted."""
    _erase("cadre", staff_code, reason, data, yes, dry_run)


def _erase(kind: str, subject: str, reason: str, data: Path | None, yes: bool, dry_run: bool) -> None:
    from service.privacy.erasure import Asked, Done, Erasing, erase, operators_act
    from service.privacy.erasure_console import tables

    asked = Asked(kind, subject, reason, OPERATOR)
    with database_url(chosen(data)) as settings:
        if not (yes or dry_run):
            typer.confirm(f"Erase the personal data of {kind} {subject}? There is no way back", abort=True)

        async def work(database: Database) -> Done:
            at = Erasing(database, settings, utc_now(), dry_run)
            return await erase(at, asked, operators_act(asked, at.now))

        done = run(settings, work, keys=True)
    console.print(*tables(done, dry_run), sep="\n")


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeded histories to live through.")] = 200,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Simulate phones, faults, kills and restores from seeds, and check every promise. Needs the source checkout."""
    # An installed command does not look beside the packages for the tests of the checkout.
    sys.path.insert(0, str(Path(migrations.__file__).parent.parent))
    try:
        from tests.simulation.run import run
    except ImportError as error:
        console.print(f"The simulator lives in tests/ of the source checkout, run it there: {error}")
        raise typer.Exit(1) from None
    raise typer.Exit(1 if run(first, seeds, workers, console) else 0)


@app.command()
def conformance(
    command: Annotated[str | None, typer.Option("--command", help="Starts the client: it reads hooks from standard input.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where a client that is running takes hooks, on this machine.")] = None,
    only: Annotated[
        list[str], typer.Option(help="Play these transcripts, by the names of their files, and no history; several times.")
    ] = [],  # noqa: B006 - typer reads it and changes nothing
    seeds: Annotated[int, typer.Option(min=0, help="How many seeded histories against a real service.")] = 3,
    first: Annotated[int, typer.Option(help="The first seed.")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of a history.")] = 80,
    language: Annotated[str | None, typer.Option(help="zh or en; left out: as the terminal's locale says.")] = None,
) -> None:
    """Test any client of the sync protocol: transcripts, then histories with faults. Without a client, the reference device. Exit code 1
    when it got anything wrong; docs/conformance.md describes the hooks."""
    from service.conformance.command import Wanted, run

    if (command and url) or language not in (None, "zh", "en"):
        console.print("[red]Give --command or --url, not both; --language is zh or en.[/red]")
        raise typer.Exit(1)
    spoken = "zh" if language == "zh" else "en" if language == "en" else language_of_the_terminal()
    raise typer.Exit(run(command, url, Wanted(only, first, 0 if only else seeds, steps), console, spoken))


@app.command()
def fill(
    visits: Annotated[int, typer.Option(min=1, help="How many visits.")] = 1_000_000,
    problems: Annotated[int | None, typer.Option(min=0, help="How many problems; left out: a plausible share.")] = None,
    days: Annotated[int, typer.Option(min=7, max=3660, help="Over how many days up to yesterday.")] = 365,
    data: Data = None,
) -> None:
    """Make up a year of field work by COPY, for benchmarks and trials; loads the roster where there is none."""
    from service.demo.fill import FillRefused
    from service.demo.fill import fill as fill_database

    async def write(settings: Settings) -> None:
        await load_roster(settings)
        # As the owner: it takes indexes away and makes them anew, and analyses the tables.
        pool = await open_pool(settings.owner_url, 2)
        try:
            with progress_bar() as progress:
                show = bars(progress)
                count = visits * 2 // 70 if problems is None else problems
                last = local_day(utc_now()) - timedelta(days=1)
                filled = await fill_database(Database(pool), settings, visits, count, last, days, show)
        finally:
            await pool.close()
        console.print(
            f"{filled.visits} visits, {filled.problems} problems with {filled.steps} steps, {filled.texts} analyses and summaries,"
            f" and the log of {filled.mutations} mutations."
        )

    with database_url(chosen(data), makes=True) as settings:
        run(settings, _nothing, keys=True, owner=True)
        try:
            asyncio.run(write(settings))
        except FillRefused as error:
            raise Refusal(text_of(error)) from None


def _stopped(done: int, parts: int, found: int, mend: bool) -> Text:
    """What is said of a check that was interrupted."""
    if mend:
        return Text(
            "Stopped after {done} of {parts} parts: {found} differences in them were mended, and nothing else was changed."
            " Run ‘gridloop check --mend’ again for the rest.",
            done=done,
            parts=parts,
            found=found,
        )
    return Text(
        "Stopped after {done} of {parts} parts: {found} differences were found in them. Run ‘gridloop check’ again to look at all.",
        done=done,
        parts=parts,
        found=found,
    )


@app.command()
def check(
    data: Data = None,
    mend: Annotated[bool, typer.Option("--mend", help="Put the recounted rows in place of those that differ.")] = False,
) -> None:
    """Recount cases and tallies from the records, part by part, while the service goes on; exit code 1 when anything differs and was not
    mended."""
    from service.tallies.checking import Checked, go_through

    checked = Checked()
    try:
        with database_url(chosen(data)) as settings:
            run(settings, _nothing, clock=mend)  # who only looks stores nothing by the clock
            try:
                with steps("parts checked") as show:
                    go_through(settings, mend, checked, show)
            except KeyboardInterrupt:
                say(console, _stopped(checked.done, checked.parts, len(checked.found), mend), "yellow")
                raise
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    for item in checked.found[:50]:
        console.print(f"{item.what} {item.key}: kept {item.kept}, recounted {item.recounted}", highlight=False, markup=False)
    if not checked.found:
        console.print("All cases and tallies are what the records say.")
    else:
        console.print(f"{len(checked.found)} differences{', mended' if mend else ''}.")
        raise typer.Exit(0 if mend else 1)


@app.command()
def openapi(path: Annotated[Path, typer.Argument(help="File to write.")] = Path("openapi/openapi.json")) -> None:
    """Write the OpenAPI document, the JSON Schema of the sync messages, and the tables in PROTOCOL.md."""
    from service.openapi import write
    from sync_protocol.describe import PROTOCOL_MD, written
    from sync_protocol.schema import write_schema

    changed = write(create_app(read_settings().model_copy(update={"open_docs": True, "open_metrics": True})), path)
    console.print(f"{path} {'written' if changed else 'is up to date'}.")
    write_schema()
    PROTOCOL_MD.write_text(written(PROTOCOL_MD.read_text(encoding="utf-8")), encoding="utf-8")


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the service.")] = 8000,
    data: Data = None,
    once: Annotated[bool, typer.Option("--once", help="End after the report instead of staying up.")] = False,
) -> None:
    """Live through a week with 60 phones of one township, then show the supervisor's summary."""
    from service.demo.run import run

    settings = chosen(data, demo=True)
    if data is None:
        settings = settings.model_copy(update={"data": Path(".gridloop-demo")})
    with database_url(settings, makes=True, migrate=False) as settings:
        url = str(settings.database_url)
        if chosen(data).database_url is None:
            try:
                url = asyncio.run(fresh_database(url, "gridloop_demo"))
            except asyncpg.ObjectInUseError:
                raise Refusal(Text("Another demo uses this data folder. Stop it first, or name another: ARGS='--data FOLDER'")) from None
            settings = migrate_embedded(settings, url)
        else:
            migrate_given(settings)
        raise typer.Exit(run(settings, port, once, console))
