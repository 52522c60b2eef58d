"""Where a new unit may lie, and with which code: one rule for units that are made one by one and
for those of a file. Pure.

Its level must be one of the table, and its parent of the level right above. Where the setting of
code lengths has as many as there are levels, its code has the length of its level. What a village
counts is kept under the first twelve digits of its grids, so a longer code of a grid begins with
that of its village.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sync_protocol.vocabulary import CODE_LENGTH


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
    if is_grid and parent is not None:
        official = CODE_LENGTH["village"] in lengths.values()
        if not is_grid_code(code, parent, official):
            return Misplaced.GRID_CODE
    return None


def digits_needed(village: str) -> int:
    """With how many digits of its village's code the longer code of a grid begins."""
    return min(len(village), CODE_LENGTH["village"])


def is_grid_code(code: str, village: str, official: bool) -> bool:
    """Whether a grid of a village may have a code.

    With `official` codes the first twelve digits are the village's own; with others they need only
    lie within the village's. A code of at most twelve digits is kept under itself, wherever it
    lies.
    """
    digits = CODE_LENGTH["village"]
    if len(code) <= digits:
        return True
    if official:
        return code[:digits] == village
    return len(village) <= digits and code.startswith(village)
