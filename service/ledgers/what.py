"""What a ledger is of, and the words that it uses."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from service.identity.views import View
from service.kit.database import Connection
from service.ledgers import queries
from service.organisation.units import UnitOn
from service.summaries.sealed import Sealed
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period, local_day, midnight
from sync_protocol.vocabulary import Label

TITLES = {
    "weekly": "工作周报",
    "monthly": "工作月报",
    "quarterly": "工作季报",
    "half-yearly": "工作半年报",
    "yearly": "工作年报",
    "problems": "问题台账",
    "disputes": "矛盾纠纷台账",
    "visits": "走访台账",
    "cadres": "干部工作台账",
    "special": "重点户台账",
    "contracted": "包联户台账",
    "loop": "网格工作台账",
    "indicators": "指标台账",
}


class What(NamedTuple):
    """Which ledger: of a unit, by the tree of a day, and a period, as of a moment; `view`: what the
    reader sees of the unit. `not_visited_days`: of households only those that nobody has visited
    for so many days.
    """

    which: str
    unit_name: str
    on: UnitOn
    period: Period
    now: datetime
    view: View | None
    not_visited_days: int | None = None

    @property
    def title(self) -> str:
        """The first line, without what is said of seals."""
        days = f"（{self.period.first} 至 {self.period.last}）"
        silent = f"（{self.not_visited_days} 天以上未走访）" if self.not_visited_days else ""
        return f"{self.unit_name}{TITLES[self.which]}{days}{silent}"

    @property
    def silent_since(self) -> datetime | None:
        """The moment since which nobody has visited the households that are listed; None: any."""
        if self.not_visited_days is None:
            return None
        return midnight(self.last_day - timedelta(days=self.not_visited_days))

    @property
    def last_day(self) -> date:
        """The last day of the period that has begun."""
        return min(self.period.last, local_day(self.now))


class Labels:
    """What the words of a ledger are called on a day."""

    def __init__(self, vocabulary: Vocabulary, day: date) -> None:
        self.duties, self.severities, self.roles, self.categories, self.tags, self.disputes = (
            vocabulary.labels(name, day)
            for name in ("duty", "severity", "role", "category", "tag", "dispute_kind")
        )


def label(table: Mapping[str, Label], word: str | None) -> str | None:
    """What a word is called; itself where the table does not know it."""
    return None if word is None else table[word].zh if word in table else word


def said_once(title: str | None, detail: str | None) -> str:
    """The title and the detail, and what both say once."""
    if not title or not detail:
        return title or detail or ""
    if detail.startswith(title.rstrip("…")):
        return detail
    return f"{title}：{detail}"


def seal_mark(kept: Sealed) -> str:
    """What a title says of seals."""
    if kept.covering is not None:
        return "（已封存）"
    return "（部分已封存）" if kept.below else ""


class Places:
    """The names of grids and of the units above them, by the tree of a day."""

    def __init__(self, on: UnitOn, names: Mapping[str, str]) -> None:
        self._on = on
        self._names = names
        self._known: dict[str, dict[str, str | None]] = {}

    @classmethod
    async def read(cls, connection: Connection, on: UnitOn) -> "Places":
        """Those of a unit."""
        above = on.tree.above(on.code, on.day)
        return cls(on, await queries.names(connection, on.subtree, above))

    def of(self, grid: str) -> Mapping[str, str | None]:
        """The names around a grid by level: `banner`, `township`, `village`, `grid`."""
        found = self._known.get(grid)
        if found is None:
            found = self._known[grid] = {
                "banner": None,
                "township": None,
                "village": None,
                "grid": self._names.get(grid, grid),
            }
            tree = self._on.tree
            for code in tree.above(grid, self._on.day):
                level = tree.level(code)
                if level is not None:
                    found[level.slug] = self._names.get(code, code)
        return found
