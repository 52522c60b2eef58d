"""What is sealed of a unit and a period.

A seal keeps the summary of its unit as it was shown, and of every grid what was counted there. So
a grid has one set of numbers for a sealed period, whoever asks: units below a sealed one are put
together from it, and units above from it and from what is not sealed. A grid that one seal keeps
is kept by later ones as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.loop.counting import KeptCounts
from service.loop.loop import GridLoop
from service.organisation.units import UnitOn
from service.summaries import seal_queries
from service.summaries.answers import SealedPart, SealedWithin, SealOut, Summary
from service.summaries.cadre_queries import Kept
from service.summaries.counts import Counts
from sync_protocol.periods import Period, kind_of, month_around, named_alike, week_around


class CadreWork(NamedTuple):
    """What somebody did in a grid; of one whose party membership began or ended within the period
    as a member and as none apart. `overdue` is what is in their hands, of nobody's hands under no
    name. `party_member`: None of who is no cadre.
    """

    cadre: str | None
    party_member: bool | None
    visits: int
    raised: int
    resolved: int
    overdue: int


class KeptGrid(msgspec.Struct):
    """What a seal keeps of a grid. `since`: when it was sealed first; `loop`: None of a grid that
    was not there in the period; `hours` are the hours from raised to resolved of what each cadre
    resolved.
    """

    since: datetime
    counts: Counts
    loop: dict[str, Any] | None
    log_counts: dict[str, dict[str, int]]
    work: list[CadreWork]
    hours: dict[str, list[float]] = {}

    def grid_loop(self) -> GridLoop:
        """The loop of the grid."""
        return GridLoop.model_validate(self.loop)


class SealFacts(NamedTuple):
    """A seal in force."""

    id: Any
    unit: str
    by: str
    at: datetime
    summary: str | None
    is_whole: bool


class Sealed(NamedTuple):
    """What is sealed of a unit in a period. `own`: its own seal, `above`: that of a unit above,
    `below`: the seals of units below, the topmost only; `grids`: what they keep.
    """

    own: SealFacts | None = None
    above: SealFacts | None = None
    below: Sequence[SealFacts] = ()
    grids: Mapping[str, KeptGrid] = {}

    @property
    def covering(self) -> SealFacts | None:
        """The seal by which the unit as a whole is sealed."""
        return self.own or self.above

    @property
    def log_counts(self) -> KeptCounts:
        """The counts of the logs of the grids that were there."""
        some = {grid: kept.log_counts for grid, kept in self.grids.items() if kept.loop}
        return KeptCounts(some, bool(some) and self.is_kept)

    def loops(self, grids: Iterable[str] | None = None) -> dict[str, GridLoop]:
        """The loops of the grids that were there; of some of them, if `grids` says so."""
        some = self.grids if grids is None else grids
        return {
            grid: kept.grid_loop()
            for grid in some
            if (kept := self.grids.get(grid)) is not None and kept.loop
        }

    @property
    def cadres(self) -> Kept:
        """What is kept of what cadres did."""
        return work_in(self.grids, self.is_kept)

    @property
    def is_kept(self) -> bool:
        """Whether the unit is sealed as a whole, with what its grids and cadres had."""
        return self.covering is not None and bool(self.grids)

    def own_summary(self) -> Summary | None:
        """The summary that the unit's own seal keeps."""
        if self.own is None or self.own.summary is None:
            return None
        return Summary.model_validate_json(self.own.summary)

    def parts_out(self) -> list[SealedPart]:
        """The sealed parts of a unit that is not sealed itself."""
        if self.covering is not None:
            return []
        return [SealedPart(unit=one.unit, by=one.by, at=one.at) for one in self.below]

    def seal_out(self, arrived_since: dict[str, int]) -> SealOut | None:
        """The seal of the unit as it is answered."""
        seal = self.covering
        return seal and SealOut(unit=seal.unit, by=seal.by, at=seal.at, arrived_since=arrived_since)

    def extent(self, on: UnitOn, child: str) -> Literal["whole", "part", "none"]:
        """How much of a unit right below is sealed: `whole`, `part` or `none`."""
        if self.is_kept:
            return "whole"
        if any(seal.unit == child for seal in self.below):
            return "whole"
        within = (seal.unit for seal in self.below)
        return "part" if any(on.tree.covers(child, unit, on.day) for unit in within) else "none"


