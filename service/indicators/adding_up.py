"""How the values of indicators add up. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Reported(NamedTuple):
    """A value of a unit, with the stamp by which the last one is found."""

    unit: str
    value: float
    stamp: int


def together(aggregate: str, some: Sequence[Reported]) -> float | None:
    """What the values of units come to: their sum, their mean, the one that was reported last; None
    where they do not add up, or there is none.
    """
    if not some or aggregate == "none":
        return None
    if aggregate == "latest":
        return max(some, key=lambda one: (one.stamp, one.unit)).value
    total = sum(one.value for one in some)
    return rounded(total if aggregate == "sum" else total / len(some))


def target_of(aggregate: str, some: Iterable[float | None]) -> float | None:
    """What units are to reach together; None where one of them has no target."""
    targets = [*some]
    if not targets or aggregate == "none":
        return None
    known = [target for target in targets if target is not None]
    if len(known) < len(targets):
        return None
    return rounded(sum(known) if aggregate == "sum" else sum(known) / len(known))


def progress_of(value: float | None, target: float | None) -> float | None:
    """How much of a target is reached: 1.0 is all of it."""
    return None if value is None or not target else round(value / target, 4)


def rounded(number: float) -> float:
    """A number with four decimals at most."""
    return round(number, 4)
