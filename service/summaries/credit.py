"""Who gets credit for what: from what a record was and what it is, to what changes in the tallies. Pure.

A visit counts for who wrote it, on the day of the visit. A problem raised counts for who raised it, on the day of raised_at; a problem
resolved for the cadre of the resolve step that stands, on the day of that step; a rejected or joined problem for nobody. Days are those
of Asia/Shanghai; a span is the ISO week or the month of such a day.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sync_protocol.clock import stamp_ms
from sync_protocol.periods import day_of, from_ms, local_day, month, month_of, week, week_of
from sync_protocol.vocabulary import CODE_LENGTH

if TYPE_CHECKING:
    from service.cases.filing import Filed

WHOLE = ""  # the duty under which a record counts once, whatever its duties


class VisitFacts(NamedTuple):
    """What a living visit counts by. `written`: the day on which it was written, by the corrected clock."""

    grid: str
    by: str
    day: date
    duties: tuple[str, ...]
    household: str | None
    written: date
    received_at: datetime


class CaseFacts(NamedTuple):
    """What a counted problem counts by; `resolved` and `resolved_by` are None while no resolution stands."""

    grid: str
    duty: str
    raised: date
    raised_by: str
    resolved: date | None
    resolved_by: str | None
    received_at: datetime


class HouseholdFacts(NamedTuple):
    """What a living household counts by. `contact`: whether a party member is tied to it."""

    grid: str
    contact: bool


class DayKey(NamedTuple):
    """A row of `tally`."""

    day: date
    grid: str
    cadre: str


class GridKey(NamedTuple):
    """A row of `grid_tally`."""

    span: str
    grid: str
    duty: str


class CadreKey(NamedTuple):
    """A row of `cadre_tally`."""

    span: str
    village: str
    cadre: str


class VisitedKey(NamedTuple):
    """A row of `visited_household`."""

    household: str
    span: str
    grid: str


def visit_facts(
    grid: str, created_by: str, fields: Mapping[str, Any], first_stamp: str, received_at: datetime, deleted: bool = False
) -> VisitFacts | None:
    """The facts of a visit; None for one that counts nowhere."""
    visited_at = fields.get("visited_at")
    if deleted or visited_at is None:
        return None
    written = local_day(from_ms(stamp_ms(first_stamp)))
    duties = tuple(fields.get("duties", ()))
    return VisitFacts(grid, created_by, day_of(visited_at), duties, fields.get("household_id"), written, received_at)


def case_facts(filed: "Filed | None") -> CaseFacts | None:
    """The facts of a problem where it stands; None for one that counts nowhere."""
    if filed is None:
        return None
    case = filed.case
    if not case.counted or case.raised_at is None or case.raised_by is None:
        return None
    resolved = day_of(case.resolved_at) if case.resolved_at is not None and case.resolved_by is not None else None
    resolved_by = case.resolved_by if resolved else None
    return CaseFacts(filed.grid, filed.duty, day_of(case.raised_at), case.raised_by, resolved, resolved_by, filed.received_at)


def household_facts(grid: str, fields: Mapping[str, Any], deleted: bool = False) -> HouseholdFacts | None:
    """The facts of a household; None for a deleted one."""
    return None if deleted else HouseholdFacts(grid, fields.get("contact_member") is not None)


def spans_of(day: date) -> tuple[str, str]:
    """The ISO week and the month of a day."""
    return week_of(day), month_of(day)


def _village(grid: str) -> str:
    return grid[: CODE_LENGTH["village"]]


def _late(span: str, received_at: datetime) -> bool:
    """Whether something of a span came in after the span had ended."""
    return received_at >= (week(span) if "W" in span else month(span)).ends


class Changes:
    """Collects what changes in each tally: `visit`, `case` and `household` take a record's facts before and after."""

    def __init__(self) -> None:
        self._days: dict[DayKey, list[int]] = defaultdict(lambda: [0] * 4)
        self._grids: dict[GridKey, list[int]] = defaultdict(lambda: [0] * 4)
        self._cadres: dict[CadreKey, list[int]] = defaultdict(lambda: [0] * 3)
        self._visited: dict[VisitedKey, list[int]] = defaultdict(lambda: [0])
        self._stock: dict[str, list[int]] = defaultdict(lambda: [0] * 2)
        self._flips: dict[str, int] = {}

    def visit(self, before: VisitFacts | None, after: VisitFacts | None) -> None:
        """A visit was made, changed or deleted."""
        if before != after:
            self._visit(before, -1)
            self._visit(after, 1)

    def case(self, before: CaseFacts | None, after: CaseFacts | None) -> None:
        """A problem was raised, changed or moved on."""
        if before != after:
            self._case(before, -1)
            self._case(after, 1)

    def household(self, id: str, before: HouseholdFacts | None, after: HouseholdFacts | None) -> None:
        """A household was made, moved, deleted, or got or lost its contact member."""
        if before == after:
            return
        for facts, sign in ((before, -1), (after, 1)):
            if facts is not None:
                _add(self._stock[facts.grid], (1, int(facts.contact)), sign)
        flip = int(after is not None and after.contact) - int(before is not None and before.contact)
        if flip:
            self._flips[id] = self._flips.get(id, 0) + flip

    def _visit(self, facts: VisitFacts | None, sign: int) -> None:
        if facts is None:
            return
        _add(self._days[DayKey(facts.day, facts.grid, facts.by)], (1, int(facts.written == facts.day), 0, 0), sign)
        for span in spans_of(facts.day):
            _add(self._cadres[CadreKey(span, _village(facts.grid), facts.by)], (1, 0, 0), sign)
            _add(self._grids[GridKey(span, facts.grid, WHOLE)], (1, 0, 0, int(_late(span, facts.received_at))), sign)
            for duty in facts.duties:
                _add(self._grids[GridKey(span, facts.grid, duty)], (1, 0, 0, 0), sign)
            if facts.household is not None:
                _add(self._visited[VisitedKey(facts.household, span, facts.grid)], (1,), sign)

    def _case(self, facts: CaseFacts | None, sign: int) -> None:
        if facts is None:
            return
        self._problem(facts, facts.raised, facts.raised_by, (1, 0), sign)
        for span in spans_of(facts.raised):
            _add(self._grids[GridKey(span, facts.grid, WHOLE)], (0, 0, 0, int(_late(span, facts.received_at))), sign)
        if facts.resolved is not None and facts.resolved_by is not None:
            self._problem(facts, facts.resolved, facts.resolved_by, (0, 1), sign)

    def _problem(self, facts: CaseFacts, day: date, cadre: str, counts: tuple[int, int], sign: int) -> None:
        _add(self._days[DayKey(day, facts.grid, cadre)], (0, 0, *counts), sign)
        for span in spans_of(day):
            _add(self._cadres[CadreKey(span, _village(facts.grid), cadre)], (0, *counts), sign)
            for duty in (WHOLE, facts.duty):
                _add(self._grids[GridKey(span, facts.grid, duty)], (0, *counts, 0), sign)

    # Each in the order in which every transaction locks the rows.

    def days(self) -> dict[DayKey, tuple[int, ...]]:
        """Changes of `tally`: visits, prompt, raised, resolved."""
        return _rows(self._days)

    def grids(self) -> dict[GridKey, tuple[int, ...]]:
        """Changes of `grid_tally`, but for households: visits, raised, resolved, late."""
        return _rows(self._grids)

    def cadres(self) -> dict[CadreKey, tuple[int, ...]]:
        """Changes of `cadre_tally`: visits, raised, resolved."""
        return _rows(self._cadres)

    def visited(self) -> dict[VisitedKey, tuple[int, ...]]:
        """Changes of `visited_household`: visits."""
        return _rows(self._visited)

    def stock(self) -> dict[str, tuple[int, ...]]:
        """Changes of `household_tally` by grid: households, contact households."""
        return _rows(self._stock)

    def flips(self) -> dict[str, int]:
        """Households that became contact households (1), or are none any more (-1)."""
        return {id: flip for id, flip in sorted(self._flips.items()) if flip}


def _add(row: list[int], counts: Iterable[int], sign: int) -> None:
    for index, count in enumerate(counts):
        row[index] += sign * count


def _rows(found: Mapping[Any, list[int]]) -> dict[Any, tuple[int, ...]]:
    return {key: tuple(row) for key, row in sorted(found.items()) if any(row)}
