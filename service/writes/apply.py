"""The one write path: mutations in, verdicts out, all in the caller's transaction.

A phone's push, a supervisor's click, an app's request, a roster import and a released mutation all
come through here; nothing else writes a synced record. The grids' counters are locked first, in one
order, so that revisions become visible without gaps; then all that the mutations touch is read in a
few statements, judged and merged in memory (`unit_of_work`), and written back in one (`persist`).
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from service.identity.rights import PostHeld
from service.kit import sql
from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.sql import Cte
from service.runtime.yielding import let_others_run
from service.writes import held_queries, prefetch
from service.writes.following import following
from service.writes.interface import Prepared, PreparedMutations
from service.writes.mutations import parse_again
from service.writes.persist import persist
from service.writes.prepared import prepare_one
from service.writes.read_set import ReadSet
from service.writes.snapshot import Snapshot
from service.writes.unit_of_work import GridUnlocked, UnitOfWork
from sync_protocol.messages import Verdict
from sync_protocol.periods import to_ms


class Applied(msgspec.Struct):
    """What came of mutations: the verdicts of each part, and how many revisions each grid has given
    for them.

    `devices_to_echo`: the devices that must be sent something of what came of their own mutations
    (promise 14); `mailbox_devices`: those to whom it may come in other feeds than those that
    `revs_allocated` names; `multi_writer_grids`: the grids in which more than one of the devices
    wrote.
    """

    verdicts: Sequence[list[Verdict]] = ()
    revs_allocated: Mapping[str, int] = {}
    devices_to_echo: Set[str] = frozenset()
    mailbox_devices: Set[str] = frozenset()
    multi_writer_grids: Set[str] = frozenset()


async def apply(
    connection: Connection,
    parts: Sequence[Prepared],
    now: datetime,
    settings: Settings,
    snapshot: Snapshot | None = None,
    also: Sequence[Cte] = (),
) -> Applied:
    """Applies mutations in order. Runs in the caller's transaction and commits nothing itself.

    `parts`: those of several devices one behind the other. `snapshot`: what a caller has locked and
    read already. `also`: what is to be written along, in the
    same statement.
    """
    if not any(parts):
        await sql.write(connection, also)
        return Applied([[] for _ in parts])
    unlocked: set[str] = set()
    while True:
        if snapshot is None:
            read_set = ReadSet.joined([part.read_set() for part in parts]).with_grids(unlocked)
            snapshot = await prefetch.lock_grids_and_read(connection, read_set)
        work = UnitOfWork(now, settings, snapshot)
        try:
            await work.open(connection, parts)
            break
        except GridUnlocked as missing:
            unlocked.add(missing.grid)
            snapshot = None
    verdicts = await work.take_all()
    count = sum(map(len, verdicts))
    await let_others_run(count)
    await persist(connection, work, also, count)
    followed = await _move_along(connection, work, now, settings)
    released = await release_waiting(connection, work, snapshot.has_waiters, now, settings)
    # What is held comes by mailbox, what was released or moved along took revisions of its own.
    mailbox_devices = (
        set().union(*(part.devices for part in parts))
        if released or followed
        else {entry.item.author.device for entry in work.aside.held}
    )
    return Applied(
        verdicts,
        work.revisions.allocated,
        work.devices_to_echo() | mailbox_devices,
        mailbox_devices,
        work.revisions.multi_writer_grids,
    )


async def _move_along(
    connection: Connection, work: UnitOfWork, now: datetime, settings: Settings
) -> bool:
    """Moves what goes along with households that have moved; whether there was anything."""
    if not work.merged.moves:
        return False
    moment = now + timedelta(microseconds=1)
    some = await following(connection, work.merged.moves, moment, work.tree)
    for one in some:
        await apply(connection, [one.mutations], moment, settings, also=[one.done])
    return bool(some)


async def release_waiting(
    connection: Connection, work: UnitOfWork, has_waiters: bool, now: datetime, settings: Settings
) -> bool:
    """Releases what was held only because a record of this call had not come yet, in the order in
    which it was written. `has_waiters`: whether anything was held for one of the named records.
    """
    if not (has_waiters or work.aside.held or work.aside.held_again):
        return False
    born = work.created_ids()
    waiting = await held_queries.lock_waiting_for(connection, born, work.cipher) if born else []
    through = work.let_through()  # one of these may have waited for what it made itself
    waiting = [row for row in waiting if row.id not in through]
    if not waiting:
        return False
    await release(connection, waiting, now + timedelta(microseconds=1), settings)
    return True


class Decider(Protocol):
    """A person who decides: who, and by which posts."""

    staff_code: str
    posts: list[PostHeld]


async def release(
    connection: Connection,
    rows: Sequence[held_queries.HeldRow],
    now: datetime,
    settings: Settings,
    decided_by: Decider | None = None,
    note: str | None = None,
) -> list[Verdict]:
    """Sends held mutations as they are through the write path again, judged at their original
    stamps; `decided_by`: the person who releases them, None when what they waited for has come.

    Those that still have a flaw stay held, with the newest reason.
    """
    items = []
    for row in rows:
        author = await held_queries.author_of(connection, row, settings)
        item = prepare_one(
            author, parse_again(row.mutation, row.is_copy), row.stamp, row.offset_ms, to_ms(now)
        )
        item.origin, item.received_at, item.seen = row.id, row.received_at, row.seen
        if decided_by is not None:
            item.decider, item.decided_by = decided_by.posts, decided_by.staff_code
        items.append(item)
    [verdicts] = (await apply(connection, [PreparedMutations(items)], now, settings)).verdicts
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.outcome != "held":
            await held_queries.close_held(
                connection,
                row,
                "released",
                decided_by.staff_code if decided_by else None,
                note,
                now,
            )
    return verdicts
