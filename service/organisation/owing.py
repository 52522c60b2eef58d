"""Which grids of a unit owe their logs alike: runs of them in the order of codes, so that a
statement counts ranges of codes and never names grids. Pure.
"""

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator
from datetime import date
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from service.kit.conditions import Breakdown, Subtree
from service.organisation.tree import ALWAYS, Tree
from sync_protocol.vocabulary import CODE_LENGTH


class Owed(NamedTuple):
    """Since when a grid is there, from when on it is closed, and from when on it owes logs; None:
    always, never, always.
    """

    since: date | None = None
    closed: date | None = None
    owes_from: date | None = None

    def within(self, first: date, last: date) -> "Owed | None":
        """What of it matters on the days from `first` to `last`; None: it is not there then."""
        if (self.since is not None and self.since > last) or (
            self.closed is not None and self.closed <= first
        ):
            return None
        return Owed(
            self.since if self.since is not None and self.since > first else None,
            self.closed if self.closed is not None and self.closed <= last else None,
            self.owes_from if self.owes_from is not None and self.owes_from > first else None,
        )


class Run(NamedTuple):
    """Grids that follow on each other, lie in the same unit right below, and owe alike: `grids` of
    them, with codes from `low` (included) to `high` (excluded). `are_villages`: they are all the
    grids of some villages; `calendar`: a number, the same for grids with the same working days.
    """

    low: str
    high: str
    unit: str
    grids: int
    owed: Owed
    calendar: int
    are_villages: bool


# The calendar of a grid as a number; 0 is that of the unit that is asked for.
CalendarOf = Callable[[str], int]


class Span(NamedTuple):
    """The days that are asked about, and by the tree of which day grids owe."""

    first: date
    last: date
    tree_day: date


def runs(
    tree: Tree,
    code: str,
    day: date,
    span: Span,
    without: Container[str] = frozenset(),
    calendar_of: CalendarOf | None = None,
) -> tuple[Run, ...]:
    """The runs of grids of a unit, as it is on a day, that are there in a span of days, but for
    some grids.
    """
    # The same for all days between two on which something changes.
    alike = Span(
        tree.day_since_change(span.first),
        tree.day_since_change(span.last),
        tree.day_like(span.tree_day),
    )
    if without or calendar_of is not None:
        subtree, below = tree.subtree(code, day), tree.breakdown(code, day)
        return _runs(_Grids(tree, alike, below, calendar_of, without), subtree)
    return _known_runs(tree, code, tree.day_like(day), alike)


@lru_cache(maxsize=1_024)
def _known_runs(tree: Tree, code: str, day: date, span: Span) -> tuple[Run, ...]:
    grids = _Grids(tree, span, tree.breakdown(code, day), None, frozenset())
    return _runs(grids, tree.subtree(code, day))


@lru_cache(maxsize=16)
def _owed(tree: Tree, day: date) -> tuple[list[str], list[Owed]]:
    """The codes of all grids, and what each owes by the tree of a day."""
    codes = sorted(code for code, unit in tree.units.items() if unit.level == "grid")
    units = [tree.units[code] for code in codes]
    return codes, [Owed(one.since, one.closed, tree.owes_from(one.code, day)) for one in units]


def codes_of(tree: Tree, run: Run) -> list[str]:
    """The codes of the grids of a run."""
    codes, _ = _owed(tree, ALWAYS)
    return codes[bisect_left(codes, run.low) : bisect_left(codes, run.high)]


# What grids have in common: the unit right below, what they owe, and the calendar.
_Key = tuple[str, Owed, int]


class _Grids:
    """All grids by their place in the order of codes."""

    def __init__(
        self,
        tree: Tree,
        span: Span,
        below: Breakdown,
        calendar_of: CalendarOf | None,
        without: Container[str],
    ) -> None:
        self.codes, self._owed = _owed(tree, span.tree_day)
        self._span = span
        self._below = below
        self._calendar_of = calendar_of
        self._without = without

    def key(self, place: int) -> _Key | None:
        """What a grid has in common with others; None: it is not there, or left out."""
        code, owed = self.codes[place], self._owed[place]
        if owed != _ALL:
            found = owed.within(self._span.first, self._span.last)
            if found is None:
                return None
            owed = found
        if code in self._without:
            return None
        calendar = self._calendar_of(code) if self._calendar_of is not None else 0
        return self._below.holding(code), owed, calendar

    def village(self, place: int) -> str:
        """The village of a grid."""
        return self.codes[place][: CODE_LENGTH["village"]]

    def is_village(self, first: int, last: int) -> bool:
        """Whether the grids from a place to another, of one village, are all of it."""
        around = [place for place in (first - 1, last + 1) if 0 <= place < len(self.codes)]
        return self.village(first) not in map(self.village, around)


_ALL = Owed()


def _pieces(grids: _Grids, first: int, until: int) -> Iterator[tuple[range, _Key, bool]]:
    """The villages of which all grids are alike, and the single grids of others."""
    for _, some in groupby(range(first, until), key=grids.village):
        places = list(some)
        keys = [grids.key(place) for place in places]
        key = keys[0]
        is_village = keys.count(key) == len(keys) and grids.is_village(places[0], places[-1])
        if is_village:
            if key is not None:
                yield range(places[0], places[-1] + 1), key, True
            continue
        for place, own in zip(places, keys, strict=True):
            if own is not None:
                yield range(place, place + 1), own, False


def _runs(grids: _Grids, subtree: Subtree) -> tuple[Run, ...]:
    found: list[tuple[range, _Key, bool]] = []
    for one in subtree.ranges:
        first, until = (bisect_left(grids.codes, bound) for bound in one)
        for places, key, is_village in _pieces(grids, first, until):
            last = found[-1] if found else None
            if last is not None and last[0].stop == places.start and last[1:] == (key, is_village):
                found[-1] = (range(last[0].start, places.stop), key, is_village)
            else:
                found.append((places, key, is_village))
    made = []
    for places, (unit, owed, calendar), are_villages in found:
        low, high = grids.codes[places.start], grids.codes[places.stop - 1]
        if are_villages:
            low, high = grids.village(places.start), grids.village(places.stop - 1)
        made.append(Run(low, high + ":", unit, len(places), owed, calendar, are_villages))
    return tuple(made)
