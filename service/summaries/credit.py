"""Who gets credit for what: from what a record was and what it is, to what changes in the tally. Pure.

A visit counts for who wrote it, on the day of the visit. A problem raised counts for who raised it, on the day of raised_at; a problem
resolved for the cadre of the resolve step that stands, on the day of that step; a rejected or joined problem for nobody.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from sync_protocol.lifecycle import Case
from sync_protocol.periods import day_of

WHOLE = ""  # the duty under which a record counts once, whatever its duties


class Key(NamedTuple):
    """A row of the tally."""

    day: date
    grid: str
    cadre: str
    duty: str


class Counts(NamedTuple):
    """What a row counts."""

    visits: int = 0
    raised: int = 0
    resolved: int = 0


Credits = Mapping[Key, Counts]
VISIT, RAISED, RESOLVED = Counts(visits=1), Counts(raised=1), Counts(resolved=1)


def of_visit(grid: str, created_by: str, fields: Mapping[str, Any]) -> Credits:
    """The credits of a living visit."""
    visited_at = fields.get("visited_at")
    if visited_at is None:
        return {}
    day = day_of(visited_at)
    return {Key(day, grid, created_by, duty): VISIT for duty in (WHOLE, *fields.get("duties", ()))}


def of_case(grid: str, duty: str, case: Case) -> Credits:
    """The credits of a problem where it stands."""
    if not case.counted or case.raised_at is None or case.raised_by is None:
        return {}
    credits = Changes()
    for name in (WHOLE, duty):
        credits.add({Key(day_of(case.raised_at), grid, case.raised_by, name): RAISED})
        if case.resolved_at is not None and case.resolved_by is not None:
            credits.add({Key(day_of(case.resolved_at), grid, case.resolved_by, name): RESOLVED})
    return credits.rows()


class Changes:
    """Collects what changes: `move(before, after)` for every record, then `rows()`."""

    def __init__(self) -> None:
        self._rows: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, credits: Credits, sign: int = 1) -> None:
        """Adds credits, or with `sign` -1 takes them back."""
        for key, counts in credits.items():
            row = self._rows[key]
            for index, count in enumerate(counts):
                row[index] += sign * count

    def move(self, before: Credits, after: Credits) -> None:
        """A record that had the credits `before` has `after` now."""
        if before != after:
            self.add(before, -1)
            self.add(after)

    def rows(self) -> dict[Key, Counts]:
        """The rows that change at all, in the order in which every transaction locks them."""
        return {key: Counts(*row) for key, row in sorted(self._rows.items()) if any(row)}
