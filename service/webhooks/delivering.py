"""Brings deliveries to their receivers: each receiver by itself, one delivery at a time, so that
one that is slow or down keeps nobody waiting.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from service.jobs.kinds import Job, JobKind
from service.kit.database import Connection, Database, Row
from service.kit.encryption_queries import cipher_of
from service.kit.settings import Settings
from service.webhooks import addresses, queries
from service.webhooks.events import clear, collect
from service.webhooks.places import address_place, secret_place
from service.webhooks.sending import Outgoing, Sender, Sent

log = logging.getLogger("gridloop")

# How long each further attempt waits: some three days in all, then a delivery is dead.
DELAYS = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 72_000)
)
# After so many failures one after the other a receiver is left alone for a while.
FAILURES = 3
RESTS = timedelta(seconds=30)
# How many receivers are served at a time; how often it is looked for something new.
RECEIVERS = 100
EVERY_S = 2.0
CLEAR_EVERY_S = 3600.0


class Deliveries:
    """The deliveries of a process."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now: Callable[[], datetime],
        sender: Sender | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._now = now
        allowed = addresses.networks(settings.webhook_networks)
        self._sender = sender or Sender(allowed)
        self._serving: dict[str, asyncio.Task[None]] = {}

    async def deliver_due(self) -> None:
        """Sends what is due, and comes back when it is sent."""
        await self.begin()
        await self.end()

    async def begin(self) -> None:
        """Begins to serve each receiver for which something is due and that is not served yet."""
        for id in [id for id, task in self._serving.items() if task.done()]:
            self._note_end(self._serving.pop(id))
        async with self._database.reading() as connection:
            waiting = await queries.waiting_webhooks(connection, self._now())
        random.shuffle(waiting)
        for id in waiting:
            if id not in self._serving and len(self._serving) < RECEIVERS:
                self._serving[id] = asyncio.create_task(self._serve(id))

    async def end(self) -> None:
        """Waits for those that are served."""
        await asyncio.gather(*self._serving.values())
        self._serving.clear()

    def give_up(self) -> None:
        """Ends at once; what was not noted as delivered is sent anew, with the same id."""
        for task in self._serving.values():
            task.cancel()

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.warning("a webhook could not be served: %r", task.exception())

    async def _serve(self, webhook: str) -> None:
        failures = 0
        while True:
            async with self._database.reading() as connection:
                row = await queries.next_due(connection, webhook, self._now())
                if row is None:
                    return
                outgoing = await self._outgoing(connection, row)
            sent = (
                Sent(None, "unreadable")
                if outgoing is None
                else await self._sender.send(outgoing, self._now())
            )
            failures = failures + 1 if sent.error else 0
            await self._note(row, sent, failures)
            if sent.gone or failures == FAILURES:
                return

    async def _outgoing(self, connection: Connection, row: Row) -> Outgoing | None:
        cipher, id = await cipher_of(connection, self._settings), row["webhook"]
        address = cipher.try_decrypt(address_place(id), row["address"])
        secret = row["secret"] and cipher.try_decrypt(secret_place(id), row["secret"])
        if address is None or (row["secret"] is not None and secret is None):
            return None
        return Outgoing(row["event"], row["format"], address, secret, row["body"])

    async def _note(self, row: Row, sent: Sent, failures: int) -> None:
        now = self._now()
        async with self._database.transaction(bookkeeping=True) as connection:
            if not sent.error:
                await queries.note_delivered(connection, row["id"], sent.status or 0, now)
                return
            next_at = None
            if not sent.gone and row["attempts"] < len(DELAYS):
                delay = max(DELAYS[row["attempts"]], timedelta(seconds=sent.wait_s))
                next_at = now + delay * random.uniform(1, 1.1)
            failed = (row["id"], sent.status, sent.error, now, next_at)
            await queries.note_failed(connection, *failed)
            if sent.gone:
                await queries.stop(connection, row["webhook"], sent.error)
            elif failures == FAILURES or sent.wait_s:
                until = now + max(RESTS, timedelta(seconds=sent.wait_s))
                await queries.rest(connection, row["webhook"], until)


async def _work(job: Job) -> None:
    """Tells everybody what happens, for as long as somebody wants to be told."""
    deliveries = Deliveries(job.database, job.settings, job.now)
    cleared = monotonic() - CLEAR_EVERY_S
    try:
        while True:
            async with job.database.reading() as connection:
                if not await queries.is_any_active(connection):
                    break
            await collect(job.database, job.now())
            await deliveries.begin()
            if monotonic() - cleared >= CLEAR_EVERY_S:
                cleared = monotonic()
                await clear(job.database, job.now())
            await asyncio.sleep(EVERY_S)
        await deliveries.end()
    finally:
        deliveries.give_up()


# One process at a time tells; it begins anew each minute where nobody does.
WEBHOOKS = JobKind("webhooks", _work, max_concurrency=1, every="* * * * *")
