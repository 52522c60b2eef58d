"""What checking the rows of any sheet shares: what is known here, what becomes of a row, and how
faults are noted. Pure.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from service.imports.cells import text_in
from service.imports.columns import SHEETS
from service.imports.row_faults import Faults, Where, masked
from service.imports.row_file import Row
from service.imports.sheets import Column
from service.imports.units import DEEPEST, Scheme, Unit, covered
from service.imports.words import Words, words_of_the_code
from service.organisation.tree import BY_CODES, Tree
from sync_protocol.periods import local_day
from sync_protocol.texts import Text, restored

# Something is wrong with the sheet of levels: units that are new, and what names them, wait for it,
# whatever could be said of them by the levels that are here.
LEVELS_DOUBTFUL = ("levels", "")
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
    """What an import does to a unit, a person, a post or the levels: `before` and `after` by field;
    `where` it stands in the file; `named`: what stands for it in reports, where that is not its
    key; `said`: how people name it.
    """

    what: str
    key: str
    where: Where
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    named: str = ""
    said: Text | None = None


# Of party membership: the first day and the first that is none any more, each None where unknown or
# still to come.
Spans = Sequence[tuple[str | None, str | None]]


class Person(NamedTuple):
    """A person as known here. `inside`: every post lies in the units of the import, or there is
    none. `membership`: the spans of party membership, where their days are recorded;
    `party_member`: whether today lies in one, or yes or no for all time.
    """

    name: str
    phone: str
    party_member: bool
    inside: bool = True
    erased: bool = False
    membership: Spans = ()


class Post(NamedTuple):
    """A post as known here."""

    id: str
    staff_code: str
    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None
    title: str | None = None

    def is_open(self, moment: datetime) -> bool:
        """Whether it is held at a moment or later."""
        return self.valid_to is None or self.valid_to > moment


class World(msgspec.Struct):
    """What is known here of all that the rows name, with what the file adds as it is checked.

    `units`: with their parents of today. `doubtful`: units and people of the file whose own rows
    are wrong: what names them waits for those, and is no fault of its own. `scope`: the units for
    which the import may write; `today`: the day for posts without one; `tree`: what lies under
    what; `names`: the staff codes by which records name people, by those that people have now;
    `titles`: what columns are called in the files; `words`: those of the day.
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
    names: Mapping[str, str] = {}
    code_lengths: Sequence[int] = ()
    titles: Mapping[tuple[str, str], Mapping[str, str]] = {}
    words: Words = msgspec.field(default_factory=words_of_the_code)

    @property
    def today(self) -> date:
        """The day of the import."""
        return local_day(self.now)

    def parent(self, code: str) -> str | None:
        """The unit right above one; of a code that nobody knows, by its digits."""
        unit = self.units.get(code)
        return self.tree.parent(code, self.today) if unit is None else unit.parent

    def above(self, code: str) -> list[str]:
        """The units above one, from right above it to the topmost."""
        found: list[str] = []
        parent = self.parent(code)
        while parent is not None and len(found) < DEEPEST:
            found.append(parent)
            parent = self.parent(parent)
        return found

    def lies_under(self, code: str, tops: Collection[str]) -> bool:
        """Whether a unit is one of these, or lies under one."""
        if "" in tops:
            return True
        for _ in range(DEEPEST):
            if code in tops:
                return True
            unit = self.units.get(code)
            if unit is None:
                return covered(tops, code, self.tree, self.today)
            if unit.parent is None:
                return False
            code = unit.parent
        return False

    def covers(self, code: str) -> bool:
        """Whether the import may write in a unit."""
        return self.lies_under(code, self.scope)

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
            titles = self.world.titles.get((row.file, row.sheet), {})
            header = titles.get(column) or self.columns[column].header.zh
            # As the file has it: a cell says 网格员, and not grid_worker.
            given = row.given.get(column, row.values.get(column))
            value = "" if given is None else masked(self.columns[column], str(given))
        self.faults.add(where_of(row), kind, header, value, **params)

    def name_by_keys(self, row: Row, *columns: str) -> None:
        """Puts for staff codes that people got later those by which records name them."""
        for name in columns:
            code = row.values.get(name)
            key = self.world.names.get(code, code) if code else code
            if code and key != code:
                row.given.setdefault(name, code)
                row.values[name] = key

    def settle(self, row: Row, there: Mapping[str, Any]) -> None:
        """Puts texts that say what is here in whatever form as they are here; notes those that
        cannot be taken and do not.
        """
        for name in (*row.given, *row.wrong):
            column, here = self.columns[name], there.get(name)
            text = row.given.get(name, row.values.get(name))
            if column.is_free and isinstance(here, str) and here and text_in(here) == text:
                row.values[name] = here
            elif name in row.wrong:
                kind, params = row.wrong[name]
                self.fault(row, kind, name, **{k: restored(v) for k, v in params.items()})

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
