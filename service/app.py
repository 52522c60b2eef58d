"""The FastAPI service: the routers of all domains, the tasks beside them, and the layers around."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Any

import asyncpg
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import BaseRoute

from service import health, openapi
from service.accounts import app_accounts, handover, people, posts, tied_households
from service.accounts import routes as accounts
from service.app_api import request_routes
from service.app_api import routes as app_api
from service.articles import reads as article_reads
from service.articles import routes as articles
from service.audit import routes as audit
from service.audit.rights import DatabaseRights
from service.background import kinds
from service.history import routes as history
from service.households import routes as households
from service.households import writing as household_writing
from service.http.access_log import AccessLog, id_of_request, new_id
from service.http.account_limit import AccountLimit
from service.http.compression import Compression
from service.http.csv_answers import CsvAnswers
from service.http.etags import ETags
from service.http.forwarded import UnnamedProxies
from service.http.head_as_get import HeadAsGet
from service.http.idempotency import Idempotency
from service.http.origins import cross_origin
from service.http.request_bodies import RequestBodies
from service.http.retries import Retries
from service.http.strict import known_parameters
from service.identity import account_routes, otp_routes
from service.identity import routes as identity
from service.identity.attempts import Attempts
from service.identity.passwords import Passwords
from service.identity.tokens import Tokens
from service.imports import routes as imports
from service.imports.importer import Importer
from service.inbox import routes as inbox
from service.indicators import mark_routes
from service.indicators import routes as indicators
from service.jobs import routes as jobs
from service.jobs.figures import Figures
from service.jobs.runner import Runner
from service.kit import errors
from service.kit.database import Database, close_pool, open_pool
from service.kit.errors import Problem
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.kit.state import State
from service.ledgers import routes as ledgers
from service.loop import routes as loop
from service.organisation import change_routes as unit_changes
from service.organisation import level_routes
from service.organisation import routes as units
from service.pages import assets
from service.pages.answers import PageAnswers
from service.pages.routers import ROUTERS as PAGES
from service.pages.routers import SEGMENTS
from service.privacy import erasure_routes as erasures
from service.privacy import routes as privacy
from service.problems import routes as problems
from service.runtime.admission import ConcurrencyLimit
from service.runtime.clocks import ClockWatch, RightClock
from service.runtime.stopping import end_tasks
from service.runtime.tables import look
from service.runtime.tables_watch import FittingTables, TablesWatch
from service.runtime.write_probe import WriteProbe
from service.summaries import cadre_report, cadre_routes, reports, seal_routes, trend
from service.summaries import routes as summaries
from service.sync import routes as sync
from service.sync.bypass import SyncBypass
from service.sync.exchange import Exchanges
from service.ties import routes as ties
from service.visiting import routes as visiting
from service.visits import routes as visits
from service.vocabulary import calendar_routes as calendar
from service.vocabulary import routes as vocabulary
from service.webhooks import delivery_routes as webhook_deliveries
from service.webhooks import routes as webhooks
from service.writes import timelines

log = logging.getLogger("gridloop")

VERSION = "0.1.0"
_DESCRIPTION = """
Phones speak `POST /v1/sync`, see `sync_protocol/PROTOCOL.md`; apps and supervisors use the rest.
Sign in at `/v1/auth/token` and send the access token as `Authorization: Bearer …`.

- Lists come in pages: `limit`, and `after` with the `next` of the page before; the next page
  also stands in the header `Link`.
- Reads carry an `ETag`; with `If-None-Match` what has not changed is answered 304.
- A POST with an `Idempotency-Key` can be sent again when its answer was lost: it happens once.
- Bodies may come, and answers go, as gzip; a body has at most 1 MiB, the sync 2 MiB, the
  form of a sign-in 64 KiB, the files of an import 32 MiB, inflated.
- Every answer has an `X-Request-ID`, which the server's log knows, but for exchanges that are
  only asked to come again.
- Errors are `application/problem+json` (RFC 9457). The `type` is `/problems/` and one of these:

{catalogue}
"""


async def look_at_database(
    database: Database, settings: Settings, tables: TablesWatch, clock: ClockWatch | None = None
) -> None:
    """Raises `KeyMissing` now, and not with the first phone; says in the log when the tables are
    missing or of another release, or the clock is wrong.

    A database that is down, or has no tables yet, is asked again at the first sign-in.
    """
    try:
        found = await look(database.reading(), settings, None if clock is None else clock.look)
        tables.note(found)
        if found.wrong is not None and found.too_new is None:  # of that the watch has told
            log.error("%s", found.wrong)
    except (Problem, asyncpg.PostgresError) as error:
        log.warning(
            "whether the database has its tables, and the keys are its own, is asked later: %r",
            error.__cause__ or error,
        )


ROUTERS = (
    identity.router,
    account_routes.router,
    otp_routes.router,
    accounts.router,
    people.router,
    posts.router,
    tied_households.router,
    handover.router,
    app_accounts.router,
    sync.router,
    inbox.router,
    problems.router,
    summaries.router,
    cadre_routes.router,
    trend.router,
    seal_routes.router,
    reports.router,
    cadre_report.router,
    loop.router,
    units.router,
    unit_changes.router,
    level_routes.router,
    vocabulary.router,
    calendar.router,
    households.router,
    household_writing.router,
    indicators.router,
    mark_routes.router,
    ties.router,
    visiting.router,
    visits.router,
    history.router,
    article_reads.router,
    articles.router,
    request_routes.router,
    app_api.router,
    privacy.router,
    erasures.router,
    audit.router,
    webhooks.router,
    webhook_deliveries.router,
    jobs.router,
    imports.router,  # before the ledgers, whose paths are like one of its own
    ledgers.router,
    health.router,
)


@cache
def _routes() -> list[BaseRoute]:
    """Those that every app of a process shares: what FastAPI works out of them takes longer than
    most requests.
    """
    api = APIRouter(dependencies=[Depends(known_parameters)])
    for router in ROUTERS:
        api.include_router(router)
    # A link to a page may have parameters that others have added to it.
    pages = APIRouter()
    for page in PAGES:
        pages.include_router(page)
    return [*api.routes, *pages.routes, assets.route]


def create_app(
    settings: Settings, now: Callable[[], datetime] = utc_now, clock: ClockWatch | None = None
) -> FastAPI:
    """The service over the database of the settings, whose tables are migrated already.

    `clock` watches the clock; this machine's is watched anyway, and another is what somebody wants
    it to be.
    """
    if clock is None and now is utc_now:
        clock = ClockWatch(now, settings.trust_clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assert settings.database_url, "the database is chosen before the app starts"
        pool = await open_pool(
            settings.database_url,
            settings.pool_size,
            settings.main_limits,
            init=timelines.note_timeline,
        )
        # A statement of its own plan for each unit, and no workers beside it: phones need the other
        # cores.
        planned = {"plan_cache_mode": "force_custom_plan", "max_parallel_workers_per_gather": "0"}
        analysis = await open_pool(
            settings.database_url,
            settings.analysis_pool_size,
            settings.analysis_limits,
            planned,
            init=timelines.note_timeline,
        )
        # Phones ask the same few statements all evening, and each for its own rows: whatever the
        # statistics say of tables that grow under them, one plan that goes by the indexes is right.
        looked_up = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
        sync = await open_pool(
            settings.database_url,
            settings.sync_pool_size,
            settings.sync_limits,
            looked_up,
            init=timelines.note_timeline,
        )
        database = Database(pool, analysis, sync, app.state.tables.look_first)
        await look_at_database(database, settings, app.state.tables, clock)
        first_probe = await app.state.write_probe.begin(database)
        app.state.gridloop = State(
            settings,
            database,
            now,
            Tokens(database, settings, now),
            Attempts(database, settings),
            Passwords(),
            Exchanges(database, settings),
            importer := Importer(),
            Figures(),
        )

        def stamp() -> datetime:
            """The moment for what the service stores by itself; raises `Problem` while it may store
            nothing.
            """
            app.state.tables.refuse_too_new()
            return now() if clock is None else clock.stamp()

        runner = Runner(kinds(settings), database, settings, stamp)
        app.state.gridloop.give(Runner, runner)
        working = asyncio.create_task(runner.run())
        checking = asyncio.create_task(app.state.database_rights.check_at_start(database))
        watching = asyncio.create_task(app.state.tables.run(database))
        probing = asyncio.create_task(app.state.write_probe.run(database))
        importing = asyncio.create_task(importer.run(database, settings, stamp))
        tasks: list[asyncio.Task[None]] = [
            *(working, checking, watching, first_probe, probing, importing)
        ]
        if clock is not None:
            tasks.append(asyncio.create_task(clock.run(database)))
        try:
            yield
        finally:
            await runner.stop(working)
            await end_tasks(tasks)
            for each in (pool, analysis, sync):
                await close_pool(each)

    about: dict[str, Any] = {
        "title": "Gridloop",
        "version": VERSION,
        "summary": "Offline-first field work for village grids 村级网格工作闭环",
        "description": _DESCRIPTION.format(catalogue=errors.catalogue()),
        "lifespan": lifespan,
        "redirect_slashes": False,
        # Figures and log are the service's own; that of the framework would be looked for at every
        # request.
        "telemetry": {"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        "dependencies": [Depends(known_parameters)],
        "routes": _routes(),
    }
    # Closed, a page is not there at all: its path is answered like any other that does not exist.
    app: FastAPI = (
        FastAPIOffline(**about)
        if settings.demo or settings.open_docs
        else FastAPI(**about, openapi_url=None)
    )
    app.state.database_rights = DatabaseRights()
    app.state.concurrency = ConcurrencyLimit(settings.sync_max_concurrency)
    app.state.unnamed_proxies = UnnamedProxies()
    app.state.clock = clock
    app.state.tables = TablesWatch()
    app.state.write_probe = WriteProbe()
    # From the inside out.
    app.add_middleware(CsvAnswers)
    app.add_middleware(Retries)
    app.add_middleware(Idempotency)
    app.add_middleware(Retries)
    app.add_middleware(AccountLimit)
    app.add_middleware(RequestBodies)
    app.add_middleware(errors.CatchAll)
    app.add_middleware(ETags)
    app.add_middleware(Compression, minimum_size=1_000, compresslevel=4)
    app.add_middleware(RightClock, SEGMENTS)
    app.add_middleware(FittingTables)
    app.add_middleware(PageAnswers, SEGMENTS)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SyncBypass)
    app.add_middleware(cross_origin, settings.cors_origins)
    app.add_middleware(AccessLog)
    app.add_middleware(
        CorrelationIdMiddleware,
        update_request_header=False,
        generator=new_id,
        validator=None,  # it would warn of each id that looks like none
        transformer=id_of_request,
    )
    errors.install(app)
    if settings.demo or settings.open_metrics or settings.metrics_token is not None:
        app.include_router(health.figures_router)
    openapi.install(app)
    return app
