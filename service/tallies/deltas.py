"""Who gets credit for what: from what a record was and what it is, to what changes in the tallies.
Pure.

A visit counts for who wrote it, on the day of the visit. A problem raised counts for who raised it,
on the day of raised_at; a problem resolved for the cadre of the resolve step that stands, on the
day of that step; a rejected or joined problem for nobody. Days are those of Asia/Shanghai; a span
is the ISO week or the month of such a day, for cadres also the quarter.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from service.tallies.facts import CaseFacts, HouseholdFacts, VisitFacts
from service.tallies.spans import (
    ALWAYS,
    around,
    came_late,
    ends_of,
    period_type,
    spans_of,
    stamps_of,
    village_of,
)
from sync_protocol.periods import (
    Period,
    day_of,
    local_day,
    quarter_of,
)
from sync_protocol.vocabulary import DUTIES

# Where the counts of a duty begin in a row of a grid: visits, raised, resolved, behind the four of
# the whole.
_DUTY_AT = {duty: 4 + 3 * place for place, duty in enumerate(DUTIES)}
_GRID_WIDTH = 4 + 3 * len(DUTIES)


# The keys of the rows of each tally. Plain tuples: they are made, compared and sorted for every
# push.
DayKey = tuple[date, str, str]  # day, grid, cadre
WeekKey = tuple[str, str]  # week, grid
GridKey = tuple[str, str]  # span, grid
CadreKey = tuple[str, str, str]  # span, village, cadre
CaseKey = tuple[str, str, str, str]  # every, span, village, severity
VisitedKey = tuple[str, str, str]  # household, span, grid
DutyKey = tuple[str, str, str]  # span, grid, duty
CategoryKey = tuple[str, str, str]  # span, grid, category


class TallyDeltas:
    """Collects what changes in each tally: `visit`, `case` and `household` take a record's facts
    before and after.
    """

    def __init__(self) -> None:
        self._days: dict[DayKey, list[int]] = defaultdict(lambda: [0] * 3)
        self._weeks: dict[WeekKey, list[int]] = defaultdict(lambda: [0] * 14)
        self._cases: dict[CaseKey, list[int]] = defaultdict(lambda: [0] * 4)
        self._grids: dict[GridKey, list[int]] = defaultdict(lambda: [0] * _GRID_WIDTH)
        self._cadres: dict[CadreKey, list[int]] = defaultdict(lambda: [0] * 3)
        # Of the duties that have no columns: an administrator has added them.
        self._duties: dict[DutyKey, list[int]] = defaultdict(lambda: [0] * 3)
        self._categories: dict[CategoryKey, list[int]] = defaultdict(lambda: [0] * 2)
        self._visited: dict[tuple[str, str], dict[str, int]] = defaultdict(
            dict
        )  # (span, grid) -> household -> visits
        self._household_counts: dict[str, list[int]] = defaultdict(lambda: [0] * 2)
        # Of these, what was made, or deleted.
        self._new_households: dict[str, list[int]] = defaultdict(lambda: [0] * 2)
        self._contact_changes: dict[str, int] = {}
        self._visits: dict[tuple[str, str, date], _VisitRows] = {}
        self._within: dict[str, date] = {}  # a day of each span

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

    def household(
        self, id: str, before: HouseholdFacts | None, after: HouseholdFacts | None
    ) -> None:
        """A household was made, moved, deleted, moved away or came back, or got or lost its contact
        member.
        """
        if before == after:
            return
        for facts, sign in ((before, -1), (after, 1)):
            if facts is not None and facts.present:
                _add(self._household_counts[facts.grid], (1, int(facts.contact)), sign)
        if before is None and after is not None and after.present:
            _add(self._new_households[after.grid], (1, int(after.contact)), 1)
        if after is None and before is not None and before.present:
            # One that was made and deleted on the first day of a grid was never there.
            _add(self._new_households[before.grid], (1, int(before.contact)), -1)
        change = int(after is not None and after.contact) - int(
            before is not None and before.contact
        )
        if change:
            self._contact_changes[id] = self._contact_changes.get(id, 0) + change

    def new_visits(
        self,
        by: str,
        visits: Iterable[tuple[str, int, str, Iterable[str] | None, str | None]],
        received_at: datetime,
    ) -> None:
        """The same as `visit` for many that one cadre has just made: grid, stamp as a number,
        moment, duties and household of each.
        """
        touched: dict[_VisitRows, int] = {}
        for grid, stamp, visited_at, duties, household in visits:
            rows = self._rows_of(grid, by, day_of(visited_at))
            touched[rows] = touched.get(rows, 0) + 1
            rows.note(1, rows.begins <= stamp < rows.ends, duties or (), household)
        for rows, count in touched.items():
            rows.count(count, received_at)

    def stored_visits(self, visits: Iterable[Iterable[Any]]) -> None:
        """The same as `visit` for many that are there already, as rows of the table: grid, cadre,
        stamp of the latest mutation, that of the first if it is another, when it came in, moment,
        duties and household of each.
        """
        for grid, by, stamp, first, received_at, visited_at, duties, household in visits:
            rows = self._rows_of(grid, by, local_day(visited_at))
            written = stamp if first is None else int(first, 16)
            rows.note(1, rows.begins <= written < rows.ends, duties or (), household)
            rows.count(1, received_at)

    def _visit(self, facts: VisitFacts | None, sign: int) -> None:
        if facts is not None:
            rows = self._rows_of(facts.grid, facts.by, facts.day)
            rows.count(sign, facts.received_at)
            rows.note(sign, facts.written == facts.day, facts.duties, facts.household)

    def _rows_of(self, grid: str, by: str, day: date) -> "_VisitRows":
        rows = self._visits.get((grid, by, day))
        if rows is None:
            rows = self._visits[grid, by, day] = _VisitRows(day)
        return rows

    def _to_rows(self) -> None:
        """Carries what was counted of visits into the rows of the tallies."""
        for (grid, by, day), found in self._visits.items():
            spans = spans_of(day)
            village = village_of(grid)
            week, month = spans
            self._within[week] = self._within[month] = day
            self._days[day, grid, by][0] += found.visits
            on_days = self._weeks[week, grid]
            on_days[day.weekday()] += found.visits
            on_days[7 + day.weekday()] += found.prompt
            for span in (*spans, quarter_of(day)):
                self._cadres[span, village, by][0] += found.visits
            for span, late in zip(spans, found.late, strict=True):
                row = self._grids[span, grid]
                row[0] += found.visits
                row[3] += late
                for duty, count in found.duties.items():
                    at = _DUTY_AT.get(duty)
                    if at is None:
                        self._duties[span, grid, duty][0] += count
                    else:
                        row[at] += count
                visited = self._visited[span, grid]
                for household, count in found.households.items():
                    visited[household] = visited.get(household, 0) + count
        self._visits.clear()

    def _case(self, facts: CaseFacts | None, sign: int) -> None:
        if facts is None:
            return
        self._problem(facts, facts.raised, facts.raised_by, (1, 0), sign)
        for span in spans_of(facts.raised):
            self._grids[span, facts.grid][3] += sign * came_late(
                span, facts.raised, facts.received_at
            )
        if facts.resolved is not None and facts.resolved_by is not None:
            self._problem(facts, facts.resolved, facts.resolved_by, (0, 1), sign)
        self._status_change(facts, facts.raised, (1, 0, 0, 0), sign)
        self._status_change(facts, facts.closed, (0, 1, 0, 0), sign)
        if facts.became_overdue is not None:
            self._status_change(facts, facts.became_overdue, (0, 0, 1, 0), sign)
            self._status_change(facts, facts.closed, (0, 0, 0, 1), sign)

    def _status_change(
        self, facts: CaseFacts, day: date | None, counts: tuple[int, int, int, int], sign: int
    ) -> None:
        for span in (ALWAYS, *spans_of(day)) if day is not None else ():
            _add(
                self._cases[period_type(span), span, village_of(facts.grid), facts.severity],
                counts,
                sign,
            )

    def _problem(
        self, facts: CaseFacts, day: date, cadre: str, counts: tuple[int, int], sign: int
    ) -> None:
        _add(self._days[day, facts.grid, cadre], (0, *counts), sign)
        for span in (*spans_of(day), quarter_of(day)):
            _add(self._cadres[span, village_of(facts.grid), cadre], (0, *counts), sign)
        for span in spans_of(day):
            if facts.category is not None:
                _add(self._categories[span, facts.grid, facts.category], counts, sign)
            row = self._grids[span, facts.grid]
            at = _DUTY_AT.get(facts.duty)
            if at is None:
                _add(self._duties[span, facts.grid, facts.duty], (0, *counts), sign)
            for begin in (0,) if at is None else (0, at):
                row[begin + 1] += sign * counts[0]
                row[begin + 2] += sign * counts[1]

    # Each in the order in which every transaction locks the rows.

    def days(self) -> dict[DayKey, tuple[int, ...]]:
        """Changes of `tally`: visits, raised, resolved."""
        self._to_rows()
        return _rows(self._days)

    def weeks(self) -> dict[WeekKey, tuple[int, ...]]:
        """Changes of `week_tally`: visits of each day from Monday to Sunday, then the prompt ones
        of each day.
        """
        self._to_rows()
        return _rows(self._weeks)

    def cases(self) -> dict[CaseKey, tuple[int, ...]]:
        """Changes of `case_tally`: raised, closed, became overdue (`lapsed`), overdue ended
        (`cleared`).
        """
        return _rows(self._cases)

    def grids(self) -> dict[GridKey, tuple[int, ...]]:
        """Changes of `grid_tally`, but for households: visits, raised, resolved, late, then visits,
        raised, resolved of each duty.

        Where a household is visited now there is a row, even of naughts: the household counts
        there.
        """
        self._to_rows()
        visited = {
            key for key, visits in self._visited.items() if any(n > 0 for n in visits.values())
        }
        return {
            key: tuple(row)
            for key, row in sorted(self._grids.items())
            if any(row) or key in visited
        }

    def cadres(self) -> dict[CadreKey, tuple[int, ...]]:
        """Changes of `cadre_tally`: visits, raised, resolved."""
        self._to_rows()
        return _rows(self._cadres)

    def added_duties(self) -> dict[DutyKey, tuple[int, ...]]:
        """Changes of `duty_tally`: visits, raised, resolved."""
        self._to_rows()
        return _rows(self._duties)

    def categories(self) -> dict[CategoryKey, tuple[int, ...]]:
        """Changes of `category_tally`: raised, resolved."""
        return _rows(self._categories)

    def visited(self) -> dict[VisitedKey, tuple[int, ...]]:
        """Households that are visited in a span now, whether or not they were before: rows of
        `visited_household`.
        """
        self._to_rows()
        found = [
            (household, span, grid)
            for (span, grid), visits in self._visited.items()
            for household, n in visits.items()
            if n > 0
        ]
        return dict.fromkeys(sorted(found), (1,))

    def visited_in(self) -> dict[GridKey, set[str]]:
        """The same by span and grid."""
        self._to_rows()
        found = {
            key: {household for household, n in visits.items() if n > 0}
            for key, visits in self._visited.items()
        }
        return {key: households for key, households in found.items() if households}

    def lost_visits(self) -> dict[VisitedKey, Period]:
        """Households that have lost a visit in a span, each with the span: perhaps they have no
        other there.
        """
        self._to_rows()
        found = [
            (household, span, grid)
            for (span, grid), visits in self._visited.items()
            for household, n in visits.items()
            if n < 0
        ]
        return {names: around(names[1], self._within[names[1]]) for names in sorted(found)}

    def household_counts(self) -> dict[str, tuple[int, ...]]:
        """Changes of `household_tally` by grid: households, contact households."""
        return _rows(self._household_counts)

    def new_households(self) -> dict[str, tuple[int, ...]]:
        """What of these changes comes of households that were made or deleted."""
        return _rows(self._new_households)

    def moved_households(self) -> dict[str, tuple[int, ...]]:
        """What of these changes comes of households that were there already: they moved, left or
        came back, or got or lost their contact member.
        """
        found = {grid: [*counts] for grid, counts in self._household_counts.items()}
        for grid, counts in self._new_households.items():
            _add(found[grid], tuple(counts), -1)
        return _rows(found)

    def contact_changes(self) -> dict[str, int]:
        """Households that became contact households (1), or are none any more (-1)."""
        return {id: change for id, change in sorted(self._contact_changes.items()) if change}


class _VisitRows:
    """What was counted of the visits of a cadre to a grid on a day: counted once, before it is
    spread over the rows of the tallies.

    `begins`, `ends`: the stamps, as numbers, between which a visit of the day is written promptly;
    `late`: what came after the week, and after the month, had ended.
    """

    __slots__ = ("_closes", "begins", "duties", "ends", "households", "late", "prompt", "visits")

    def __init__(self, day: date) -> None:
        self.begins, self.ends = stamps_of(day)
        self._closes = ends_of(day)
        self.visits = 0
        self.prompt = 0
        self.late = [0, 0]
        self.duties: dict[str, int] = {}
        self.households: dict[str, int] = {}

    def note(self, sign: int, prompt: bool, duties: Iterable[str], household: str | None) -> None:
        """Notes what a visit was about, or takes it back; `count` counts it."""
        if prompt:
            self.prompt += sign
        for duty in duties:
            self.duties[duty] = self.duties.get(duty, 0) + sign
        if household is not None:
            self.households[household] = self.households.get(household, 0) + sign

    def count(self, visits: int, received_at: datetime) -> None:
        """Counts so many visits that came in at a moment, or takes them back."""
        self.visits += visits
        for place, closes in enumerate(self._closes):
            if received_at >= closes:
                self.late[place] += visits


def _add(row: list[int], counts: Iterable[int], sign: int) -> None:
    for index, count in enumerate(counts):
        row[index] += sign * count


def _rows(found: Mapping[Any, list[int]]) -> dict[Any, tuple[int, ...]]:
    return {key: tuple(found[key]) for key in sorted(found) if any(found[key])}
