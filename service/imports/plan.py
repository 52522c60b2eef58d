"""What an import would do: its units, people and posts, and the first items for its report."""

from collections.abc import Sequence

from service.imports import checking, sheet_check
from service.imports.household_checking import HouseholdChange, HouseholdCheck
from service.imports.report import MAX_ITEMS, Item
from service.imports.row_faults import Faults
from service.imports.row_file import Spool
from service.imports.sheet_check import Change, SheetCounts, World


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
        self.items: list[Item] = []
        self.units: list[Change] = []
        self.people: list[Change] = []
        self.posts: list[Change] = []

    def check_small(self) -> None:
        """Checks units, people and posts."""
        for sheet, check in _CHECKS:
            rows = [row for _, row in self.spool.rows(sheet)]
            changes, self.counts[sheet] = check(rows, self.world, self.faults)
            setattr(self, sheet, changes)
            for change in changes:
                if len(self.items) < MAX_ITEMS:
                    fields = [] if change.what == sheet_check.NEW else [*change.after]
                    self.items.append(
                        Item(sheet, change.what, change.key, change.where.row, fields)
                    )

    def note(self, changes: Sequence[HouseholdChange]) -> None:
        """Notes the first households that change, by their grids."""
        for change in changes:
            if change.what != sheet_check.UNCHANGED and len(self.items) < MAX_ITEMS:
                fields = [] if change.what == sheet_check.NEW else [*change.fields]
                if change.household is not None and change.household.grid != change.grid:
                    fields.append("grid")
                self.items.append(
                    Item("households", change.what, change.grid, change.row.number, fields)
                )


_CHECKS = (
    ("units", checking.check_units),
    ("people", checking.check_people),
    ("posts", checking.check_posts),
)
