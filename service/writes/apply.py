"""The one write path: mutations in, verdicts out, all in the caller's transaction.

A phone's push, a supervisor's click, an app's request, a roster import and a released mutation all
come through here; nothing else writes a synced record. The grids' counters are locked first, in one
order, so that revisions become visible without gaps; then all that the mutations touch is read in a
few statements, judged and merged in memory, and written back in one (see `batch`).
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
from service.writes.mutations import PreparedMutation, parse_again, prepare_one
from service.writes.prefetch import ReadSet, Snapshot
from service.writes.unit_of_work import GridUnlocked, UnitOfWork
from service.writes.visit_columns import PreparedVisitColumns
from sync_protocol.messages import Verdict
from sync_protocol.periods import to_ms


class Applied(msgspec.Struct):
    """What came of mutations: their verdicts, and how many revisions each grid has given for them.

    `devices_to_echo`: the devices that must be sent something of what came of their own mutations
    (promise 14); `mailbox_devices`: those to whom it may come in other feeds than those that
    `revs_allocated` names; `multi_writer_grids`: the grids in which more than one of the devices
    wrote.
    """

    verdicts: list[Verdict] = []
    revs_allocated: Mapping[str, int] = {}
    devices_to_echo: Set[str] = frozenset()
    mailbox_devices: Set[str] = frozenset()
    multi_writer_grids: Set[str] = frozenset()


async def apply(
    connection: Connection,
    items: Sequence[PreparedMutation | PreparedVisitColumns],
    now: datetime,
    settings: Settings,
    look: Snapshot | None = None,
    also: Sequence[Cte] = (),
) -> Applied:
    """Applies mutations in order. Runs in the caller's transaction and commits nothing itself.

    `look`: what a caller has locked and seen already. `also`: what is to be written along, in the
    same statement.
    """
    if not items:
        await sql.write(connection, also)
        return Applied()
    also_locked: set[str] = set()
    while True:
        batch = UnitOfWork(now, settings)
        try:
            await batch.open(connection, items, look or await _find(connection, items, also_locked))
            break
        except GridUnlocked as missing:
            also_locked.add(missing.grid)
            look = None
    verdicts = await batch.take_all()
    await let_others_run(batch.count)
    await batch.fold_problems(connection)
    await batch.write(connection, also)
    released = await release_waiting(connection, batch, now, settings)
    # What is held comes by mailbox, what was released took revisions of its own.
    mailbox_devices = (
        {item.author.device for item in items}
        if released
        else {entry.item.author.device for entry in batch.held}
    )
    return Applied(
        verdicts,
        batch.revs_allocated,
        batch.devices_to_echo() | mailbox_devices,
        mailbox_devices,
        batch.multi_writer_grids,
    )


async def _find(
    connection: Connection,
    items: Sequence[PreparedMutation | PreparedVisitColumns],
    also_locked: set[str],
) -> Snapshot:
    singles = [item for item in items if isinstance(item, PreparedMutation)]
    names = ReadSet.joined(
        [
            ReadSet.of(singles),
            *(
                ReadSet.of_visit_columns(item.visits)
                for item in items
                if isinstance(item, PreparedVisitColumns)
            ),
        ]
    )
    names.grids |= also_locked
    return await prefetch.lock_grids_and_read(connection, names)


async def release_waiting(
    connection: Connection, batch: UnitOfWork, now: datetime, settings: Settings
) -> bool:
    """Releases what was held only because a record of this batch had not come yet, in the order in
    which it was written.
    """
    if not (batch.has_waiters or batch.held or batch.held_again):
        return False
    born = batch.created_ids()
    waiting = await held_queries.lock_waiting_for(connection, born, batch.cipher) if born else []
    through = batch.let_through()  # one of these may have waited for what it made itself
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
        item.decider = None if decided_by is None else decided_by.posts
        items.append(item)
    verdicts = (await apply(connection, items, now, settings)).verdicts
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
