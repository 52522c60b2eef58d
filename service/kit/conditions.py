"""Builds the WHERE of a list from the filters that were asked for; every value goes in as a
parameter.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Range(NamedTuple):
    """Codes from `low` (included) to `high` (excluded), in the order of their bytes."""

    low: str
    high: str

    def holds(self, column: str) -> str:
        """SQL for “the code in this column lies in the range”. Codes are digits, so nothing in it
        needs quoting; the assertion keeps it so.
        """
        assert all(sign in "0123456789:" for sign in self.low + self.high), "codes are digits"
        return f"({column} >= '{self.low}' AND {column} < '{self.high}')"


# All codes.
EVERYWHERE = Range("", ":")


def prefix_range(code: str) -> Range:
    """The codes that begin with one: ‘:’ sorts after every digit."""
    return Range(code, code + ":")


class Subtree(NamedTuple):
    """A unit and all below it: its ranges of codes, in order, and how many levels lie below its own
    (of a grid 0, of a village 1).
    """

    code: str
    ranges: tuple[Range, ...]
    height: int

    def under(self, column: str) -> str:
        """SQL for “the code in this column is the unit $1 or lies below it”.

        Of one range of codes the statement is the same for every unit, so that it is prepared once;
        several are written out.
        """
        if self.ranges == (prefix_range(self.code),):
            return f"{column} >= $1 AND {column} < $1 || ':'"
        some = " OR ".join(one.holds(column) for one in self.ranges if one.high != ":")
        return f"($1::text IS NOT NULL AND ({some or 'true'}))"


class Breakdown(NamedTuple):
    """Into which of the units right below one a code falls: it is cut to `width` digits, but for
    the codes in some ranges, which fall to the unit beside them.
    """

    width: int
    others: tuple[tuple[Range, str], ...] = ()

    def unit_of(self, column: str, width: str) -> str:
        """SQL for the unit in which the code of a column lies; `width` is the place of the
        parameter.
        """
        cut = f"left({column}, {width})"
        arms = " ".join(f"WHEN {one.holds(column)} THEN '{unit}'" for one, unit in self.others)
        return f"(CASE {arms} ELSE {cut} END)" if arms else cut

    def holding(self, code: str) -> str:
        """The same of one code."""
        for one, unit in self.others:
            if one.low <= code < one.high:
                return unit
        return code[: self.width]


def contains(text: str) -> str:
    """The pattern of LIKE for “holds this text”."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def holds_on(tie: str, day: str) -> str:
    """SQL that says whether a tie, by its alias, holds on a day (`2026-11-24`, as a text)."""
    return (
        f"NOT {tie}.deleted AND {tie}.valid_from <= {day}"
        f" AND ({tie}.valid_to IS NULL OR {tie}.valid_to > {day})"
    )


def tied_to(household: str, member: str, day: str) -> str:
    """SQL that says whether a household, by its alias, is tied to a contact member on a day: by its
    field, or by a tie.

    `member`, `day`: the places of the staff code and of the day, `$3`, or `{0}` and `{1}` for
    `Conditions`.
    """
    ties = (
        f"SELECT FROM tie y WHERE y.household_id = {household}.id AND y.cadre = {member}"
        f" AND y.kind = 'contact' AND {holds_on('y', day)}"
    )
    return f"({household}.contact_member = {member} OR EXISTS ({ties}))"


def own_or_tied(record: str, member: str, day: str) -> str:
    """SQL that says whether a visit or problem, by its alias, is a contact member's own or about a
    household that is tied to the member on a day; `member`, `day`: as in `tied_to`.
    """
    tied = (
        f"SELECT FROM household t WHERE t.id = {record}.household_id"
        f" AND {tied_to('t', member, day)} AND NOT t.deleted"
    )
    return f"({record}.created_by = {member} OR EXISTS ({tied}))"


class Reach(NamedTuple):
    """What a list is about: every row in the ranges `whole`, and of those in `tied` the rows that
    are tied to the cadre. `units`: the same as codes; `is_wide`: some of it is larger than a
    village. `day`: on which ties are to hold.
    """

    units: Sequence[str]
    whole: Sequence[Range]
    tied: Sequence[Range] = ()
    staff_code: str = ""
    is_wide: bool = False
    day: str = ""


def bounds(ranges: Sequence[Range]) -> tuple[list[str], list[str]]:
    """The lower and the upper ends of ranges, as statements take them that join with `unnest`."""
    return [one.low for one in ranges], [one.high for one in ranges]


class Conditions:
    """`Conditions("c.grid", ranges)`, then `add("c.duty = {}", duty)` for each filter; `sql` and
    `values` make the statement.
    """

    def __init__(self, grid: str, ranges: Sequence[Range]) -> None:
        """Begins with “the code in the column `grid` lies in one of these ranges”."""
        self.values: list[Any] = []
        self._parts = [self._within(grid, ranges)]

    @classmethod
    def reaching(
        cls, grid: str, reach: Reach, tied: str, others: Sequence[str] = (), id: str = ""
    ) -> "Conditions":
        """Begins with what a reach takes in: `tied` is the condition on rows that are tied to the
        cadre `{0}` on the day `{1}`; and the rows with these `others` as their `id`, wherever they
        lie.
        """
        made = cls(grid, reach.whole)
        ways = made._parts
        if reach.tied:
            within = made._within(grid, reach.tied)
            places = made.parameter(reach.staff_code), made.parameter(reach.day)
            ways.append(f"({within} AND {tied.format(*places)})")
        if others:
            ways.append(f"{id} = ANY({made.parameter(list(others))}::uuid[])")
        made._parts = ["(" + " OR ".join(ways) + ")"] if len(ways) > 1 else ways
        return made

    def within(self, column: str, ranges: Sequence[Range]) -> None:
        """Takes in “this column, too, lies in one of these ranges”."""
        self._parts.append(self._within(column, ranges))

    def _within(self, grid: str, ranges: Sequence[Range]) -> str:
        places = [(self.parameter(one.low), self.parameter(one.high)) for one in ranges]
        # No unit at all is nobody's: the list is empty.
        return (
            "("
            + (
                " OR ".join(f"({grid} >= {low} AND {grid} < {high})" for low, high in places)
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
