"""One sync exchange: push, then pull. What `POST /v1/sync` does once the caller is known."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import asyncpg
import msgspec

from service.identity.rights import PostHeld
from service.identity.views import for_device, present_views, view_in
from service.kit import metrics, outcomes
from service.kit.database import Connection, Database, committing
from service.kit.encrypted_values import log_row, verdict_rest
from service.kit.encryption import FieldCipher
from service.kit.errors import DEVICE_FORKED, DEVICE_REVOKED, INVALID, SEQ_GAP, UPGRADE, Problem
from service.kit.localization import localized
from service.kit.outcomes import Outcome, RequestKind
from service.kit.settings import Settings
from service.runtime import failpoints
from service.runtime.group_commit import GroupCommitter
from service.runtime.yielding import let_others_run
from service.sync import feed_views, pull
from service.writes import log_queries, prefetch, queries, timelines
from service.writes.apply import Applied, apply
from service.writes.mutations import (
    Author,
    ParsedMutation,
    PreparedMutation,
    oldest_stamp,
    parse_all,
    prepare,
)
from service.writes.prefetch import DeviceState, FeedHead, ReadSet, Snapshot, is_mailbox
from service.writes.rules import shown_rule
from service.writes.timelines import TimelineChanged
from service.writes.visit_columns import (
    PreparedVisitColumns,
    VisitColumns,
    parse_visit_columns_in_turns,
    prepare_visit_columns,
)
from sync_protocol import clock
from sync_protocol.cursor import Cursor, read_cursor, sign_cursor
from sync_protocol.fields import canonical_moment
from sync_protocol.messages import Conflict, SyncRequest, Verdict, VerifyRequest, encode
from sync_protocol.periods import from_ms, to_ms
from sync_protocol.texts import Text
from sync_protocol.version import MINIMUM

SEEN_EVERY_S = 60
# Sign-in and cursor tell the moment of registration in whole milliseconds.
_REGISTRATION_ROUNDING = timedelta(milliseconds=2)
# Mutations, and exchanges, that are committed together at most: eight pushes of 500.
_TOGETHER = 4_100
# Pushes with more mutations wait for each other and not with the others, who would wait several
# times as long as they take.
_LARGE = 250
# How long several that are committed together wait for a lock: then each goes alone, and waits for
# its own locks as long as it may. Several times what a batch of another process takes, which is
# whom they wait for when all is well.
BATCH_LOCK_S = 0.25


class PhoneCaller(NamedTuple):
    """Who syncs: a device and its cadre. `registered_ms`: when the device was registered, as its
    sign-in says; None if it does not.
    """

    device: str
    staff_code: str
    registered_ms: int | None = None


class Exchange:
    """One exchange on its way: what came, and what becomes of it. `error` is why it was refused."""

    def __init__(
        self, caller: PhoneCaller, request: SyncRequest, now: datetime, visits: VisitColumns | None
    ) -> None:
        self.device = device = caller.device
        self.staff_code = caller.staff_code
        self.registered_ms = caller.registered_ms
        self.request = request
        self.now = now
        self.offset_ms = clock.effective_offset(to_ms(now), to_ms(request.sent_at))
        self.key = device
        self.weight = 1 + len(request.mutations)
        # Its own, whoever's batch it is committed in.
        self.outcome = outcomes.current.get() or Outcome()
        self.outcome.kind = RequestKind.SYNC if request.mutations else RequestKind.READ
        self.error: Exception | None = None
        self.look = Snapshot()
        self.epoch = ""
        self.cursor: Cursor | None = None
        self.verdicts: list[Verdict] = []
        self.acked = 0
        # Read before it waits for a batch, which holds locks.
        self.visits = visits
        self.readings = parse_all(request.mutations) if self.visits is None else []
        self.names = (
            ReadSet.of(self.readings)
            if self.visits is None
            else ReadSet.of_visit_columns(self.visits)
        )
        self.items: Sequence[PreparedMutation | PreparedVisitColumns] = []
        self.fresh = 0
        self.heads: dict[str, FeedHead] | None = None
        self.own: dict[str, int] = {}

    @property
    def state(self) -> DeviceState:
        """The device as it stood before the exchange."""
        return self.look.devices[self.device]

    @property
    def posts(self) -> list[PostHeld]:
        """All posts that the cadre has or had."""
        return self.look.posts.get(self.staff_code, [])

    @property
    def valid_cursor(self) -> Cursor | None:
        """The cursor, if it belongs to the epoch in force."""
        return self.cursor if self.cursor and self.cursor.epoch == self.epoch else None


class Exchanges:
    """The exchanges of a service process: `await exchanges.answer(…)` for each. Several that wait
    share a round to the database.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        stand = partial(self._on_this_timeline, self._stand)
        self._pushes = self._push_group()
        self._large_pushes = self._push_group()
        # Grids that somebody else seems to hold, and the pushes that are to wait for them without
        # all the others.
        self._held_grids: set[str] = set()
        self._held_pushes = self._push_group()
        # Reading where they stand takes less than a delay would.
        self._looks: GroupCommitter[Exchange] = GroupCommitter(stand, _TOGETHER, max_delay_s=0)

    def _push_group(self) -> GroupCommitter[Exchange]:
        push = partial(self._on_this_timeline, self._push)
        return GroupCommitter(push, _TOGETHER, on_abandoned=_leave_in_doubt)

    async def answer(self, caller: PhoneCaller, request: SyncRequest, now: datetime) -> bytes:
        """The answer to a request, as JSON. Raises `Problem`; the push part is one transaction, all
        or nothing.
        """
        await let_others_run(len(request.mutations))
        exchange = Exchange(
            caller, request, now, await parse_visit_columns_in_turns(request.mutations)
        )
        await let_others_run(len(request.mutations))
        await self._group_for(exchange).submit(exchange)
        for verdict in exchange.verdicts:
            if verdict.detail is not None:
                verdict.detail = localized(verdict.detail)
            for conflict in verdict.conflicts or ():
                conflict.rule = shown_rule(conflict.rule)
        _refuse_after_push(exchange)
        answer = await self._pull(exchange)
        await failpoints.hit(failpoints.PULL_READ)
        return answer

    def _group_for(self, exchange: Exchange) -> GroupCommitter[Exchange]:
        count = len(exchange.request.mutations)
        if not count:
            return self._looks
        if not self._held_grids.isdisjoint(exchange.names.grids):
            return self._held_pushes
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
                await timelines.keep(connection)
            await work(exchanges)

    async def _stand(self, exchanges: list[Exchange]) -> None:
        """Looks where devices stand that hand in nothing."""
        async with self._database.syncing() as connection:
            await _look(connection, exchanges, prefetch.read)
            for exchange in exchanges:
                exchange.acked = exchange.state.acked
                exchange.heads = exchange.look.feeds(exchange.staff_code, exchange.now)
                await _note_seen(connection, exchange)

    async def _push(self, exchanges: list[Exchange]) -> None:
        """Takes in what devices hand in, in one transaction; learns which grids somebody else
        holds.

        Of a batch that waited for a lock in vain all grids are under suspicion, until a push to
        them goes through: alone, a moment later.
        """
        grids = set().union(*(exchange.names.grids for exchange in exchanges))
        try:
            await self._take_in(exchanges)
        except Problem as problem:
            if isinstance(problem.__cause__, asyncpg.LockNotAvailableError):
                self._held_grids |= grids
            raise
        self._held_grids -= grids

    async def _take_in(self, exchanges: list[Exchange]) -> None:
        names = ReadSet.joined([exchange.names for exchange in exchanges])
        now = max(exchange.now for exchange in exchanges)
        async with self._database.syncing() as connection:
            async with committing(connection, [exchange.outcome for exchange in exchanges]):
                await _look(
                    connection,
                    exchanges,
                    partial(prefetch.lock_and_read, names=names, lock_ms=self._lock_ms(exchanges)),
                )
                await failpoints.hit(failpoints.PUSH_LOCKED)
                for exchange in exchanges:
                    await self._take(connection, exchange)
                good = [exchange for exchange in exchanges if exchange.error is None]
                if not good:
                    return
                items = [item for exchange in good for item in exchange.items]
                done = queries.acknowledge([_acknowledged(exchange) for exchange in good], now)
                applied = await apply(
                    connection, items, now, self._settings, exchanges[0].look, [done]
                )
                await failpoints.hit(failpoints.PUSH_WRITTEN)
            await failpoints.hit(failpoints.PUSH_COMMITTED)
        verdicts = iter(applied.verdicts)
        for exchange in good:
            exchange.verdicts += islice(verdicts, exchange.fresh)
            _note_heads(exchange, applied)
            metrics.pushed(exchange.request.mutations, exchange.verdicts)

    def _lock_ms(self, exchanges: Sequence[Exchange]) -> int | None:
        """How long these wait for a lock; None for as long as each may."""
        if len(exchanges) == 1:
            return None
        return round(1000 * min(BATCH_LOCK_S, self._settings.sync_lock_seconds or BATCH_LOCK_S))

    async def _take(self, connection: Connection, exchange: Exchange) -> None:
        """Readies the new mutations of an exchange and answers those that came before; a refusal is
        left with it as its error.
        """
        known, mutations = exchange.state.acked, exchange.request.mutations
        exchange.verdicts, exchange.items, exchange.heads, exchange.own = [], [], None, {}
        if mutations[0].seq > known + 1:
            exchange.error = Problem(
                SEQ_GAP,
                Text(
                    "The server holds this device's mutations up to {acked}; send from {expected}"
                    " on.",
                    acked=known,
                    expected=known + 1,
                ),
                expected=known + 1,
            )
            return
        repeated: list[ParsedMutation] = []
        if mutations[0].seq <= known:
            readings = exchange.readings = exchange.readings or parse_all(mutations)
            repeated = [reading for reading in readings if reading.mutation.seq <= known]
            try:
                exchange.verdicts = await _repeat(
                    connection, exchange, repeated, self._cipher(exchange)
                )
            except Problem as problem:
                exchange.error = problem
                return
        exchange.acked = max(known, mutations[-1].seq)
        cursor = exchange.valid_cursor
        author = Author(
            device=exchange.device,
            staff_code=exchange.staff_code,
            posts=exchange.posts,
            offset_ms=exchange.offset_ms,
            last_stamp=exchange.state.last_stamp,
            epoch=exchange.epoch,
            epoch_since_ms=_epoch_since(exchange),
            pulled=cursor.grids if cursor else {},
            revoked_at=exchange.state.revoked_at,
            registered_at=exchange.state.registered_at,
            oldest_stamp=oldest_stamp(exchange.state.registered_at, self._settings),
        )
        exchange.fresh = len(mutations) - len(repeated)
        if exchange.visits is not None and not repeated:
            exchange.items = [prepare_visit_columns(author, exchange.visits, exchange.now)]
        else:
            exchange.items = prepare(author, exchange.readings[len(repeated) :], exchange.now)

    def _cipher(self, exchange: Exchange) -> FieldCipher:
        return self._settings.keyring.cipher(exchange.look.encryption)

    async def _pull(self, exchange: Exchange) -> bytes:
        request, cursor = exchange.request, exchange.valid_cursor
        mutations = request.mutations
        first_new = next(
            (mutation.seq for mutation in mutations if mutation.seq > exchange.state.acked),
            exchange.acked + 1,
        )
        last_own = max(cursor.acked if cursor else 0, mutations[-1].seq if mutations else 0)
        if exchange.heads is None:
            async with self._database.syncing() as connection:
                # What was released by this push has moved feeds, ties and assignments on.
                exchange.look = await prefetch.read(
                    connection, [(exchange.device, exchange.staff_code)], exchange.now
                )
            exchange.heads = exchange.look.feeds(exchange.staff_code, exchange.now)
        feeds, reader = await feed_views.feeds_for(
            self._database, exchange.look, exchange.staff_code, exchange.heads, exchange.now
        )
        plan = pull.PullPlan(
            feeds, cursor, exchange.device, (first_new, last_own), request.again, exchange.own
        )
        if plan.stale_grids:
            async with self._database.syncing() as connection:
                page = await pull.page(
                    connection, plan, reader, request.limit, exchange.now, self._cipher(exchange)
                )
            await feed_views.audit_pull(
                self._database,
                exchange.look,
                exchange.device,
                exchange.staff_code,
                feeds,
                exchange.now,
            )
        else:
            page = plan.to_page()
        return _written(exchange, page)


