"""With which digits the code of a grid must begin. Pure."""

from collections.abc import Sequence

from sync_protocol.vocabulary import CODE_LENGTH


def are_official(lengths: Sequence[int], levels: int) -> bool:
    """Whether codes are the official ones, where villages have twelve digits: `lengths` of the
    settings, for as many levels as there are.
    """
    return len(lengths) == levels and CODE_LENGTH["village"] in lengths


def village_digits_needed(code: str, parent: str, official: bool) -> int | None:
    """With how many digits of its parent's code a grid's code would have to begin, and does not;
    None for a code that is good.

    What a village counts is kept under the first twelve digits of its grids. With official codes
    (`official`) these are the village's own; with others they need only lie within the village's.
    A code of at most twelve digits is kept under itself, wherever it lies.
    """
    digits = CODE_LENGTH["village"]
    if len(code) <= digits:
        return None
    if official:
        return None if code[:digits] == parent else digits
    return None if len(parent) <= digits and code.startswith(parent) else min(len(parent), digits)
