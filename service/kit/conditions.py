"""Builds the WHERE of a list from the filters that were asked for; every value goes in as a
parameter.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


def contains(text: str) -> str:
    """The pattern of LIKE for “holds this text”."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def own_or_tied(record: str, member: str) -> str:
    """SQL that says whether a visit or problem, by its alias, is a contact member's own or about a
    household that is tied to the member.

    `member`: the place of the staff code, `$3`, or `{0}` for `Conditions`.
    """
    tied = (
        f"SELECT FROM household t WHERE t.id = {record}.household_id"
        f" AND t.contact_member = {member} AND NOT t.deleted"
    )
    return f"({record}.created_by = {member} OR EXISTS ({tied}))"


class Reach(NamedTuple):
    """What a list is about: every row of the units `whole`, and of the units `tied` those that are
    tied to the cadre.
    """

    whole: Sequence[str]
    tied: Sequence[str] = ()
    staff_code: str = ""


class Conditions:
    """`Conditions("c.grid", units)`, then `add("c.duty = {}", duty)` for each filter; `sql` and
    `values` make the statement.
    """

    def __init__(self, grid: str, units: Sequence[str]) -> None:
        """Begins with “the column `grid` lies in one of these units”."""
        self.values: list[Any] = []
        self._parts = [self._within(grid, units)]

    @classmethod
    def reaching(
        cls, grid: str, reach: Reach, tied: str, others: Sequence[str] = (), id: str = ""
    ) -> "Conditions":
        """Begins with what a reach takes in: `tied` is the condition on rows that are tied to the
        cadre `{}`; and the rows with these `others` as their `id`, wherever they lie.
        """
        made = cls(grid, reach.whole)
        ways = made._parts
        if reach.tied:
            within = made._within(grid, reach.tied)
            ways.append(f"({within} AND {tied.format(made.parameter(reach.staff_code))})")
        if others:
            ways.append(f"{id} = ANY({made.parameter(list(others))}::uuid[])")
        made._parts = ["(" + " OR ".join(ways) + ")"] if len(ways) > 1 else ways
        return made

    def within(self, column: str, units: Sequence[str]) -> None:
        """Takes in “this column, too, lies in one of these units”."""
        self._parts.append(self._within(column, units))

    def _within(self, grid: str, units: Sequence[str]) -> str:
        places = [self.parameter(unit) for unit in units]
        # No unit at all is nobody's: the list is empty.
        return (
            "("
            + (
                " OR ".join(f"({grid} >= {place} AND {grid} < {place} || ':')" for place in places)
                or "false"
            )
            + ")"
        )

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
