"""One sync exchange: push, then pull. What `POST /v1/sync` does once the caller is known."""

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import datetime
from functools import partial

import asyncpg
import msgspec

from service.kit import metrics
from service.kit.database import Connection, Database
from service.kit.errors import Problem
from service.kit.localization import localized
from service.kit.settings import Settings
from service.runtime import failpoints
from service.runtime.group_commit import GroupCommitter, MustGoAlone
from service.sync import feed_views, pull, push
from service.sync.device_state import StateBefore, read_states
from service.sync.pull_plan import Page, PullPlan
from service.sync.push import ExchangeResult, PullHints
from service.sync.refusals import refuse_after_push
from service.sync.requests import ExchangeRequest, PhoneCaller, read_request
from service.writes import prefetch, queries, timelines
from service.writes.merge_rule_texts import shown_rule
from service.writes.timelines import TimelineChanged
from sync_protocol import clock
from sync_protocol.cursor import Cursor, sign_cursor
from sync_protocol.messages import SyncRequest, encode
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import to_ms

SEEN_EVERY_S = 60
# Mutations, and exchanges, that are committed together at most: eight pushes of 500.
_TOGETHER = 4_100
# Pushes with more mutations wait for each other and not with the others, who would wait several
# times as long as they take.
_LARGE = 250
# How long several that are committed together wait for a lock: then those whose grids are locked go
# alone, and wait for their own locks as long as they may. Some times what a batch of another
# process takes, which is whom they wait for when all is well.
BATCH_LOCK_S = 0.1


class Exchange:
    """An exchange that is committed with others: its request, and what came of the last attempt, a
    result or the error by which it alone was refused.
    """

    def __init__(self, request: ExchangeRequest) -> None:
        self.request = request
        self.result: ExchangeResult | None = None
        self.error: Exception | None = None

    @property
    def key(self) -> str:
        """Of a device one exchange at a time is committed."""
        return self.request.device

    @property
    def weight(self) -> int:
        """How much of a batch it takes."""
        return 1 + len(self.request.message.mutations)


