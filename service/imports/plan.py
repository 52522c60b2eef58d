"""What an import would do: its units, people and posts, and the first items for its report."""

from collections.abc import Iterator, Mapping, Sequence

from service.imports import checking, sheet_check, unit_checking
from service.imports.household_checking import HouseholdChange, HouseholdCheck
from service.imports.report import Examples, Item
from service.imports.row_faults import Faults, masked_name
from service.imports.row_file import Row, Spool
from service.imports.sheet_check import Change, SheetCounts, World
from sync_protocol.texts import stored

# Villages that are handled together, each with how many rows it has.
Group = Mapping[str, int]
Rows = Sequence[tuple[int, Row]]


class Plan:
    """All that an import would do, but for households: those are gone through village by
    village.
    """

    def __init__(self, world: World, spool: Spool, faults: Faults) -> None:
        self.world = world
        self.spool = spool
        self.faults = faults
        self.repeated = spool.repeated()
        self.households = HouseholdCheck(world, faults, self.repeated)
        self.counts: dict[str, SheetCounts] = {}
        self.examples = Examples()
        self.levels: list[Change] = []
        self.units: list[Change] = []
        self.people: list[Change] = []
        self.posts: list[Change] = []

    def check_small(self) -> None:
        """Checks levels, units, people and posts, and says in which village each household's grid
        lies.
        """
        for sheet, check in _CHECKS:
            rows = [row for _, row in self.spool.rows(sheet)]
            changes, self.counts[sheet] = check(rows, self.world, self.faults)
            setattr(self, sheet, changes)
            for change in changes:
                fields = [
                    name
                    for name, value in change.after.items()
                    if change.what != sheet_check.NEW and value != change.before.get(name)
                ]
                key = change.named or change.key
                named = key if change.said is None else stored(change.said)
                item = Item(sheet, change.what, key, change.where.row, fields, named=named)
                self.examples.add(item)
        self.spool.put_into_villages(
            "households", lambda grid: self.world.parent(grid) or "" if grid else ""
        )

    def groups(self, households: int) -> Iterator[Group]:
        """The villages of households, some at a time, so that they have about so many rows
        together, and one at least; always the same for the same rows.
        """
        group: dict[str, int] = {}
        for code, rows in self.spool.villages("households"):
            if group and sum(group.values()) + rows > households:
                yield group
                group = {}
            group[code] = rows
        if group:
            yield group

    def rows(self, group: Group) -> dict[str, Rows]:
        """The rows of villages, by village."""
        return {code: [*self.spool.rows("households", code)] for code in group}

    def note(self, changes: Sequence[HouseholdChange]) -> None:
        """Notes the first households that change, each by its id, or by the row if it is new."""
        for change in changes:
            if change.what != sheet_check.UNCHANGED:
                fields = [] if change.what == sheet_check.NEW else [*change.fields]
                if change.household is not None and change.household.grid != change.grid:
                    fields.append("grid")
                known = change.household
                head = change.row.values.get("head_name") or (known and known.fields["head_name"])
                number = change.row.values.get("household_no")
                named = " ".join(part for part in (number, masked_name(str(head or ""))) if part)
                key, row = "" if known is None else known.id, change.row.number
                self.examples.add(
                    Item("households", change.what, key, row, fields, change.grid, named)
                )


_CHECKS = (
    ("levels", unit_checking.check_levels),
    ("units", unit_checking.check_units),
    ("people", checking.check_people),
    ("posts", checking.check_posts),
)
