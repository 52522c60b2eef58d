"""What is told of an import: how many of each sheet are new, changed, left alone or ended, what is
wrong, and what was passed over.
"""

from collections import Counter
from enum import StrEnum

import msgspec

from service.imports.intake import Told
from service.imports.row_faults import Fault
from service.imports.sheet_check import SheetCounts


class State(StrEnum):
    """How far an import has come."""

    WAITING = "waiting"
    CHECKING = "checking"
    CHECKED = "checked"  # a dry run has ended
    REFUSED = "refused"  # something is wrong, and nothing was written
    APPLYING = "applying"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    PARTLY_UNDONE = "partly-undone"


# An import that has written nothing, and may be carried out with the same files.
APPLICABLE = (State.CHECKED, State.REFUSED)


class Item(msgspec.Struct):
    """Something that changes: in which sheet, what becomes of it, its code (of a household its id,
    empty for a new one), and which fields; of a household its grid, too. `named`: how people name
    it, as `sync_protocol.texts.stored` keeps it; no personal values.
    """

    sheet: str
    what: str
    key: str
    row: int
    fields: list[str]
    grid: str = ""
    named: str = ""


class Left(msgspec.Struct):
    """What could not be undone, and why. `key`: its id or code; `grid`: of a household; `named`: by
    what people know it. `why` and `named` are texts as `sync_protocol.texts.stored` keeps them.
    """

    kind: str
    key: str
    grid: str
    why: str
    named: str = ""


class Report(msgspec.Struct):
    """The report. `sheets`: by name; `faults`: the first of them; `kinds`: of each kind how many;
    `items`: the first changes of each kind; `warnings`: what is to be known of what was done, as
    texts are kept; `undone`, `undone_by`, `left`: what came of taking it
    back, by whom.
    """

    sheets: dict[str, SheetCounts] = {}
    told: list[Told] = []
    faults: list[Fault] = []
    kinds: dict[str, int] = {}
    items: list[Item] = []
    warnings: list[str] = []
    undone: int = 0
    undone_by: str = ""
    left: list[Left] = []

    @property
    def fault_count(self) -> int:
        """How many faults there are, also those that are not listed."""
        return sum(self.kinds.values())

    def dump(self) -> str:
        """As it is kept."""
        return msgspec.json.encode(self).decode()


MAX_LEFT = 500
MAX_WARNINGS = 50
# Of each sheet, and of each thing that may become of a row.
_EXAMPLES = 50


class Examples:
    """The first things of each sheet that are new, changed or ended."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, item: Item) -> None:
        """Keeps one, if it is among the first."""
        self._counts[item.sheet, item.what] += 1
        if self._counts[item.sheet, item.what] <= _EXAMPLES:
            self.items.append(item)


load = msgspec.json.Decoder(Report).decode
