"""The push: takes in what devices hand in, several in one transaction, and answers what came
before.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from service.identity.views import for_device, present_views, view_in
from service.kit import metrics
from service.kit.database import Connection, Database, committing
from service.kit.encrypted_values import log_row, verdict_rest
from service.kit.errors import DEVICE_FORKED, SEQ_GAP, Problem
from service.kit.settings import Settings
from service.runtime import failpoints
from service.sync.device_state import StateBefore, read_states
from service.sync.requests import ExchangeRequest
from service.writes import log_queries, prefetch, queries
from service.writes.apply import Applied, apply
from service.writes.interface import Parsed, ParsedMutations, Prepared
from service.writes.mutations import ParsedMutation
from service.writes.prepared import Author, oldest_stamp
from service.writes.read_set import ReadSet
from service.writes.snapshot import FeedHead
from sync_protocol.messages import Conflict, Verdict
from sync_protocol.texts import Text


class PullHints(msgspec.Struct, frozen=True):
    """What a transaction shows of the feeds that the device reads, so that nobody has to read them
    again.

    `heads`: where they stand, `own_revs`: how many of the last revisions of a grid are mutations of
    this request, all applied as sent.
    """

    heads: Mapping[str, FeedHead]
    own_revs: Mapping[str, int] = {}


class ExchangeResult(msgspec.Struct, frozen=True):
    """What came of an exchange up to the pull: the verdicts, and the number up to which the device
    is acknowledged. `hints`: None where the feeds have to be read again.
    """

    state: StateBefore
    acked: int
    verdicts: Sequence[Verdict] = ()
    hints: PullHints | None = None


class _Ready(msgspec.Struct, frozen=True):
    """An exchange whose new mutations are ready to be applied; `repeated`: the verdicts of those
    that came before.
    """

    state: StateBefore
    acked: int
    repeated: list[Verdict]
    prepared: Prepared

    @property
    def request(self) -> ExchangeRequest:
        return self.state.request


async def take_in(
    database: Database,
    settings: Settings,
    requests: Sequence[ExchangeRequest],
    lock_ms: int | None,
) -> list[ExchangeResult | Problem]:
    """Takes in what devices hand in, in one transaction; what came of each, or why it alone was
    refused. `lock_ms`: how long the transaction waits for a lock; None for as long as any may.
    """
    read_set = ReadSet.joined([request.read_set for request in requests])
    now = max(request.now for request in requests)
    found: list[_Ready | Problem] = []
    async with database.pushing() as (connection, begun):
        async with committing(connection, [request.outcome for request in requests], begun):
            states = await read_states(
                connection,
                requests,
                partial(prefetch.lock_and_read, read_set=read_set, lock_ms=lock_ms),
            )
            await failpoints.hit(failpoints.PUSH_LOCKED)
            found = [await _readied(connection, state, settings) for state in states]
            ready = [one for one in found if isinstance(one, _Ready)]
            if not ready:
                return [one for one in found if isinstance(one, Problem)]
            done = queries.acknowledge([_acknowledged(one) for one in ready], now)
            parts = [one.prepared for one in ready]
            applied = await apply(connection, parts, now, settings, states[0].snapshot, [done])
            await failpoints.hit(failpoints.PUSH_WRITTEN)
        await failpoints.hit(failpoints.PUSH_COMMITTED)
    verdicts = iter(applied.verdicts)
    return [
        one if isinstance(one, Problem) else _result(one, next(verdicts), applied) for one in found
    ]


def _result(ready: _Ready, verdicts: Sequence[Verdict], applied: Applied) -> ExchangeResult:
    """What came of one of the exchanges that were applied."""
    verdicts = [*ready.repeated, *verdicts]
    metrics.pushed(ready.request.message.mutations, verdicts)
    return ExchangeResult(ready.state, ready.acked, verdicts, _hints(ready, applied))


async def _readied(
    connection: Connection, state: StateBefore, settings: Settings
) -> _Ready | Problem:
    """Readies the new mutations of an exchange and answers those that came before; or why it is
    refused.
    """
    request, known = state.request, state.device.acked
    mutations = request.message.mutations
    if mutations[0].seq > known + 1:
        return Problem(
            SEQ_GAP,
            Text(
                "The server holds this device's mutations up to {acked}; send from {expected} on.",
                acked=known,
                expected=known + 1,
            ),
            expected=known + 1,
        )
    fresh: Parsed = request.parsed
    repeated: list[Verdict] = []
    if mutations[0].seq <= known:
        parsed_mutations = request.parsed.one_by_one().singles
        before = [parsed for parsed in parsed_mutations if parsed.mutation.seq <= known]
        fresh = ParsedMutations(parsed_mutations[len(before) :])
        try:
            repeated = await _repeat(connection, state, before, settings)
        except Problem as problem:
            return problem
    prepared = fresh.prepare(_author(state, settings), request.now)
    return _Ready(state, max(known, mutations[-1].seq), repeated, prepared)


def _author(state: StateBefore, settings: Settings) -> Author:
    request, device, cursor = state.request, state.device, state.valid_cursor
    return Author(
        device=request.device,
        staff_code=request.staff_code,
        posts=state.posts,
        offset_ms=request.offset_ms,
        last_stamp=device.last_stamp,
        epoch=state.epoch,
        epoch_since_ms=state.epoch_since_ms,
        pulled=cursor.grids if cursor else {},
        revoked_at=device.revoked_at,
        registered_at=device.registered_at,
        oldest_stamp=oldest_stamp(device.registered_at, settings),
    )


def _acknowledged(ready: _Ready) -> queries.Acknowledged:
    request, last_stamp = ready.request, ready.state.device.last_stamp
    if len(ready.prepared):
        last_stamp = max(last_stamp, ready.prepared.last_stamp)
    return queries.Acknowledged(
        request.device, ready.acked, last_stamp, request.offset_ms, request.message.queued
    )


def _hints(ready: _Ready, applied: Applied) -> PullHints | None:
    """What a push shows of the feeds."""
    request = ready.request
    device = request.device
    if device in applied.mailbox_devices or ready.repeated:
        return None
    # While the grids were locked nobody else wrote in them.
    heads = ready.state.snapshot.feeds(request.staff_code, request.now)
    allocated = applied.revs_allocated
    heads = {
        grid: FeedHead(head.rev + allocated[grid], head.view) if grid in allocated else head
        for grid, head in heads.items()
    }
    if device in applied.devices_to_echo:
        return PullHints(heads)
    # What this device wrote alone, applied as sent, is no news to it.
    wrote = {mutation.grid for mutation in request.message.mutations}
    own_revs = {
        grid: allocated[grid]
        for grid in wrote & allocated.keys()
        if grid not in applied.multi_writer_grids
    }
    return PullHints(heads, own_revs)


async def _repeat(
    connection: Connection,
    state: StateBefore,
    repeated: Sequence[ParsedMutation],
    settings: Settings,
) -> list[Verdict]:
    """The verdicts of mutations that were taken in before; refuses other content under the same
    number (promise 10).
    """
    device = state.request.device
    cipher = settings.keyring.cipher(state.snapshot.encryption)
    present = present_views(state.posts, state.request.now)
    known = await log_queries.first_outcomes(
        connection, device, repeated[0].mutation.seq, repeated[-1].mutation.seq
    )
    verdicts = []
    for parsed in repeated:
        mutation = parsed.mutation
        row = known.get(mutation.seq)
        if row is None or not await log_queries.is_content(
            connection, cipher, row, parsed.identity
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