def _leave_in_doubt(exchange: Exchange) -> None:
    """Others may still commit what its request, which is over, had handed in."""
    exchange.outcome.note_doubt()


async def _look(
    connection: Connection,
    exchanges: Sequence[Exchange],
    look_at: Callable[..., Awaitable[Snapshot]],
) -> None:
    """Looks where devices stand; makes the rows of those that are not known, and takes a new epoch
    when a cursor proves a restore.
    """
    now = min(exchange.now for exchange in exchanges)
    callers = [(exchange.device, exchange.staff_code) for exchange in exchanges]
    look = await look_at(connection, callers, now=now)
    look.tables.refuse_too_new()
    if look.timeline_changed:
        raise TimelineChanged
    for exchange in exchanges:
        exchange.cursor = read_cursor(exchange.request.cursor, look.key, exchange.device)
    if await _learn_devices(connection, exchanges, look, now):
        look = await look_at(connection, callers, now=now)
    epoch = look.epoch
    for exchange in exchanges:
        exchange.look = look
        cursor = exchange.cursor
        if (
            cursor
            and cursor.epoch == look.epoch == epoch
            and await _has_lost(connection, cursor, look)
        ):
            epoch = await queries.new_epoch(connection, epoch)
    for exchange in exchanges:
        exchange.epoch = epoch