class Exchanges:
    """The exchanges of a service process: `await exchanges.answer(…)` for each. Several that wait
    share a round to the database.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._pushes = self._push_group()
        self._large_pushes = self._push_group()
        # Grids that somebody else seems to have locked, and the pushes that are to wait for them
        # without all the others.
        self._locked_grids: set[str] = set()
        self._pushes_to_locked_grids = self._push_group()
        # Reading takes less than a delay would.
        read = partial(self._on_this_timeline, self._read_only)
        self._reads: GroupCommitter[Exchange] = GroupCommitter(read, _TOGETHER, max_delay_s=0)

    def _push_group(self) -> GroupCommitter[Exchange]:
        push = partial(self._on_this_timeline, self._push)
        return GroupCommitter(push, _TOGETHER, on_abandoned=_leave_in_doubt)

    async def answer(self, caller: PhoneCaller, request: SyncRequest, now: datetime) -> bytes:
        """The answer to a request, as JSON. Raises `Problem`; the push part is one transaction, all
        or nothing.
        """
        exchange = Exchange(await read_request(caller, request, now))
        await self._group_for(exchange).submit(exchange)
        result = exchange.result
        assert result is not None
        for verdict in result.verdicts:
            if verdict.detail is not None:
                verdict.detail = localized(verdict.detail)
            for conflict in verdict.conflicts or ():
                conflict.rule = shown_rule(conflict.rule)
        is_revoked = result.state.device.revoked_at is not None
        refuse_after_push(request, is_revoked, result.acked, result.verdicts)
        answer = await self._pull(result)
        await failpoints.hit(failpoints.PULL_READ)
        return answer

    def _group_for(self, exchange: Exchange) -> GroupCommitter[Exchange]:
        count = len(exchange.request.message.mutations)
        if not count:
            return self._reads
        if not self._locked_grids.isdisjoint(exchange.request.read_set.grids):
            return self._pushes_to_locked_grids
        return self._pushes if count <= _LARGE else self._large_pushes

    async def _on_this_timeline(
        self, work: Callable[[list[Exchange]], Awaitable[None]], exchanges: list[Exchange]
    ) -> None:
        """Does the work, anew when another database server has taken over unnoticed by the
        connection.
        """
        try:
            await work(exchanges)
        except TimelineChanged:
            async with self._database.syncing() as connection:
                await timelines.note_timeline(connection)
            await work(exchanges)

    async def _read_only(self, exchanges: list[Exchange]) -> None:
        """Reads where devices stand that hand in nothing."""
        async with self._database.syncing() as connection:
            requests = [exchange.request for exchange in exchanges]
            states = await read_states(connection, requests, prefetch.read)
            for exchange, state in zip(exchanges, states, strict=True):
                exchange.result = ExchangeResult(state, state.device.acked, (), _hints(state))
                await _note_seen(connection, state)

    async def _push(self, exchanges: list[Exchange]) -> None:
        """Takes in what devices hand in, in one transaction; learns which grids somebody else
        has locked. When a batch of several waited for a lock in vain, those whose grids are locked
        go alone.
        """
        grids = set().union(*(exchange.request.read_set.grids for exchange in exchanges))
        try:
            await self._take_in(exchanges)
        except Problem as problem:
            if not isinstance(problem.__cause__, asyncpg.LockNotAvailableError):
                raise
            locked = await self._locked_by_others(grids)
            self._locked_grids |= locked
            free = [
                exchange
                for exchange in exchanges
                if locked.isdisjoint(exchange.request.read_set.grids)
            ]
            if not free or len(free) == len(exchanges):
                raise
            await self._take_in(free)
            for exchange in exchanges:
                if not locked.isdisjoint(exchange.request.read_set.grids):
                    exchange.error = MustGoAlone()
            grids -= locked
        self._locked_grids -= grids

    async def _locked_by_others(self, grids: Set[str]) -> set[str]:
        async with self._database.syncing() as connection:
            return await queries.locked_by_others(connection, grids)

    async def _take_in(self, exchanges: Sequence[Exchange]) -> None:
        requests = [exchange.request for exchange in exchanges]
        found = await push.take_in(
            self._database, self._settings, requests, self._lock_ms(exchanges)
        )
        for exchange, result in zip(exchanges, found, strict=True):
            if isinstance(result, Problem):
                exchange.result, exchange.error = None, result
            else:
                exchange.result, exchange.error = result, None

    def _lock_ms(self, exchanges: Sequence[Exchange]) -> int | None:
        """How long these wait for a lock; None for as long as each may."""
        if len(exchanges) == 1:
            return None
        return round(1000 * min(BATCH_LOCK_S, self._settings.sync_lock_seconds or BATCH_LOCK_S))

    async def _pull(self, result: ExchangeResult) -> bytes:
        state, hints = result.state, result.hints
        request, cursor = state.request, state.valid_cursor
        mutations = request.message.mutations
        first_new = next(
            (mutation.seq for mutation in mutations if mutation.seq > state.device.acked),
            result.acked + 1,
        )
        last_own = max(cursor.acked if cursor else 0, mutations[-1].seq if mutations else 0)
        if hints is None:
            async with self._database.syncing() as connection:
                # What was released by this push has moved feeds, ties and assignments on.
                snapshot = await prefetch.read(
                    connection, [(request.device, request.staff_code)], request.now
                )
            state = msgspec.structs.replace(state, snapshot=snapshot)
            hints = _hints(state)
        feeds, reader = await feed_views.feeds_for(
            self._database, state.snapshot, request.staff_code, hints.heads, request.now
        )
        plan = PullPlan(
            feeds,
            cursor,
            request.device,
            (first_new, last_own),
            request.message.again,
            hints.own_revs,
        )
        if plan.stale_grids:
            cipher = self._settings.keyring.cipher(state.snapshot.encryption)
            async with self._database.syncing() as connection:
                page = await pull.page(
                    connection, plan, reader, request.message.limit, request.now, cipher
                )
            await feed_views.audit_pull(
                self._database,
                state.snapshot,
                request.device,
                request.staff_code,
                feeds,
                request.now,
            )
        else:
            page = plan.to_page()
        return _written(state, result, page)


def _hints(state: StateBefore) -> PullHints:
    """What a snapshot shows of the feeds that the device reads."""
    return PullHints(state.snapshot.feeds(state.request.staff_code, state.request.now))


def _leave_in_doubt(exchange: Exchange) -> None:
    """Others may still commit what its request, which is over, had handed in."""
    exchange.request.outcome.note_doubt()


async def _note_seen(connection: Connection, state: StateBefore) -> None:
    """Keeps the device's last sign of life, once a minute or when its queue has changed; an idle
    poll writes nothing.
    """
    request, device = state.request, state.device
    last, queued = device.last_seen, request.message.queued
    if (
        last is None
        or device.queued != queued
        or (request.now - last).total_seconds() >= SEEN_EVERY_S
    ):
        await queries.seen(connection, request.device, queued, request.offset_ms, request.now)


def _written(state: StateBefore, result: ExchangeResult, page: Page) -> bytes:
    """The answer: the changes are JSON already."""
    request, message, cursor = state.request, state.request.message, state.valid_cursor
    if page.changes:
        metrics.pulled.inc(len(page.changes))
    metrics.feed_pending.observe(page.pending)
    # What was written in a grid that has left the scope since then counts, but no copy of it may
    # stay on the phone (promise 8).
    dropped = {*page.dropped}
    if not page.grids.keys() >= {mutation.grid for mutation in message.mutations}:
        written = zip(message.mutations, result.verdicts, strict=False)
        dropped |= {
            mutation.grid for mutation, verdict in written if verdict.rev is not None
        } - page.grids.keys()
    after = Cursor(
        state.epoch,
        request.device,
        result.acked,
        cursor.epoch_since_ms if cursor else state.epoch_since_ms,
        page.grids,
        request.staff_code,
        to_ms(state.device.registered_at),
        state.snapshot.timeline,
    )
    head = encode(
        {
            "epoch": state.epoch,
            "server_time": canonical_moment(request.now),
            "acked": result.acked,
            "verdicts": result.verdicts,
        }
    )
    rules = (
        {}
        if state.snapshot.own_work_from == clock.ZERO
        else {"rules": {"own_work_from": state.snapshot.own_work_from}}
    )
    tail = encode(
        {
            **rules,
            "dropped_grids": sorted(dropped),
            "cursor": message.cursor
            if after == state.cursor
            else sign_cursor(after, state.snapshot.key),
            "more": page.more,
            "pending": page.pending,
        }
    )
    changes = b',"changes":[' + ",".join(page.changes).encode() + b"],"
    return head[:-1] + changes + tail[1:]
