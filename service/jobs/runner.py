"""Carries jobs out, in every service process.

Each process has one connection to the queue. It is told of new jobs over it, and looks now and then
by itself. While a job runs its process writes that it lives; a job whose process is silent for
`job_timeout_seconds` is taken up by another. That an attempt begins is written before it does
anything, so that a job that kills its process is found out, and not tried for ever.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

import asyncpg
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.types import QueueExecutionMode

from service.jobs import library, queries, results
from service.jobs.asking import RESULT
from service.jobs.kinds import Job, JobKind
from service.jobs.outcomes import BrokenOff, JobFailed, judged, judged_broken_off
from service.jobs.queue import add
from service.kit import metrics
from service.kit.database import Database
from service.kit.database_errors import fault_of
from service.kit.errors import Problem
from service.kit.settings import Settings

log = logging.getLogger("gridloop")

# A process begins with its jobs a moment after its start.
START_S = 5.0
# How often a process looks for jobs by itself: it is told of new ones.
LOOK_EVERY = timedelta(seconds=10)
DRAIN_EVERY = timedelta(seconds=0.2)
# How long a process waits before it connects again.
AGAIN_S = 5.0
# Who has worked for so long meets a new trouble, also where it is the same as before.
WORKED_S = 60.0
# How long jobs have to give up when the process ends.
ENDING_S = 5.0
BATCH = 4


class _Ending(Exception):
    """The process ends; the job goes on in another."""


class Runner:
    """The jobs of a process."""

    def __init__(
        self,
        kinds: Sequence[JobKind],
        database: Database,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._kinds = kinds
        self._database = database
        self._settings = settings
        self._now = now
        self._ending = asyncio.Event()
        self._managers: list[QueueManager | SchedulerManager] = []
        self._trouble = ""

    async def run(self, start_s: float = START_S) -> None:
        """Carries jobs out until `stop`, over one connection after the other."""
        await _wait(self._ending, start_s)
        while not self._ending.is_set():
            began = monotonic()
            try:
                self._now()  # raises while nothing may be stored
                await self._over_a_connection()
            except Exception as error:
                if monotonic() - began > WORKED_S:
                    self._trouble = ""
                self._note_trouble(error)
            await _wait(self._ending, AGAIN_S)

    async def drain(self) -> None:
        """Carries out all jobs that are there, also those that wait for a later moment, and ends.
        What comes again by itself is not begun.
        """
        connection = await self._connect()
        try:
            manager = self._manager(library.queries(connection))
            await self._run_queue(manager, QueueExecutionMode.drain)
        finally:
            await _close(connection)

    async def stop(self, running: "asyncio.Task[None]") -> None:
        """Ends `run`, and the jobs under way: they wait for another process."""
        self._ending.set()
        for manager in self._managers:
            manager.shutdown.set()
        await asyncio.wait({running}, timeout=2 * ENDING_S)

    async def _over_a_connection(self) -> None:
        connection = await self._connect()
        try:
            asking = library.queries(connection)  # one for both: it asks one thing at a time
            manager = self._manager(asking)
            scheduler = self._scheduler(asking)
            self._managers = [manager, scheduler]
            both = {
                asyncio.create_task(self._run_queue(manager, QueueExecutionMode.continuous)),
                asyncio.create_task(scheduler.run()),
            }
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in self._managers:
                    each.shutdown.set()
                _, late = await asyncio.wait(both, timeout=ENDING_S)
                for task in late:
                    task.cancel()
                self._managers = []
            for task in both - late:
                task.result()
        finally:
            await _close(connection)

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        limits = self._settings.main_limits
        return await asyncpg.connect(
            str(self._settings.database_url),
            timeout=10,
            command_timeout=limits.of_driver,
            server_settings={"application_name": "gridloop jobs", **limits.server_settings()},
        )

    def _manager(self, asking: Queries) -> QueueManager:
        manager = QueueManager(asking, library.CHANNEL)
        for kind in self._kinds:
            manager.register_executor(kind.name, _Executor(self, kind))
        return manager

    def _scheduler(self, asking: Queries) -> SchedulerManager:
        scheduler = SchedulerManager(asking)
        for kind in self._kinds:
            if kind.every is not None:
                scheduler.schedule(kind.name, kind.every, accepts_context=False)(
                    partial(self._add_again, kind)
                )
        return scheduler

    async def _add_again(self, kind: JobKind, _: models.Schedule) -> None:
        async with self._database.transaction(bookkeeping=True) as connection:
            await add(connection, kind, key="every")

    async def _run_queue(self, manager: QueueManager, mode: QueueExecutionMode) -> None:
        at_once = self._settings.job_max_concurrency
        timeout = timedelta(seconds=self._settings.job_timeout_seconds)
        # Who drains the queue waits for nothing new.
        look_every = DRAIN_EVERY if mode is QueueExecutionMode.drain else LOOK_EVERY
        await manager.run(
            dequeue_timeout=min(look_every, timeout),
            batch_size=min(BATCH, max(at_once // 2, 1)),
            mode=mode,
            max_concurrent_tasks=max(at_once, 2),
            heartbeat_timeout=timeout,
            log_aggregation_interval=timedelta(0),
        )

    def _note_trouble(self, error: Exception) -> None:
        """Logs what keeps the queue from being read, once."""
        if isinstance(error, Problem) or repr(error) == self._trouble:
            return  # the database is down, too new or without its key, and said so
        self._trouble = repr(error)
        if fault_of(error) is not None:
            log.warning("the queue of jobs is read again in a moment: %r", error)
        else:
            log.error("the queue of jobs could not be read; it is tried again", exc_info=error)

    # ------------------------------------------------------------------------------------ one job

    async def carry_out(self, kind: JobKind, found: models.Job) -> None:
        """Does a job's work, and says by what it raises how it goes on."""
        began = monotonic()
        payload = json.loads(found.payload or b"{}")
        result = None
        if RESULT in payload:
            result = results.Result(payload[RESULT], self._database, self._settings, self._now)
        outcome = "retried"
        try:
            self._now()
            await self._begin(found)
            if result is not None:
                await result.set_state(results.RUNNING)
            await self._do(
                kind,
                Job(
                    *(found.id, payload, found.attempts),
                    *(self._database.unhurried, self._settings, self._now),
                    result,
                ),
            )
            outcome = "done"
        except _Ending:
            await self._end(found)
            raise RetryRequested(reason="its process ended") from None
        except BrokenOff as error:
            next_step = judged_broken_off(kind, found, error.times)
            if isinstance(next_step, JobFailed):
                outcome = "failed"
                await self._end(found)
                await _note_failed(result)
            raise next_step from None
        except Exception as error:
            await self._end(found)
            next_step = judged(kind, found, error)
            if isinstance(next_step, JobFailed):
                outcome = "failed"
                await _note_failed(result)
            raise next_step from None
        finally:
            metrics.job_seconds.labels(kind.name, outcome).observe(monotonic() - began)

    async def _begin(self, found: models.Job) -> None:
        """Writes that an attempt begins; raises `BrokenOff` where the one before never ended."""
        async with self._database.transaction(bookkeeping=True) as connection:
            times = await queries.begin(connection, found.id)
        if times:
            metrics.jobs_broken_off.labels(found.entrypoint).inc()
            raise BrokenOff(times)

    async def _end(self, found: models.Job) -> None:
        """Writes that an attempt has ended. Where the database is away it counts as broken off."""
        with suppress(Problem):
            async with self._database.transaction(bookkeeping=True) as connection:
                await queries.end(connection, found.id)

    async def _do(self, kind: JobKind, job: Job) -> None:
        """Does the work until it is done or the process ends."""

        async def work() -> None:
            await kind.work(job)

        working = asyncio.create_task(work())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._ending.set()
        finally:
            ending.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working}, timeout=ENDING_S)
            raise _Ending
        await working


class _Executor(AbstractEntrypointExecutor):
    """A kind of job as the library knows it."""

    def __init__(self, runner: Runner, kind: JobKind) -> None:
        super().__init__(
            EntrypointExecutorParameters(
                concurrency_limit=kind.max_concurrency, func=_unused, on_failure="hold"
            )
        )
        self._runner = runner
        self._kind = kind

    async def execute(self, job: models.Job, context: models.Context) -> None:
        await self._runner.carry_out(self._kind, job)


async def _unused(_: models.Job) -> None:
    """The library asks for a function; `_Executor` calls the work itself."""


async def _note_failed(result: results.Result | None) -> None:
    if result is not None:
        with suppress(Problem):
            await result.set_state(results.FAILED)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _close(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        await connection.close(timeout=2)
    except Exception as error:
        log.info("the connection of the jobs ended: %r", error)