async def _learn_devices(
    connection: Connection, exchanges: Sequence[Exchange], look: Snapshot, now: datetime
) -> bool:
    """Makes the rows of devices that the server does not know, and learns when devices were
    registered: after a restore it may have forgotten both, but sign-in and cursor are genuine
    (promise 9). Whether anything was learned.
    """
    learned = False
    for exchange in exchanges:
        known = look.devices.get(exchange.device)
        cursor = exchange.cursor
        told = [
            ms for ms in (exchange.registered_ms, cursor.registered_ms if cursor else None) if ms
        ]
        registered_at = min([now, *map(from_ms, told)])
        if known is None:
            await queries.add_device(
                connection, exchange.device, exchange.staff_code, registered_at
            )
        elif told and registered_at < known.registered_at - _REGISTRATION_ROUNDING:
            await queries.set_registered(connection, exchange.device, registered_at)
        else:
            continue
        learned = True
    return learned


async def _has_lost(connection: Connection, cursor: Cursor, look: Snapshot) -> bool:
    """Whether a genuine cursor knows what the server does not: it was restored, or a replica took
    over that lacked it (promise 9).
    """
    return await _is_ahead(connection, cursor, look) or (
        cursor.timeline != look.timeline and await timelines.has_lost(connection, cursor)
    )


