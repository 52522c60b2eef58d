"""What a device is shown of each feed, with the version of what it is tied to; and the line of a
staff pull in the audit trail."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from service.audit.audit_log import record
from service.identity.views import View, present_views
from service.kit.database import Database
from service.sync.pull_plan import Feed, Reader
from service.writes import queries
from service.writes.snapshot import FeedHead, Snapshot
from sync_protocol.periods import local_day

# What is pulled of these views is read from outside the village.
_OUTSIDE = frozenset({View.REDUCED, View.SUMMARISED, View.ASSIGNED})


async def feeds_for(
    database: Database,
    snapshot: Snapshot,
    staff_code: str,
    heads: Mapping[str, FeedHead],
    now: datetime,
) -> tuple[dict[str, Feed], Reader]:
    """The feeds with the versions of their views: of a part of a grid, which households and
    problems it consists of. When that changes, the part is sent anew.
    """
    assigned = snapshot.assigned_to(staff_code, now) if snapshot.assignments else {}
    tied_grids = [grid for grid, head in heads.items() if head.view is View.TIED]
    tied: Mapping[str, list[str]] = {}
    if tied_grids:
        async with database.syncing() as connection:
            tied = await queries.tied_households(connection, staff_code, tied_grids, local_day(now))
    feeds = {}
    for grid, (rev, view) in heads.items():
        version = view.value
        if view in (View.TIED, View.ASSIGNED):
            parts = [*tied.get(grid, ()), "", *assigned.get(grid, ())]
            version += hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()
        feeds[grid] = Feed(rev, view, version)
    return feeds, Reader(staff_code, [problem for some in assigned.values() for problem in some])


async def audit_pull(
    database: Database,
    snapshot: Snapshot,
    device: str,
    staff_code: str,
    feeds: Mapping[str, Feed],
    now: datetime,
) -> None:
    """Writes one line a day and device: that somebody pulled from outside the village."""
    today = local_day(now)
    outside = sum(feed.view in _OUTSIDE for feed in feeds.values())
    if not outside or snapshot.devices[device].audited_on == today:
        return
    units = [unit for unit, _ in present_views(snapshot.posts.get(staff_code, ()), now)]
    async with database.transaction(bookkeeping=True) as connection:
        if await queries.audit_on(connection, device, today):
            await record(
                connection, now, staff_code, "sync-pull", [*units, device], outside, units=units
            )
