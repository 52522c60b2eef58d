"""One sync exchange: push, then pull. What `POST /v1/sync` does once the caller is known."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from service import metrics
from service.database import Connection, Database
from service.errors import DEVICE_FORKED, DEVICE_REVOKED, INVALID, SEQ_GAP, UPGRADE, Problem
from service.identity.queries import posts_of, read_device
from service.identity.rights import scope
from service.settings import Settings
from service.sync import feed, queries, seams
from service.sync import look as looking
from service.sync.apply import apply, digest_of, highest_stamp
from service.sync.intake import Author, ready
from service.sync.look import DeviceState, Look, Names
from sync_protocol import clock
from sync_protocol.cursor import Cursor, read_cursor, sign_cursor
from sync_protocol.fields import canonical_moment
from sync_protocol.messages import Conflict, Mutation, SyncRequest, Verdict, VerifyRequest, canonical_bytes, encode
from sync_protocol.periods import to_ms
from sync_protocol.version import MINIMUM

SEEN_EVERY_S = 60


class Pushed(msgspec.Struct):
    """What a push did: verdicts in order, the highest seq that the server now holds, and what was taken of each grid's revisions.

    `quiet`: nothing of it is news for the device itself.
    """

    verdicts: list[Verdict]
    acked: int
    taken: Mapping[str, int] = {}
    quiet: bool = True


class Standing(msgspec.Struct):
    """What the server knows of a device before an exchange."""

    look: Look
    device: DeviceState
    epoch: str
    cursor: Cursor | None

    @property
    def valid_cursor(self) -> Cursor | None:
        """The cursor, if it belongs to the epoch in force."""
        return self.cursor if self.cursor and self.cursor.epoch == self.epoch else None


async def exchange(database: Database, settings: Settings, device: str, staff_code: str, request: SyncRequest, now: datetime) -> bytes:
    """The answer to a request, as JSON. Raises `Problem`; the push part is one transaction, all or nothing."""
    offset = clock.effective_offset(to_ms(now), to_ms(request.sent_at))
    async with database.syncing() as connection:
        if request.mutations:
            async with connection.transaction():
                standing = await _standing(connection, device, staff_code, request, now)
                await seams.reach(seams.PUSH_LOCKED)
                pushed = await _push(connection, settings, standing, device, staff_code, request, offset, now)
                await seams.reach(seams.PUSH_WRITTEN)
            metrics.pushed(request.mutations, pushed.verdicts)
            await seams.reach(seams.PUSH_COMMITTED)
        else:
            standing = await _standing(connection, device, staff_code, request, now)
            pushed = Pushed([], standing.device.acked)
            await _note_seen(connection, standing.device, device, request, offset, now)
        _refuse_after_push(standing, request, pushed)
        answer = await _pull(connection, settings, standing, device, staff_code, request, pushed, now)
        await seams.reach(seams.PULL_READ)
        return answer


async def _standing(connection: Connection, device: str, staff_code: str, request: SyncRequest, now: datetime) -> Standing:
    names = Names.of(request.mutations)

    async def see() -> Look:
        if request.mutations:
            return await looking.lock(connection, device, staff_code, names, now)
        return await looking.stand(connection, device, staff_code, now)

    look = await see()
    if look.device is None:
        await queries.add_device(connection, device, staff_code, now)
        look = await see()
        assert look.device is not None
    epoch = look.epoch
    cursor = read_cursor(request.cursor, look.key, device)
    if cursor and cursor.epoch == epoch and await _is_ahead(connection, cursor, look):
        epoch = await queries.new_epoch(connection, epoch)
    return Standing(look, look.device, epoch, cursor)


async def _is_ahead(connection: Connection, cursor: Cursor, look: Look) -> bool:
    """Whether a genuine cursor knows more than the server: then the server was restored from a backup (promise 9)."""
    assert look.device is not None
    if cursor.acked > look.device.acked:
        return True
    unseen = [grid for grid, position in cursor.grids.items() if position.rev > look.counters.get(grid, -1)]
    return bool(unseen) and await queries.any_ahead(connection, {grid: cursor.grids[grid].rev for grid in unseen})


async def _push(
    connection: Connection,
    settings: Settings,
    standing: Standing,
    device: str,
    staff_code: str,
    request: SyncRequest,
    offset: int,
    now: datetime,
) -> Pushed:
    mutations = request.mutations
    known = standing.device.acked
    if mutations[0].seq > known + 1:
        raise Problem(
            SEQ_GAP,
            f"The server holds this device's mutations up to {known}; send from {known + 1} on.",
            expected=known + 1,
        )
    repeated = [mutation for mutation in mutations if mutation.seq <= known]
    fresh = mutations[len(repeated) :]
    verdicts = await _repeat(connection, device, repeated, settings) if repeated else []
    cursor = standing.valid_cursor
    author = Author(
        device=device,
        staff_code=staff_code,
        posts=standing.look.posts,
        offset_ms=offset,
        last_stamp=standing.device.last_stamp,
        epoch=standing.epoch,
        epoch_since_ms=_epoch_since(standing, now),
        seen={grid: position.rev for grid, position in cursor.grids.items()} if cursor else {},
        revoked_at=standing.device.revoked_at,
    )
    items = ready(author, fresh, now)
    acked = fresh[-1].seq if fresh else known
    stamp = max(author.last_stamp, highest_stamp(items))
    done = queries.acknowledging(device, acked, stamp, offset, request.queued, now)
    applied = await apply(connection, items, now, settings, standing.look, [done])
    return Pushed(verdicts + applied.verdicts, acked, applied.taken, applied.quiet and not repeated)


def _epoch_since(standing: Standing, now: datetime) -> int:
    """When this device is known to have learned of the epoch in force: bases of earlier edits mean nothing."""
    cursor = standing.cursor
    if cursor is None:
        return 0
    return cursor.epoch_since_ms if cursor.epoch == standing.epoch else to_ms(now)


async def _repeat(connection: Connection, device: str, repeated: list[Mutation], settings: Settings) -> list[Verdict]:
    """The verdicts of mutations that were taken in before; refuses other content under the same number (promise 10)."""
    known = await queries.first_outcomes(connection, device, repeated[0].seq, repeated[-1].seq)
    verdicts = []
    for mutation in repeated:
        row = known.get(mutation.seq)
        if row is None or row["digest"] != digest_of(canonical_bytes(mutation.body())):
            raise Problem(
                DEVICE_FORKED,
                f"Mutation {mutation.seq} of this device is known with other content: the phone was restored or copied."
                " Register a new device and number the mutations that were not acknowledged from 1.",
                seq=mutation.seq,
            )
        rest = json.loads(settings.vault.open_json(row["verdict"])) if row["verdict"] else {}
        conflicts = [msgspec.convert(item, Conflict) for item in rest.get("conflicts") or ()]
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


async def _note_seen(connection: Connection, state: DeviceState, device: str, request: SyncRequest, offset: int, now: datetime) -> None:
    """Keeps the device's last sign of life, once a minute or when its queue has changed; an idle poll writes nothing."""
    last = state.last_seen
    if last is None or state.queued != request.queued or (now - last).total_seconds() >= SEEN_EVERY_S:
        await queries.seen(connection, device, request.queued, offset, now)


