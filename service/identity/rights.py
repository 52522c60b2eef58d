"""The one table that says which role may do what. Everything that checks a right reads it.

A right holds for the unit of the post and everything below it, while the post is valid (promise 7).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

_LOGS = frozenset({"household", "visit", "problem", "step", "weekly_analysis", "monthly_summary"})
_FIELD_WORK = frozenset({"household", "visit", "problem", "step"})

# role -> the kinds of record that it may write
WRITES: dict[str, frozenset[str]] = {
    "grid_worker": _LOGS,
    "village_secretary": _LOGS,
    "first_secretary": _LOGS,
    "village_committee": _FIELD_WORK,
    "village_supervisor": _FIELD_WORK,
    "contact_member": frozenset({"visit", "problem", "step"}),
    "supervisor": frozenset({"problem", "step"}),
    "admin": _LOGS,
    "auditor": frozenset(),
    "app_client": frozenset(),
}

# The roles that read the records and summaries of their units.
READS = frozenset(WRITES) - {"auditor", "app_client"}

# The roles that settle conflicts and decide on held mutations of their units.
SETTLES = frozenset({"village_secretary", "first_secretary", "supervisor", "admin"})


class PostHeld(NamedTuple):
    """A role at a unit, from `valid_from` (included) to `valid_to` (excluded; None: still)."""

    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None

    def valid_at(self, moment: datetime) -> bool:
        """Whether the post was held at a moment."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)


def covers(unit: str, below: str) -> bool:
    """Whether `below` is the unit or lies under it: codes begin with those of the units above."""
    return below.startswith(unit)


def may_write(posts: Iterable[PostHeld], kind: str, grid: str, moment: datetime) -> bool:
    """Whether one of the posts allowed writing such a record in a grid at that moment."""
    return any(kind in WRITES.get(post.role, ()) and covers(post.unit, grid) and post.valid_at(moment) for post in posts)


def may_settle(posts: Iterable[PostHeld], grid: str, moment: datetime) -> bool:
    """Whether one of the posts allows deciding on conflicts and held mutations of a grid at that moment."""
    return any(post.role in SETTLES and covers(post.unit, grid) and post.valid_at(moment) for post in posts)


def scope(posts: Iterable[PostHeld], moment: datetime, roles: frozenset[str] = READS) -> list[str]:
    """The topmost units whose records may be read at that moment, without those that lie under another."""
    units = sorted({post.unit for post in posts if post.role in roles and post.valid_at(moment)})
    kept: list[str] = []
    for unit in units:
        if not kept or not covers(kept[-1], unit):
            kept.append(unit)
    return kept
