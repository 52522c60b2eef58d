"""Where a new unit may lie, and with which code: one rule for units that are made one by one and
for those of a file. Pure.

Its level must be one of the table, and its parent of the level right above. Where the setting of
code lengths has as many as there are levels, its code has the length of its level. A grid's code
begins with its village's, for the tallies of a village are kept by the codes of its grids.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum


class Misplaced(StrEnum):
    """What is wrong with a place."""

    CODE_LENGTH = "code-length"
    PARENT_LEVEL = "parent-level"
    GRID_CODE = "grid-code"


def lengths_of(levels: Sequence[str], lengths: Sequence[int]) -> Mapping[str, int]:
    """The digits of the codes of each level, the topmost first; none where the two do not match."""
    return dict(zip(levels, lengths, strict=True)) if len(levels) == len(lengths) else {}


def misplaced(
    code: str,
    level: str,
    parent: str | None,
    parent_level: str | None,
    levels: Sequence[str],
    lengths: Mapping[str, int],
) -> Misplaced | None:
    """What stands against a unit with this code and level under that parent; `levels` from the
    topmost down.
    """
    if lengths and len(code) != lengths[level]:
        return Misplaced.CODE_LENGTH
    place = [*levels].index(level)
    above = levels[place - 1] if place else None
    if parent_level != above:
        return Misplaced.PARENT_LEVEL
    is_grid = place == len(levels) - 1
    if is_grid and lengths and parent is not None and not code.startswith(parent):
        return Misplaced.GRID_CODE
    return None
