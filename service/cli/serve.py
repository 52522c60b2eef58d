"""`gridloop serve`, and the app of each of its processes."""

import asyncio
import gc
import json
import logging
import os
from contextlib import ExitStack, suppress
from functools import partial
from typing import Annotated

import asyncpg
import typer
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.cli.console import load_demo_roster
from service.cli.database import database_url, look_before_start
from service.cli.options import Data, chosen
from service.cli.refusals import Refusal
from service.http.connection_limits import Limits
from service.http.crowding import room_for_files
from service.http.forwarded import Forwarded, proxies_from
from service.http.load_shedding import LoadShedding, LoadSheddingProtocol
from service.http.origins import cross_origin
from service.kit import logs
from service.kit.addresses import checked
from service.kit.encryption import KeyMissing
from service.kit.errors import Problem
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.kit.settings_reading import read_settings
from service.runtime.leftovers import own_folder, temporary_files_in
from service.runtime.memory import seldom_look_for_garbage
from service.runtime.reuseport import AddressTaken, Processes, Workers, can_spread
from service.runtime.stopping import Stopped, follow_first_process
from sync_protocol.texts import Text, text_of

log = logging.getLogger("gridloop")
commands = typer.Typer()


@commands.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Service processes.")] = 1,
    data: Data = None,
    demo: Annotated[bool, typer.Option("--demo", help="Let the demo sign-ins in.")] = False,
    proxy: Annotated[
        list[str],
        typer.Option(
            help="Address or network of a proxy that may say where a request came from; give it"
            " several times."
        ),
    ] = [],  # noqa: B006 - typer reads it and changes nothing
    trust_clock: Annotated[
        bool,
        typer.Option(
            "--trust-clock",
            help="Serve although the clock lies behind the newest stamp in the database.",
        ),
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
    with (
        suppress(Stopped),
        database_url(given, makes=True, migrate=True) as settings,
        ExitStack() as stack,
    ):
        # The workers are processes of their own and read the settings from the environment.
        os.environ["GRIDLOOP_DATABASE_URL"] = str(settings.database_url)
        os.environ.pop(
            "GRIDLOOP_OWNER_DATABASE_URL", None
        )  # what serves requests does not know how to be the owner
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
        if settings.demo:
            asyncio.run(_load_where_empty(settings))
        folder = stack.enter_context(own_folder("serve"))
        # Whatever its processes put down for a moment lies in it, too: of one that is killed
        # nothing stays.
        stack.enter_context(temporary_files_in(folder))
        if workers > 1:
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(folder))
        config = uvicorn.Config(
            "service.cli.serve:served_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http=LoadSheddingProtocol,
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            proxy_headers=False,  # its layer stands behind load shedding, see `served_app`
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
                processes = (
                    Processes(config) if can_spread() else Workers(config, [config.bind_socket()])
                )
                processes.run()
                if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
                    raise typer.Exit(STARTUP_FAILURE)
        except AddressTaken as error:
            raise Refusal(text_of(error)) from None


async def _load_where_empty(settings: Settings) -> None:
    """Loads the demo's roster where there is none; a database that is down, or has no tables yet,
    is left alone.
    """
    try:
        await load_demo_roster(settings)
    except (Problem, asyncpg.PostgresError) as error:
        log.warning("whether there is a roster was not seen: %r", error)


def served_app() -> LoadShedding:
    """The app of a service process, behind load shedding."""
    # While the routes are loaded nothing is garbage.
    gc.disable()
    from service.app import create_app

    follow_first_process()
    settings = read_settings()
    logs.install(settings.log_level)
    app = create_app(settings, utc_now)
    app.add_middleware(Forwarded, proxies_from(settings.proxies), app.state.unnamed_proxies)
    seldom_look_for_garbage()
    gc.enable()
    limits = Limits(connections=room_for_files(settings.max_connections))
    return LoadShedding(
        app, app.state.concurrency, partial(cross_origin, origins=settings.cors_origins), limits
    )
