"""Verify: whether the copies of a device are what a first pull would give now."""

from datetime import datetime

from service.kit.database import Database
from service.kit.errors import DEVICE_REVOKED, INVALID, Problem
from service.sync import feed_views, pull
from service.sync.refusals import refuse_outdated
from service.writes import prefetch
from service.writes.read_set import is_mailbox
from sync_protocol.messages import VerifyRequest


async def verify(
    database: Database, device: str, staff_code: str, request: VerifyRequest, now: datetime
) -> list[str]:
    """The grids whose copies differ from what a first pull would give now (promise 12)."""
    refuse_outdated(request.protocol)
    named = {copy.grid: copy for copy in request.grids}
    if len(named) != len(request.grids):
        raise Problem(INVALID, "grids names a grid twice; send each once.")
    async with database.syncing() as connection:
        snapshot = await prefetch.read(connection, [(device, staff_code)], now)
    state = snapshot.devices.get(device)
    if state is not None and state.revoked_at is not None:
        raise Problem(
            DEVICE_REVOKED, "This device was revoked; only its outbox is still taken, at /v1/sync."
        )
    for mailbox in filter(is_mailbox, named):
        snapshot.counters.setdefault(mailbox, 0)  # one in which nothing ever lay is counted nowhere
    heads = {grid: head for grid, head in snapshot.feeds(staff_code, now).items() if grid in named}
    feeds, reader = await feed_views.feeds_for(database, snapshot, staff_code, heads, now)
    async with database.syncing() as connection:
        truth = await pull.digests(connection, feeds, reader, now)
    empty = (0, "0" * 16)
    return [
        grid
        for grid, copy in named.items()
        if grid not in heads or truth.get(grid, empty) != (copy.count, copy.digest)
    ]
