"""What an import needs to know of levels, codes and roles.

Levels are those of the table `level`. Where the settings give each a length of codes, a unit's
level and parent follow from its code unless its row says otherwise; else its parent is the unit
with the longest code that its own goes on from, and its level the one below that of its parent.
What lies under what in the database on a day says its tree, see `organisation.tree`.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from service.organisation.tree import ALWAYS, BY_CODES, Tree
from sync_protocol.texts import Word
from sync_protocol.vocabulary import LEVELS, Label

# More levels than any tree has: where a circle of parents ends.
DEEPEST = 64
# The level at which each role is held; a role that is not here is held anywhere.
_HELD_AT: Mapping[str, str] = {"grid_worker": "grid"}
_NOT_AT: Mapping[str, tuple[str, str]] = {
    "village_secretary": ("village", "grid"),
    "village_committee": ("village", "grid"),
    "village_supervisor": ("village", "grid"),
    "first_secretary": ("village", "grid"),
}


class Unit(NamedTuple):
    """A unit as it is known, or stands in a file. `go_live`: a day, `2026-12-01`."""

    code: str
    level: str
    parent: str | None
    name: str
    name_mn: str | None = None
    kind: str = ""
    party_group: str = "none"
    go_live: str | None = None


class Scheme(NamedTuple):
    """Levels from the top down, each with its name; and how many digits the codes of each have,
    where that is said.
    """

    labels: Mapping[str, Label]
    lengths: Mapping[str, int]

    @classmethod
    def of(cls, lengths: Sequence[int], labels: Mapping[str, Label] = LEVELS) -> "Scheme":
        """The scheme by the lengths of codes, in the order of levels; lengths for another number of
        levels say nothing.
        """
        fits = len(lengths) == len(labels)
        return cls(labels, dict(zip(labels, lengths, strict=True)) if fits else {})

    @classmethod
    def of_tree(cls, lengths: Sequence[int], tree: Tree) -> "Scheme":
        """The scheme of the levels that a tree has."""
        levels = tree.levels.values()
        return cls.of(lengths, {one.slug: Label(one.name_zh, one.name_en) for one in levels})

    @property
    def grid(self) -> str:
        """The level of what one worker looks after; households belong to units of it."""
        return [*self.labels][-1]

    def level_of(self, code: str) -> str | None:
        """The level that a code's length tells."""
        return next((name for name, count in self.lengths.items() if count == len(code)), None)

    def above(self, level: str) -> str | None:
        """The level right above one; None for the topmost."""
        place = self.order(level)
        return [*self.labels][place - 1] if place else None

    def below(self, level: str) -> str | None:
        """The level right below one; None for grids."""
        return next((name for name in self.labels if self.order(name) > self.order(level)), None)

    def parent_by_code(self, code: str, units: Container[str]) -> str | None:
        """The unit under which a code lies by its digits; None for the topmost. Without lengths it
        is the known unit with the longest code that it goes on from.
        """
        if self.lengths:
            shorter = [count for count in self.lengths.values() if count < len(code)]
            return code[: max(shorter)] if shorter else None
        return next((code[:n] for n in range(len(code) - 1, 0, -1) if code[:n] in units), None)

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
    if role in _NOT_AT and level not in _NOT_AT[role] and "village" in scheme.labels:
        return "village"
    return None


def unit_of(row: Any) -> Unit:
    """A unit from a row of the database."""
    values = {name: row[name] for name in Unit._fields}
    return Unit(**values | {"go_live": row["go_live"] and row["go_live"].isoformat()})