async def _is_ahead(connection: Connection, cursor: Cursor, look: Snapshot) -> bool:
    """Whether a genuine cursor is above what the server has now."""
    if cursor.acked > look.devices[cursor.device].acked:
        return True
    unseen = [
        grid
        for grid, position in cursor.grids.items()
        if position.rev > look.counters.get(grid, -1)
    ]
    return bool(unseen) and await queries.any_ahead(
        connection, {grid: cursor.grids[grid].rev for grid in unseen}
    )


def _acknowledged(exchange: Exchange) -> queries.Acknowledged:
    stamps = [exchange.state.last_stamp, *(item.last_stamp for item in exchange.items[-1:])]
    return queries.Acknowledged(
        exchange.device, exchange.acked, max(stamps), exchange.offset_ms, exchange.request.queued
    )


def _note_heads(exchange: Exchange, applied: Applied) -> None:
    """Notes what a push shows of the feeds, so that nobody has to look again."""
    if exchange.device in applied.mailbox_devices or exchange.fresh < len(exchange.verdicts):
        return
    # While the grids were locked nobody else wrote in them.
    heads = exchange.look.feeds(exchange.staff_code, exchange.now)
    taken = applied.revs_allocated
    exchange.heads = {
        grid: FeedHead(head.rev + taken[grid], head.view) if grid in taken else head
        for grid, head in heads.items()
    }
    if exchange.device in applied.devices_to_echo:
        return
    # What this device wrote alone, applied as sent, is no news to it.
    wrote = {mutation.grid for mutation in exchange.request.mutations}
    exchange.own = {
        grid: applied.revs_allocated[grid]
        for grid in wrote & applied.revs_allocated.keys()
        if grid not in applied.multi_writer_grids
    }


