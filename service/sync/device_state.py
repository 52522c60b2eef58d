"""Where devices stand before an exchange, and what their cursors prove: after a restore the server
may know less than a phone (promise 9).
"""

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.sync.requests import ExchangeRequest
from service.writes import queries, timelines
from service.writes.snapshot import DeviceState, Snapshot
from service.writes.timelines import TimelineChanged
from sync_protocol.cursor import Cursor, read_cursor
from sync_protocol.periods import from_ms, to_ms

# Sign-in and cursor tell the moment of registration in whole milliseconds.
_REGISTRATION_ROUNDING = timedelta(milliseconds=2)

# Reads a snapshot of callers, each a device with its cadre, as of a moment.
ReadSnapshot = Callable[..., Coroutine[Any, Any, Snapshot]]


class StateBefore(msgspec.Struct, frozen=True):
    """What the server knew of a device and its cadre before an exchange.

    `cursor`: that of the request, if it is genuine; `epoch`: the one in force, which may have begun
    with this cursor.
    """

    request: ExchangeRequest
    snapshot: Snapshot
    epoch: str
    cursor: Cursor | None

    @property
    def device(self) -> DeviceState:
        """The device."""
        return self.snapshot.devices[self.request.device]

    @property
    def posts(self) -> list[PostHeld]:
        """All posts that the cadre has or had."""
        return self.snapshot.posts.get(self.request.staff_code, [])

    @property
    def valid_cursor(self) -> Cursor | None:
        """The cursor, if it belongs to the epoch in force."""
        return self.cursor if self.cursor and self.cursor.epoch == self.epoch else None

    @property
    def epoch_since_ms(self) -> int:
        """When this device is known to have learned of the epoch in force: bases of earlier edits
        mean nothing.
        """
        if self.cursor is None:
            return 0
        return self.cursor.epoch_since_ms if self.valid_cursor else to_ms(self.request.now)


async def read_states(
    connection: Connection, requests: Sequence[ExchangeRequest], read_snapshot: ReadSnapshot
) -> list[StateBefore]:
    """Reads where devices stand; makes the rows of those that are not known, and takes a new epoch
    when a cursor proves a restore. Raises `TimelineChanged`.
    """
    now = min(request.now for request in requests)
    callers = [(request.device, request.staff_code) for request in requests]
    snapshot = await read_snapshot(connection, callers, now=now)
    snapshot.tables.refuse_too_new()
    if snapshot.timeline_changed:
        raise TimelineChanged
    cursors = [
        read_cursor(request.message.cursor, snapshot.key, request.device) for request in requests
    ]
    if await _learn_devices(connection, requests, cursors, snapshot, now):
        snapshot = await read_snapshot(connection, callers, now=now)
    epoch = snapshot.epoch
    for cursor in cursors:
        if (
            cursor
            and cursor.epoch == snapshot.epoch == epoch
            and await _has_lost(connection, cursor, snapshot)
        ):
            epoch = await queries.new_epoch(connection, epoch)
    return [
        StateBefore(request, snapshot, epoch, cursor)
        for request, cursor in zip(requests, cursors, strict=True)
    ]


async def _learn_devices(
    connection: Connection,
    requests: Sequence[ExchangeRequest],
    cursors: Sequence[Cursor | None],
    snapshot: Snapshot,
    now: datetime,
) -> bool:
    """Makes the rows of devices that the server does not know, and learns when devices were
    registered: after a restore it may have forgotten both, but sign-in and cursor are genuine
    (promise 9). Whether anything was learned.
    """
    learned = False
    for request, cursor in zip(requests, cursors, strict=True):
        known = snapshot.devices.get(request.device)
        told = [
            ms for ms in (request.registered_ms, cursor.registered_ms if cursor else None) if ms
        ]
        registered_at = min([now, *map(from_ms, told)])
        if known is None:
            await queries.add_device(connection, request.device, request.staff_code, registered_at)
        elif told and registered_at < known.registered_at - _REGISTRATION_ROUNDING:
            await queries.set_registered(connection, request.device, registered_at)
        else:
            continue
        learned = True
    return learned


async def _has_lost(connection: Connection, cursor: Cursor, snapshot: Snapshot) -> bool:
    """Whether a genuine cursor knows what the server does not: it was restored, or a replica took
    over that lacked it (promise 9).
    """
    return await _is_ahead(connection, cursor, snapshot) or (
        cursor.timeline != snapshot.timeline and await timelines.has_lost(connection, cursor)
    )


async def _is_ahead(connection: Connection, cursor: Cursor, snapshot: Snapshot) -> bool:
    """Whether a genuine cursor is above what the server has now."""
    if cursor.acked > snapshot.devices[cursor.device].acked:
        return True
    unseen = [
        grid
        for grid, position in cursor.grids.items()
        if position.rev > snapshot.counters.get(grid, -1)
    ]
    return bool(unseen) and await queries.any_ahead(
        connection, {grid: cursor.grids[grid].rev for grid in unseen}
    )
