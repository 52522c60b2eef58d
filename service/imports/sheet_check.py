"""What checking the rows of any sheet shares: what is known here, what becomes of a row, and how
faults are noted. Pure.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from service.imports.columns import SHEETS, Column
from service.imports.row_faults import Faults, Where, masked
from service.imports.row_file import Row
from service.imports.units import Scheme, Unit, covered
from service.organisation.tree import BY_CODES, Tree
from sync_protocol.periods import local_day

NEW, CHANGED, UNCHANGED, ENDED = "new", "changed", "unchanged", "ended"


class SheetCounts(msgspec.Struct):
    """What becomes of the rows of a sheet."""

    rows: int = 0
    bad: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    ended: int = 0

    def count(self, what: str) -> None:
        """Counts one."""
        setattr(self, what, getattr(self, what) + 1)


class Change(NamedTuple):
    """What an import does to a unit, a person or a post: `before` and `after` by field; `where` it
    stands in the file.
    """

    what: str
    key: str
    where: Where
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Person(NamedTuple):
    """A person as known here. `inside`: every post lies in the units of the import, or there is
    none.
    """

    name: str
    phone: str
    party_member: bool
    inside: bool = True
    erased: bool = False


class Post(NamedTuple):
    """A post as known here."""

    id: str
    staff_code: str
    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None

    def is_open(self, moment: datetime) -> bool:
        """Whether it is held at a moment or later."""
        return self.valid_to is None or self.valid_to > moment


class World(msgspec.Struct):
    """What is known here of all that the rows name, with what the file adds as it is checked.

    `doubtful`: units and people of the file whose own rows are wrong: what names them waits for
    those, and is no fault of its own. `scope`: the units for which the import may write; `today`:
    the day for posts without one; `tree`: what lies under what.
    """

    scheme: Scheme
    scope: Sequence[str]
    now: datetime
    units: dict[str, Unit]
    people: dict[str, Person]
    posts: dict[str, list[Post]]
    apps: Set[str] = frozenset()
    end_missing: bool = False
    skip_bad: bool = False
    doubtful: set[tuple[str, str]] = set()
    tree: Tree = BY_CODES

    @property
    def today(self) -> date:
        """The day of the import."""
        return local_day(self.now)

    def closed_since(self, code: str) -> date | None:
        """The day on which a unit was closed, if it is."""
        unit = self.tree.units.get(code)
        return unit.closed if unit and unit.closed and unit.closed <= self.today else None

    def covers(self, code: str) -> bool:
        """Whether the import may write in a unit."""
        return covered(self.scope, code, self.tree, self.today)

    def scope_text(self) -> str:
        """The units of the import, for people."""
        return ", ".join(unit for unit in self.scope if unit) or "1"


def where_of(row: Row) -> Where:
    """Where a row stands in its file."""
    return Where(*row.where)


class SheetCheck:
    """What checking a sheet's rows shares."""

    def __init__(self, sheet: str, world: World, faults: Faults) -> None:
        self.sheet = SHEETS[sheet]
        self.columns: Mapping[str, Column] = self.sheet.by_name
        self.world = world
        self.faults = faults
        self.counts = SheetCounts()

    def fault(self, row: Row, kind: str, column: str = "", **params: Any) -> None:
        """Notes a fault of a row, which is not taken then."""
        row.bad = True
        header, value = "", ""
        if column:
            header = self.columns[column].header.zh
            given = row.values.get(column)
            value = "" if given is None else masked(self.columns[column], str(given))
        self.faults.add(where_of(row), kind, header, value, **params)

    def waits(self, row: Row, *names: tuple[str, str]) -> None:
        """Notes that a row cannot be taken if one that it names is wrong itself. Where nothing is
        taken then, that one is fault enough.
        """
        if not row.bad and not self.world.doubtful.isdisjoint(names):
            if self.world.skip_bad:
                self.fault(row, "row-waits")
            row.bad = True

    def done(self, row: Row, what: str) -> None:
        """Counts a row."""
        self.counts.rows += 1
        self.counts.count("bad" if row.bad else what)