def _epoch_since(exchange: Exchange) -> int:
    """When this device is known to have learned of the epoch in force: bases of earlier edits mean
    nothing.
    """
    cursor = exchange.cursor
    if cursor is None:
        return 0
    return cursor.epoch_since_ms if cursor.epoch == exchange.epoch else to_ms(exchange.now)


async def _repeat(
    connection: Connection, exchange: Exchange, repeated: list[ParsedMutation], cipher: FieldCipher
) -> list[Verdict]:
    """The verdicts of mutations that were taken in before; refuses other content under the same
    number (promise 10).
    """
    device = exchange.device
    present = present_views(exchange.posts, exchange.now)
    known = await log_queries.first_outcomes(
        connection, device, repeated[0].mutation.seq, repeated[-1].mutation.seq
    )
    verdicts = []
    for reading in repeated:
        mutation = reading.mutation
        row = known.get(mutation.seq)
        if row is None or not await log_queries.is_content(
            connection, cipher, row, reading.identity
        ):
            raise Problem(
                DEVICE_FORKED,
                Text(
                    "Mutation {seq} of this device is known with other content: the phone was"
                    " restored or copied."
                    " Register a new device and number the mutations that were not acknowledged"
                    " from 1.",
                    seq=mutation.seq,
                ),
                seq=mutation.seq,
            )
        rest = verdict_rest(
            cipher, row["kind"], log_row(device, mutation.seq, row["received_at"]), row["verdict"]
        )
        conflicts = [msgspec.convert(item, Conflict) for item in rest.get("conflicts") or ()]
        for conflict in conflicts:
            # What was shown at first may be hidden from the posts held now.
            conflict.kept = for_device(
                row["kind"], conflict.field, conflict.kept, view_in(present, mutation.grid)
            )
        verdicts.append(
            Verdict(
                mutation.seq,
                "duplicate",
                row["rev"],
                row["outcome"],
                conflicts or None,
                rest.get("reason"),
                rest.get("detail"),
            )
        )
    return verdicts


async def _note_seen(connection: Connection, exchange: Exchange) -> None:
    """Keeps the device's last sign of life, once a minute or when its queue has changed; an idle
    poll writes nothing.
    """
    last, queued = exchange.state.last_seen, exchange.request.queued
    if (
        last is None
        or exchange.state.queued != queued
        or (exchange.now - last).total_seconds() >= SEEN_EVERY_S
    ):
        await queries.seen(connection, exchange.device, queued, exchange.offset_ms, exchange.now)


