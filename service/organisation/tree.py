"""The tree of units as of any day: what lies under what, and the ranges of codes that a unit and
all below it take up. Pure; see docs/decisions/0025.

A code says nothing of where its unit lies. But most units lie under the unit whose code theirs
begins with, so only those that do not (*moved* ones) are kept apart: the tree asks for the moved
unit within which a code lies, and goes on from that unit's parent.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from service.kit.conditions import EVERYWHERE, Breakdown, Range, Subtree, prefix_range
from sync_protocol.vocabulary import CODE_LENGTH, LEVELS

# The days before every day that has one.
ALWAYS = date.min


class LevelFacts(NamedTuple):
    """A level of the tree; the topmost has position 1."""

    slug: str
    position: int
    name_zh: str
    name_en: str
    sees_tags: bool


class Spell(NamedTuple):
    """That a unit lay under a parent from a day (included) to a day (excluded; None: still)."""

    parent: str | None
    valid_from: date
    valid_to: date | None


class Grids(NamedTuple):
    """The grids of a unit in a period: how many, and when those owe logs that owe only some;
    `by_unit`: how many lie in each unit right below.
    """

    total: int
    parts: Mapping[str, Spell] = {}
    by_unit: Mapping[str, int] = {}


class UnitFacts(NamedTuple):
    """A unit as the tree knows it; `spells`: the parents of one that has moved, `parent`: of one
    that never did.
    """

    code: str
    level: str
    parent: str | None
    since: date | None = None
    closed: date | None = None
    go_live: date | None = None
    spells: tuple[Spell, ...] = ()

    def parent_on(self, day: date) -> str | None:
        """The unit right above on a day."""
        for spell in self.spells:
            if spell.valid_from <= day and (spell.valid_to is None or day < spell.valid_to):
                return spell.parent
        return self.parent

    def is_open(self, first: date, last: date) -> bool:
        """Whether the unit is there on one of these days."""
        return (self.since is None or self.since <= last) and (
            self.closed is None or self.closed > first
        )


# The levels of a new database.
LEVELS_AT_FIRST = tuple(
    LevelFacts(slug, position, label.zh, label.en, position >= 3)
    for position, (slug, label) in enumerate(LEVELS.items(), 1)
)
_LEVEL_OF_LENGTH = {length: level for level, length in CODE_LENGTH.items()}
_DEEPEST = 64


class _Span:
    """The tree between two days on which something moves."""

    def __init__(self, moved: Mapping[str, str | None]) -> None:
        self.moved = moved
        self.ordered = sorted(moved)
        self.lengths = sorted({len(code) for code in moved}, reverse=True)
        self.ranges: dict[str, tuple[Range, ...]] = {}
        self.children: dict[str, list[str]] | None = None
        self.above: dict[str, list[str]] = {}

    def within(self, code: str) -> str | None:
        """The moved unit in whose codes a code lies, the innermost; the code itself if it moved."""
        for length in self.lengths:
            if length <= len(code) and code[:length] in self.moved:
                return code[:length]
        return None


class Tree:
    """All units, as `version` of the database has them; never changed once made.

    Of a code that is no unit (a grid that somebody made up) it says what the codes say: it lies
    under the unit whose code it begins with. Without any units all codes are such.
    """

    def __init__(
        self,
        version: str = "",
        units: Iterable[UnitFacts] = (),
        levels: Sequence[LevelFacts] = LEVELS_AT_FIRST,
    ) -> None:
        self.version = version
        self.units: Mapping[str, UnitFacts] = {unit.code: unit for unit in units}
        self.levels = {level.slug: level for level in sorted(levels, key=lambda one: one.position)}
        self._bottom = max((level.position for level in levels), default=0)
        self._lengths = sorted({len(code) for code in self.units}, reverse=True)
        odd = [unit for unit in self.units.values() if self._is_odd(unit)]
        self._odd = odd
        self._turns = sorted(
            {
                day
                for unit in odd
                for spell in unit.spells
                for day in (spell.valid_from, spell.valid_to)
                if day is not None
            }
        )
        self._spans: dict[int, _Span] = {}
        self._changes = sorted(
            {day for unit in self.units.values() for day in unit[3:6] if day is not None}
        )

    def _is_odd(self, unit: UnitFacts) -> bool:
        by_code = self._by_code(unit.code)
        return any(spell.parent != by_code for spell in unit.spells) or (
            not unit.spells and unit.parent != by_code
        )

    def _by_code(self, code: str) -> str | None:
        """The unit with the longest code that a code goes on from."""
        for length in self._lengths:
            if length < len(code) and code[:length] in self.units:
                return code[:length]
        return None

    def _span(self, day: date) -> _Span:
        at = bisect_right(self._turns, day)
        span = self._spans.get(at)
        if span is None:
            moved = {
                unit.code: parent
                for unit in self._odd
                if (parent := unit.parent_on(day)) != self._by_code(unit.code)
            }
            span = self._spans[at] = _Span(moved)
        return span

    @property
    def is_plain(self) -> bool:
        """Whether every unit lies, and always lay, under the one whose code its own begins with."""
        return not self._odd

    # ------------------------------------------------------------------------------ what is above

    def covers(self, top: str, below: str, day: date) -> bool:
        """Whether `below` is the unit `top` or lies under it on a day; under the empty code lies
        everything.
        """
        if not self._odd or not top:
            return below.startswith(top)
        span = self._span(day)
        code = below
        for _ in range(_DEEPEST):
            moved = span.within(code)
            if code.startswith(top) and (moved is None or top.startswith(moved)):
                return True
            above = None if moved is None else span.moved[moved]
            if above is None:
                return False
            code = above
        return False

    def parent(self, code: str, day: date) -> str | None:
        """The unit right above on a day; None above the topmost."""
        unit = self.units.get(code)
        if unit is not None:
            return unit.parent_on(day)
        by_code = self._by_code(code)
        if by_code is not None:
            return by_code
        shorter = [length for length in CODE_LENGTH.values() if length < len(code)]
        return code[: shorter[-1]] if shorter else None

    def tops(self, day: date) -> list[str]:
        """The units with none above them on a day; of a whole city there is one."""
        return [code for code, unit in self.units.items() if unit.parent_on(day) is None]

    def above(self, code: str, day: date) -> list[str]:
        """The units above one on a day, from right above it to the topmost; not to be changed."""
        known = self._span(day).above
        found = known.get(code)
        if found is None:
            found = []
            parent = self.parent(code, day)
            while parent is not None and len(found) < _DEEPEST:
                found.append(parent)
                parent = self.parent(parent, day)
            if code in self.units:
                known[code] = found
        return found

    def topmost(self, codes: Iterable[str], day: date) -> list[str]:
        """The codes without those that lie under another of them, in order."""
        some = sorted(set(codes))
        if not self._odd:
            kept: list[str] = []
            for code in some:
                if not kept or not code.startswith(kept[-1]):
                    kept.append(code)
            return kept
        return [
            code
            for code in some
            if not any(other != code and self.covers(other, code, day) for other in some)
        ]

    def held_in(self, top: str, below: str) -> list[tuple[date, date | None]]:
        """The days from which (included) and to which (excluded; None: still) a unit lay under
        another.
        """
        found: list[tuple[date, date | None]] = []
        ends: list[date | None] = [*self._turns, None]
        for begins, until in zip([ALWAYS, *self._turns], ends, strict=True):
            if begins == until or not self.covers(top, below, begins):
                continue
            if found and found[-1][1] == begins:
                found[-1] = (found[-1][0], until)
            else:
                found.append((begins, until))
        return found

    # ------------------------------------------------------------------------------ what is below

    def ranges(self, code: str, day: date) -> tuple[Range, ...]:
        """The fewest disjoint ranges that hold the codes of a unit and of all below it on a day, in
        order.
        """
        if not self._odd:
            return (prefix_range(code),)
        span = self._span(day)
        found = span.ranges.get(code)
        if found is None:
            found = span.ranges[code] = self._ranges(span, code, day)
        return found

    def _ranges(self, span: _Span, code: str, day: date) -> tuple[Range, ...]:
        if not code:
            return (EVERYWHERE,)
        within = [code, *(m for m in span.ordered if m != code and self.covers(code, m, day))]
        pieces: list[Range] = []
        for top in within:
            low, high = prefix_range(top)
            at, until = (bisect_left(span.ordered, bound) for bound in (low, high))
            for moved in span.ordered[at:until]:
                if moved == top or moved < low:
                    continue  # itself, or within the one before
                if low < moved:
                    pieces.append(Range(low, moved))
                low = moved + ":"
            if low < high:
                pieces.append(Range(low, high))
        return _joined(pieces)

    def subtree(self, code: str, day: date) -> Subtree:
        """A unit and all below it on a day, as statements take it."""
        return Subtree(code, self.ranges(code, day), self.height(code))

    def several(self, codes: Iterable[str], day: date) -> list[Range]:
        """The ranges of several units, and all below them, on a day."""
        return [one for code in codes for one in self.ranges(code, day)]

    def is_unlike_its_code(self, code: str, day: date) -> bool:
        """Whether a unit has other ranges on a day than the one of its code."""
        return bool(self._odd) and self.ranges(code, day) != (prefix_range(code),)

    def day_like(self, day: date) -> date:
        """The first day on which everything lay where it lies on a day."""
        at = bisect_right(self._turns, day)
        return self._turns[at - 1] if at else ALWAYS

    def day_since_change(self, day: date) -> date:
        """The last day up to this one on which a unit begins, is closed or goes live."""
        at = bisect_right(self._changes, day)
        return self._changes[at - 1] if at else ALWAYS

    def changes_between(self, first: date, last: date) -> bool:
        """Whether something of the tree is another on a day after `first`, up to `last`: a unit
        moves, begins or is closed.
        """
        if any(first < turn <= last for turn in self._turns):
            return True
        days = (day for unit in self.units.values() for day in (unit.since, unit.closed))
        return any(day is not None and first < day <= last for day in days)

    def closed_from(self, code: str) -> date | None:
        """The day from which on a unit is closed, if it is or is to be."""
        unit = self.units.get(code)
        return None if unit is None else unit.closed

    def moved_under(self, code: str, day: date) -> list[str]:
        """The units under another on a day that do not lie where their codes say, or did not at
        some time.
        """
        return [unit.code for unit in self._odd if self.covers(code, unit.code, day)]

    def unlike_their_codes(self, day: date) -> list[tuple[str, Range]]:
        """The units whose ranges on a day are not the one of their own code, with each range."""
        if not self._odd:
            return []
        span = self._span(day)
        touched = {
            above
            for moved in span.ordered
            for start in (moved, *self._prefixes(moved))
            for above in (start, *self.above(start, day))
        }
        return [
            (code, one)
            for code in sorted(touched)
            if self.ranges(code, day) != (prefix_range(code),)
            for one in self.ranges(code, day)
        ]

    def _prefixes(self, code: str) -> Iterable[str]:
        return (code[:n] for n in self._lengths if n < len(code) and code[:n] in self.units)

    def children(self, code: str, day: date) -> list[str]:
        """The units right below on a day, in order of code; also those closed or yet to begin."""
        span = self._span(day)
        if span.children is None:
            span.children = {}
            for unit in sorted(self.units):
                parent = self.units[unit].parent_on(day)
                if parent is not None:
                    span.children.setdefault(parent, []).append(unit)
        return span.children.get(code, [])

    def breakdown(self, code: str, day: date) -> Breakdown:
        """How what lies below a unit on a day falls to the units right below it."""
        below = self.children(code, day)
        widths = Counter(map(len, below)).most_common(1)
        width = widths[0][0] if widths else self._width_below(code)
        others = (
            (one, child)
            for child in below
            if len(child) != width or self.ranges(child, day) != (prefix_range(child),)
            for one in self.ranges(child, day)
        )
        return Breakdown(width, tuple(others))

    def _width_below(self, code: str) -> int:
        return next((n for n in CODE_LENGTH.values() if n > len(code)), len(code))

    # ---------------------------------------------------------------------------------- its levels

    def level(self, code: str) -> LevelFacts | None:
        """The level of a unit; of a code that is no unit that of its length, if any has it."""
        unit = self.units.get(code)
        slug = unit.level if unit is not None else _LEVEL_OF_LENGTH.get(len(code), "")
        return self.levels.get(slug)

    def height(self, code: str) -> int:
        """How many levels lie below that of a unit: of a grid 0, of a village 1. Of what is no
        unit: 0 if its code is as long as a grid's, else as far up as possible.
        """
        level = self.level(code)
        if level is not None:
            return self._bottom - level.position
        return self._bottom if len(code) < CODE_LENGTH["grid"] else 0

    @property
    def first_handlers(self) -> int:
        """The position of the level that problems come to first: the one above the lowest."""
        return self._bottom - 1

    def sees_tags(self, code: str) -> bool:
        """Whether who supervises a unit sees the tags of its households."""
        level = self.level(code)
        return level.sees_tags if level is not None else len(code) >= CODE_LENGTH["township"]

    # ------------------------------------------------------------------------------------ its days

    def grids(
        self, codes: Iterable[str], first: date, last: date, below: Breakdown | None = None
    ) -> "Grids":
        """How many of these grids are there in a period, and which of them owe less than all of
        its logs; by the tree of its last day. `below`: how they fall to the units right below.
        """
        by_unit: Counter[str] = Counter()
        count = 0
        parts: dict[str, Spell] = {}
        for code in codes:
            unit = self.units.get(code)
            if unit is not None and not unit.is_open(first, last):
                continue
            count += 1
            if below is not None:
                by_unit[below.holding(code)] += 1
            begins = self.owes_from(code, last)
            ends = unit.closed if unit is not None else None
            if (begins is not None and begins > first) or (ends is not None and ends <= last):
                parts[code] = Spell(None, begins or ALWAYS, ends)
        return Grids(count, parts, by_unit)

    def owes_from(self, grid: str, day: date) -> date | None:
        """The first day on which a grid owes its logs, by the tree of a day; None: always.

        That is the `go_live` of the nearest unit that has one, but not before the grid's first day.
        """
        lives = [
            unit.go_live
            for code in (grid, *self.above(grid, day))
            if (unit := self.units.get(code)) is not None and unit.go_live is not None
        ]
        own = self.units.get(grid)
        since = own.since if own is not None else None
        some = [one for one in (*lives[:1], since) if one is not None]
        return max(some, default=None)


def _joined(pieces: Iterable[Range]) -> tuple[Range, ...]:
    """Ranges that follow on each other as one."""
    found: list[Range] = []
    for piece in sorted(pieces):
        if found and piece.low <= found[-1].high:
            found[-1] = Range(found[-1].low, max(found[-1].high, piece.high))
        else:
            found.append(piece)
    return tuple(found)


# What the codes alone say.
BY_CODES = Tree()