NOTHING = Sealed()


def work_in(grids: Mapping[str, KeptGrid], is_whole: bool = False) -> Kept:
    """What is kept of what cadres did in some grids."""
    work: dict[tuple[str | None, bool | None], list[int]] = {}
    hours: dict[str, list[float]] = {}
    for kept in grids.values():
        for cadre, member, *counts in kept.work:
            known = work.setdefault((cadre, member), [0] * 4)
            for place, count in enumerate(counts):
                known[place] += count
        for cadre, some in kept.hours.items():
            hours.setdefault(cadre, []).extend(some)
    rows = [(*key, *counts) for key, counts in work.items()]
    return Kept(sorted(grids), rows, hours, is_whole)


async def read(
    connection: Connection, on: UnitOn, spans: Iterable[str], of_own: bool = False
) -> dict[str, Sealed]:
    """What is sealed of a unit, by the tree of a day, in weeks or months. What the unit's own seal
    keeps of grids is read only if `of_own`: its summary says what they come to.
    """
    above = on.tree.above(on.code, on.day)
    names = list(spans)
    rows = await seal_queries.seals_around(connection, on.subtree, above, names)
    found = dict.fromkeys(names, NOTHING)
    if not rows:
        return found
    for span in names:
        seals = [
            SealFacts(row["id"], row["unit"], row["sealed_by"], row["sealed_at"], *row[5:])
            for row in rows
            if row["span"] == span
        ]
        if seals:
            found[span] = await _read(connection, on, above, seals, of_own)
    return found


async def _read(
    connection: Connection,
    on: UnitOn,
    above: Sequence[str],
    seals: Sequence[SealFacts],
    of_own: bool,
) -> Sealed:
    whole = [seal for seal in seals if seal.is_whole]
    own = next((seal for seal in seals if seal.unit == on.code), None)
    # The nearest, as the one who asks knows it best; of a grid they all keep the same.
    over = min(
        (seal for seal in whole if seal.unit in above),
        key=lambda seal: above.index(seal.unit),
        default=None,
    )
    under = [seal for seal in whole if seal.unit != on.code and seal.unit not in above]
    topmost = set(on.tree.topmost((seal.unit for seal in under), on.day))
    below = [seal for seal in under if seal.unit in topmost]
    grids: dict[str, KeptGrid] = {}
    if whole and (own is None or of_own):
        ids = [seal.id for seal in whole]
        for row in await seal_queries.sealed_grids(connection, on.subtree, ids):
            grids[row["grid"]] = msgspec.json.decode(row["kept"], type=KeptGrid)
    return Sealed(own, over, below, grids)


async def within(
    connection: Connection, on: UnitOn, periods: Sequence[Period]
) -> dict[str, list[SealedWithin]]:
    """The sealed weeks and months within each of some longer periods."""
    inside = {
        period.name: {
            one.name
            for day in period.days
            for one in (week_around(day), month_around(day))
            if period.first <= one.first and one.last <= period.last and one.name != period.name
        }
        for period in periods
        if kind_of(period.name) not in ("day", "week", "month")
    }
    every = sorted({span for spans in inside.values() for span in spans})
    if not every:
        return {}
    above = on.tree.above(on.code, on.day)
    rows = await seal_queries.seals_within(connection, on.subtree, above, every)
    seals = [SealedWithin(**dict(row)) for row in rows]
    return {
        name: [seal for seal in seals if seal.period in spans] for name, spans in inside.items()
    }


async def of_cadre(
    connection: Connection, subtree: Subtree, period: Period, staff_code: str
) -> dict[str, KeptGrid]:
    """What is sealed of the grids of a unit in which a cadre worked in a period."""
    name = named_alike(period).name
    if kind_of(name) not in ("week", "month"):
        return {}
    rows = await seal_queries.sealed_grids_of_cadre(connection, subtree, name, staff_code, period)
    return {row["grid"]: msgspec.json.decode(row["kept"], type=KeptGrid) for row in rows}


async def of_period(connection: Connection, on: UnitOn, period: Period) -> Sealed:
    """What is sealed of a unit in a period; of other days than those of a week or a month nothing
    is.
    """
    name = named_alike(period).name
    if kind_of(name) not in ("week", "month"):
        return NOTHING
    return (await read(connection, on, [name], of_own=True))[name]