def _refuse_after_push(standing: Standing, request: SyncRequest, pushed: Pushed) -> None:
    """A revoked device and an outdated app get no data, but what they hand in was taken."""
    members: dict[str, Any] = {"acked": pushed.acked, "verdicts": msgspec.to_builtins(pushed.verdicts)}
    if standing.device.revoked_at is not None:
        raise Problem(
            DEVICE_REVOKED,
            "This device was revoked. Hand in what is left, then delete all data on the phone.",
            wipe=request.queued == 0,
            **members,
        )
    if request.protocol < MINIMUM:
        raise Problem(
            UPGRADE,
            f"The app speaks protocol {request.protocol}; this server needs {MINIMUM}. Install the newest app; nothing was lost.",
            minimum=MINIMUM,
            **members,
        )


async def _pull(
    connection: Connection,
    settings: Settings,
    standing: Standing,
    device: str,
    staff_code: str,
    request: SyncRequest,
    pushed: Pushed,
    now: datetime,
) -> bytes:
    cursor = standing.valid_cursor
    mutations = request.mutations
    first_new = next((mutation.seq for mutation in mutations if mutation.seq > standing.device.acked), pushed.acked + 1)
    last_own = max(cursor.acked if cursor else 0, mutations[-1].seq if mutations else 0)
    mailbox = queries.mailbox_of(staff_code)
    if pushed.quiet:
        # While this device held the locks nobody else wrote in the grids of the push, and of what it wrote itself nothing is news.
        heads = {feed: head + pushed.taken.get(feed, 0) for feed, head in standing.look.heads(mailbox, now).items()}
        own = pushed.taken
    else:
        heads = await feed.heads_in_scope(connection, scope(standing.look.posts, now), mailbox)
        own = {}
    page = await feed.page(connection, heads, cursor, device, (first_new, last_own), request.limit, now, settings.vault, request.again, own)
    metrics.pulled.inc(len(page.changes))
    metrics.feed_lag.observe(page.pending)
    # What was written in a grid that has left the scope since then counts, but no copy of it may stay on the phone (promise 8).
    taken = {mutation.grid for mutation, verdict in zip(mutations, pushed.verdicts, strict=False) if verdict.rev is not None}
    dropped = sorted({*page.dropped, *(taken - heads.keys())})
    since = cursor.epoch_since_ms if cursor else _epoch_since(standing, now)
    after = Cursor(standing.epoch, device, pushed.acked, since, page.grids)
    head = encode(
        {
            "epoch": standing.epoch,
            "server_time": canonical_moment(now),
            "acked": pushed.acked,
            "verdicts": pushed.verdicts,
        }
    )
    tail = encode(
        {
            "dropped_grids": dropped,
            "cursor": request.cursor if after == standing.cursor else sign_cursor(after, standing.look.key),
            "more": page.more,
            "pending": page.pending,
        }
    )
    changes = b',"changes":[' + ",".join(page.changes).encode() + b"],"
    return head[:-1] + changes + tail[1:]


async def verify(database: Database, device: str, staff_code: str, request: VerifyRequest, now: datetime) -> list[str]:
    """The grids whose copies differ from what a first pull would give now (promise 12)."""
    named = {copy.grid: copy for copy in request.grids}
    if len(named) != len(request.grids):
        raise Problem(INVALID, "grids names a grid twice; send each once.")
    async with database.syncing() as connection:
        row = await read_device(connection, device)
        if row is not None and row["revoked_at"] is not None:
            raise Problem(DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync.")
        posts = await posts_of(connection, staff_code)
        heads = await feed.heads_in_scope(connection, scope(posts, now), "")
        mine = [grid for grid in named if grid in heads]
        truth = await feed.digests(connection, mine, now)
    empty = (0, "0" * 16)
    return [grid for grid, copy in named.items() if grid not in heads or truth.get(grid, empty) != (copy.count, copy.digest)]