def _refuse_after_push(exchange: Exchange) -> None:
    """A revoked device and an outdated app get no data, but what they hand in was taken."""
    request = exchange.request
    if exchange.state.revoked_at is None and request.protocol >= MINIMUM:
        return
    members: dict[str, Any] = {
        "acked": exchange.acked,
        "verdicts": msgspec.to_builtins(exchange.verdicts),
    }
    if exchange.state.revoked_at is not None:
        raise Problem(
            DEVICE_REVOKED,
            "This device was revoked. Hand in what is left, then delete all data on the phone.",
            wipe=request.queued == 0,
            **members,
        )
    raise _upgrade_needed(request.protocol, **members)


def _upgrade_needed(protocol: int, **members: Any) -> Problem:
    """The answer to an app that speaks a protocol older than `MINIMUM`."""
    text = Text(
        "The app speaks protocol {protocol}; this server needs {minimum}. Install the newest app;"
        " nothing was lost.",
        protocol=protocol,
        minimum=MINIMUM,
    )
    return Problem(UPGRADE, text, minimum=MINIMUM, **members)


def _written(exchange: Exchange, page: pull.Page) -> bytes:
    """The answer: the changes are JSON already."""
    request, cursor = exchange.request, exchange.valid_cursor
    if page.changes:
        metrics.pulled.inc(len(page.changes))
    metrics.feed_lag.observe(page.pending)
    # What was written in a grid that has left the scope since then counts, but no copy of it may
    # stay on the phone (promise 8).
    dropped = {*page.dropped}
    if not page.grids.keys() >= {mutation.grid for mutation in request.mutations}:
        written = zip(request.mutations, exchange.verdicts, strict=False)
        dropped |= {
            mutation.grid for mutation, verdict in written if verdict.rev is not None
        } - page.grids.keys()
    since = cursor.epoch_since_ms if cursor else _epoch_since(exchange)
    registered_ms = to_ms(exchange.state.registered_at)
    after = Cursor(
        exchange.epoch,
        exchange.device,
        exchange.acked,
        since,
        page.grids,
        exchange.staff_code,
        registered_ms,
        exchange.look.timeline,
    )
    head = encode(
        {
            "epoch": exchange.epoch,
            "server_time": canonical_moment(exchange.now),
            "acked": exchange.acked,
            "verdicts": exchange.verdicts,
        }
    )
    rules = (
        {}
        if exchange.look.own_work_from == clock.ZERO
        else {"rules": {"own_work_from": exchange.look.own_work_from}}
    )
    tail = encode(
        {
            **rules,
            "dropped_grids": sorted(dropped),
            "cursor": request.cursor
            if after == exchange.cursor
            else sign_cursor(after, exchange.look.key),
            "more": page.more,
            "pending": page.pending,
        }
    )
    changes = b',"changes":[' + ",".join(page.changes).encode() + b"],"
    return head[:-1] + changes + tail[1:]


async def verify(
    database: Database, device: str, staff_code: str, request: VerifyRequest, now: datetime
) -> list[str]:
    """The grids whose copies differ from what a first pull would give now (promise 12)."""
    if isinstance(request.protocol, int) and request.protocol < MINIMUM:
        raise _upgrade_needed(request.protocol)
    named = {copy.grid: copy for copy in request.grids}
    if len(named) != len(request.grids):
        raise Problem(INVALID, "grids names a grid twice; send each once.")
    async with database.syncing() as connection:
        look = await prefetch.read(connection, [(device, staff_code)], now)
    state = look.devices.get(device)
    if state is not None and state.revoked_at is not None:
        raise Problem(
            DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync."
        )
    for mailbox in filter(is_mailbox, named):
        look.counters.setdefault(mailbox, 0)  # one in which nothing ever lay is counted nowhere
    heads = {grid: head for grid, head in look.feeds(staff_code, now).items() if grid in named}
    feeds, reader = await feed_views.feeds_for(database, look, staff_code, heads, now)
    async with database.syncing() as connection:
        truth = await pull.digests(connection, feeds, reader, now)
    empty = (0, "0" * 16)
    return [
        grid
        for grid, copy in named.items()
        if grid not in heads or truth.get(grid, empty) != (copy.count, copy.digest)
    ]
