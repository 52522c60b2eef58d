"""What one statement has seen of devices, their cadres, and of all that their mutations name."""

from bisect import bisect_left
from datetime import date, datetime
from typing import NamedTuple

import msgspec

from service.identity.rights import PostHeld, any_present
from service.identity.views import WHOLE_GRID, View, present_views, view_in
from service.kit.conditions import Range
from service.organisation.tree import BY_CODES, Tree
from service.runtime.tables import Tables
from service.vocabulary.rules import ReferenceData
from service.writes.read_set import mailbox_of


class DeviceState(msgspec.Struct):
    """What the server knows of a device. `audited_on`: the last day on which its pull stands in the
    audit trail.
    """

    acked: int
    last_stamp: str
    revoked_at: datetime | None
    last_seen: datetime | None
    queued: int
    registered_at: datetime
    audited_on: date | None = None


class FeedHead(NamedTuple):
    """The head revision of a feed, and what somebody sees of it."""

    rev: int
    view: View = View.FULL


class Erased(NamedTuple):
    """That the personal data of a record was erased: the revision of its grid, and when."""

    grid: str
    rev: int
    at: datetime


class Assignment(NamedTuple):
    """An open problem that was assigned `to` a unit, or to a cadre (`@` and the staff code)."""

    problem: str
    grid: str
    to: str


class Snapshot(msgspec.Struct):
    """What was seen of some devices and their cadres, and of what their mutations name.

    `posts`: all that each cadre has or had; `counters`: the heads of every feed that one of them
    may read, and more; `locked`: those of the named grids that exist; `existing`: `(kind, id) ->
    grid` of the named records that exist, tombstones included; `has_waiters`: whether a held
    mutation waits for one of the named ids; `assignments`: problems assigned to one of the cadres,
    or to their units from elsewhere; `own_work_from`: the stamp from which nobody verifies the own
    resolution; `encryption`: see `service.kit.encryption.State`; `erased`: those of the named
    records whose personal data was erased; `timeline`: under which the database was last written,
    `timeline_changed`: whether the database server has begun another one; `tables`: which tables
    the database has; `ordered`: the feeds of `counters` in order, once somebody has asked for them;
    `tree`: of units, of the version `tree_version`; `reference`: words, limits and calendar, of
    the version `vocabulary_version`, read for those who write.
    """

    epoch: str = ""
    key: bytes = b""
    encryption: str = ""
    devices: dict[str, DeviceState] = {}
    posts: dict[str, list[PostHeld]] = {}
    counters: dict[str, int] = {}
    locked: dict[str, int] = {}
    existing: dict[tuple[str, str], str] = {}
    has_waiters: bool = False
    assignments: list[Assignment] = []
    own_work_from: str = ""
    timeline: str = ""
    timeline_changed: bool = False
    tables: Tables = Tables(None)
    erased: dict[tuple[str, str], Erased] = {}
    ordered: list[str] = []
    tree_version: str = ""
    tree: Tree = BY_CODES
    vocabulary_version: str = ""
    reference: ReferenceData = ReferenceData()

    def feeds(self, staff_code: str, now: datetime) -> dict[str, FeedHead]:
        """The feeds that a cadre's devices read: grids in scope, grids with problems assigned to
        the cadre, the mailbox, and the articles of units above and below. A cadre without any post
        at present gets nothing at all.
        """
        posts = self.posts.get(staff_code, ())
        present = present_views(posts, now)
        mailbox = mailbox_of(staff_code) if any_present(posts, now) else ""
        assigned = self.assigned_to(staff_code, now) if self.assignments else {}
        found: dict[str, View] = {}
        for unit, view in present:  # the widest view first
            for one in self.tree.ranges(unit, present.day):
                for feed in self._within(one):
                    found.setdefault(feed, view)
                for feed in self._within(one, "#"):
                    found[feed] = View.FULL
            for code in self.tree.above(unit, present.day):
                if (feed := "#" + code) in self.counters:
                    found[feed] = View.FULL
        for feed in assigned:
            if feed in self.counters:
                found.setdefault(feed, View.ASSIGNED)
        if mailbox in self.counters:
            found[mailbox] = View.FULL
        return {feed: FeedHead(self.counters[feed], found[feed]) for feed in sorted(found)}

    def _within(self, codes: Range, sign: str = "") -> list[str]:
        """The feeds in a range of codes, those whose names begin with a sign."""
        if len(self.ordered) != len(self.counters):
            self.ordered = sorted(self.counters)
        ordered = self.ordered
        return ordered[
            bisect_left(ordered, sign + codes.low) : bisect_left(ordered, sign + codes.high)
        ]

    def assigned_to(self, staff_code: str, now: datetime) -> dict[str, list[str]]:
        """The problems assigned to a cadre, or to a unit of one of the cadre's posts, by grid; only
        of grids that are not shown whole.
        """
        present = present_views(self.posts.get(staff_code, ()), now)
        found: dict[str, set[str]] = {}
        covers = self.tree.covers
        for problem, grid, to in self.assignments:
            mine = to == "@" + staff_code or any(
                covers(unit, to, present.day) and not covers(unit, grid, present.day)
                for unit, _ in present
            )
            if mine and present and view_in(present, grid) not in WHOLE_GRID:
                found.setdefault(grid, set()).add(problem)
        return {grid: sorted(problems) for grid, problems in found.items()}
