"""What an import needs to know of levels, codes and roles.

The units of a file have five levels: a unit's level follows from the length of its code, and its
parent's code is the beginning of its own. What lies under what in the database on a day says its
tree, see `organisation.tree`; `spans_of` and `covered` ask it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from service.organisation.tree import ALWAYS, BY_CODES, Tree
from sync_protocol.texts import Word
from sync_protocol.vocabulary import LEVELS, Label

# The level at which each role is held; a role that is not here is held anywhere.
_HELD_AT: Mapping[str, str] = {"grid_worker": "grid"}
_NOT_AT: Mapping[str, tuple[str, str]] = {
    "village_secretary": ("village", "grid"),
    "village_committee": ("village", "grid"),
    "village_supervisor": ("village", "grid"),
    "first_secretary": ("village", "grid"),
}


class Unit(NamedTuple):
    """A unit as it is known, or stands in a file."""

    code: str
    level: str
    parent: str | None
    name: str
    name_mn: str | None = None
    kind: str = ""
    party_group: str = "none"


class Scheme(NamedTuple):
    """Levels from the top down, each with its name and how many digits its codes have."""

    labels: Mapping[str, Label]
    lengths: Mapping[str, int]

    @classmethod
    def of(cls, lengths: Sequence[int], labels: Mapping[str, Label] = LEVELS) -> "Scheme":
        """The scheme by the lengths of codes, in the order of levels."""
        return cls(labels, dict(zip(labels, lengths, strict=True)))

    @property
    def top(self) -> str:
        """The level of the whole."""
        return next(iter(self.labels))

    @property
    def grid(self) -> str:
        """The level of what one worker looks after; households belong to units of it."""
        return [*self.labels][-1]

    @property
    def village(self) -> str:
        """The level within which a household is known by head and address: the one above grids."""
        return [*self.labels][-2]

    def level_of(self, code: str) -> str | None:
        """The level that a code's length tells."""
        return next((name for name, count in self.lengths.items() if count == len(code)), None)

    def parent_of(self, code: str) -> str | None:
        """The code of the unit under which a code lies; None for the whole."""
        shorter = [count for count in self.lengths.values() if count < len(code)]
        return code[: max(shorter)] if shorter else None

    def village_of(self, grid: str) -> str:
        """The village of a grid."""
        return grid[: self.lengths[self.village]]

    def label(self, level: str) -> Word:
        """The name of a level, as sentences have it."""
        found = self.labels.get(level, Label(level, level))
        return Word(found.en, found.zh)

    def order(self, level: str) -> int:
        """How far a level lies below the whole."""
        return [*self.labels].index(level)


def covered(units: Iterable[str], code: str, tree: Tree = BY_CODES, day: date = ALWAYS) -> bool:
    """Whether a unit lies in one of these on a day, or is one of them."""
    return any(tree.covers(unit, code, day) for unit in units)


def overlap(some: Iterable[str], others: Sequence[str], tree: Tree, day: date) -> bool:
    """Whether two sets of units have a unit in common on a day, with all that lies below."""
    return any(
        covered(others, one, tree, day) or any(covered([one], other, tree, day) for other in others)
        for one in some
    )


def level_wanted(role: str, level: str, scheme: Scheme) -> str | None:
    """The level at which a role is held, where it cannot be held at `level`; None where it can."""
    wanted = _HELD_AT.get(role)
    if wanted == "grid" and level != scheme.grid:
        return scheme.grid
    if role in _NOT_AT and level not in _NOT_AT[role] and scheme.labels is LEVELS:
        return scheme.village
    return None


def unit_of(row: Any) -> Unit:
    """A unit from a row of the database."""
    return Unit(*(row[name] for name in Unit._fields))
