"""Builds the WHERE of a list from the filters that were asked for; every value goes in as a parameter."""

from collections.abc import Sequence
from typing import Any


def contains(text: str) -> str:
    """The pattern of LIKE for “holds this text”."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


class Conditions:
    """`Conditions("c.grid", units)`, then `add("c.duty = {}", duty)` for each filter; `sql` and `values` make the statement."""

    def __init__(self, grid: str, units: Sequence[str]) -> None:
        """Begins with “the column `grid` lies in one of these units”."""
        self.values: list[Any] = list(units)
        places = range(1, len(units) + 1)
        # No unit at all is nobody's: the list is empty.
        self._parts = ["(" + (" OR ".join(f"({grid} >= ${n} AND {grid} < ${n} || ':')" for n in places) or "false") + ")"]

    def parameter(self, value: Any) -> str:
        """Takes in a value and returns its place, `$3`."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, *values: Any) -> None:
        """Takes in a condition with `{}` or `{0}`, `{1}` … for the places of its values."""
        self._parts.append(condition.format(*(self.parameter(value) for value in values)))

    @property
    def sql(self) -> str:
        """All conditions, joined."""
        return " AND ".join(self._parts)
