"""The plan of a pull: what lies between a device's cursor and the heads of its scope. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from service.identity.views import WHOLE_GRID, View
from sync_protocol.cursor import Cursor, Position


class Page(msgspec.Struct):
    """A page: the changes as JSON texts, the positions after it, and what is still to come."""

    changes: list[str]
    grids: dict[str, Position]
    dropped: list[str]
    more: bool
    pending: int


class Feed(NamedTuple):
    """A feed to be pulled: its head, what the device is shown of it, and the view with the version
    of its ties, as the cursor keeps it.
    """

    rev: int
    view: View = View.FULL
    version: str = View.FULL.value


class Reader(NamedTuple):
    """Who reads, where only a part of a grid is shown: the cadre, and the problems that were
    assigned to the cadre or a unit.
    """

    staff_code: str
    problems: Sequence[str] = ()


class PullPlan:
    """What lies between a device's cursor and the heads of its scope.

    `own`: the first seq that is new with this request, and the last that the device is known to
    hold. Own mutations that were applied as sent are left out where the device holds the record
    that they changed: in grids that it had pulled whole before it sent them, and records that it
    has just made. `taken`: how many of the last revisions of a grid are mutations of this request,
    all applied as sent.

    A grid of which the device is shown something else than its cursor says is dropped, and sent
    from the start with the next exchange: a client may drop grids before or after it takes the
    changes of an answer.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        cursor: Cursor | None,
        device: str,
        own: tuple[int, int],
        again: Sequence[str] = (),
        taken: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        known = dict(cursor.grids) if cursor else {}
        changed = {
            grid
            for grid, position in known.items()
            if grid in feeds and feeds[grid].version != position.view
        }
        self.device = device
        self.own = own
        self.waiting = sum(feeds[grid].rev for grid in changed)
        self.feeds = (
            {grid: feed for grid, feed in feeds.items() if grid not in changed}
            if changed
            else feeds
        )
        self.dropped = sorted((known.keys() - feeds.keys()) | changed)
        for grid in (*again, *changed):
            known.pop(grid, None)
        self.positions = {
            grid: known.get(grid) or Position(0, feed.rev, 0, feed.version)
            for grid, feed in self.feeds.items()
        }
        for grid, position in self.positions.items():
            if position.snapshot or grid not in known:
                self.positions[grid] = position._replace(own_since=own[1] + 1)
        for grid, count in taken.items():
            held = known.get(grid)
            if (
                held
                and grid in self.feeds
                and held.rev == feeds[grid].rev - count
                and not held.snapshot
                and held.own_since <= own[0]
            ):
                self.positions[grid] = held._replace(rev=feeds[grid].rev)
        self.stale_grids = [
            grid for grid, feed in self.feeds.items() if self.positions[grid].rev < feed.rev
        ]

    @property
    def stale_parts(self) -> list[str]:
        """The grids of which only a part is shown, and in which something may still come."""
        return [
            grid
            for grid, feed in self.feeds.items()
            if feed.view not in WHOLE_GRID and self.positions[grid].rev < feed.rev
        ]

    def to_page(
        self, changes: Sequence[str] = (), more: bool = False, of_parts: int | None = None
    ) -> Page:
        """The page that leads to the positions as they stand now; `of_parts`: what is still to come
        of grids that are shown in part.
        """
        counted = self.feeds.items()
        if of_parts is not None:
            counted = {grid: feed for grid, feed in counted if feed.view in WHOLE_GRID}.items()
        pending = (
            self.waiting
            + (of_parts or 0)
            + sum(max(0, feed.rev - self.positions[grid].rev) for grid, feed in counted)
        )
        return Page(list(changes), self.positions, self.dropped, more or self.waiting > 0, pending)
