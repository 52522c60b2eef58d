"""How many logs of a unit were on time, late or missing, in one period or in many at once: three
statements, whatever the number of grids and periods.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from service.kit.database import Connection
from service.loop import queries
from service.loop.loop import LOGS, ByLog, Expected, LogCounts, expected
from service.loop.queries import DaySums, LogAsked, WeekAsked
from service.organisation.owing import CalendarOf, Owed, Run, Span, runs
from service.organisation.tree import ALWAYS, Spell
from service.organisation.units import UnitOn
from service.vocabulary.rules import Rules
from sync_protocol.periods import Period

_FILED = ("weekly_analysis", "monthly_summary")


class KeptCounts(NamedTuple):
    """The counts that seals keep of grids in a period, by log and name of the count; `is_whole`:
    no other grid is shown.
    """

    by_grid: Mapping[str, Mapping[str, Mapping[str, int]]] = {}
    is_whole: bool = False


NOTHING_KEPT = KeptCounts()


class Counted(NamedTuple):
    """What came of what was due of a unit in a period, in all and by unit right below; `grids`: how
    many each of these has.
    """

    logs: ByLog
    by_unit: dict[str, ByLog]
    grids: Mapping[str, int]


class _Due(NamedTuple):
    """What is expected of a grid in a period, and the working days of each week as bits: of those
    that are over and of those to come.
    """

    expected: Expected
    weeks: dict[str, tuple[int, int]]


class _Part(NamedTuple):
    """What a run of grids owes in a period, by the place of the period."""

    place: int
    run: Run
    due: _Due


async def count_loops(
    connection: Connection,
    rules: Rules,
    on: UnitOn,
    periods: Sequence[Period],
    now: datetime,
    kept: Sequence[KeptCounts] = (),
) -> list[Counted]:
    """What came of what was due of a unit in each of some periods; `kept`: what seals keep in
    each.
    """
    kept = kept or [NOTHING_KEPT] * len(periods)
    parts = _parts(rules, on, periods, now, kept)
    days = await _days(connection, parts)
    filed = {log: await _filed(connection, parts, log) for log in _FILED}
    found = [_Sums() for _ in periods]
    for part in parts:
        sums, run = found[part.place], part.run
        sums.grids[run.unit] += run.grids
        sums.add_days(part, days)
        for log in _FILED:
            sums.add_filed(part, log, filed[log])
    below = on.breakdown
    for sums, some in zip(found, kept, strict=True):
        for grid, by_log in some.by_grid.items():
            sums.add_kept(below.holding(grid), by_log)
    return [sums.counted() for sums in found]


class _Sums:
    """The counts of a period by unit right below and log."""

    def __init__(self) -> None:
        self.grids: Counter[str] = Counter()
        self._counts: dict[str, dict[str, Counter[str]]] = {}

    def _of(self, unit: str, log: str) -> Counter[str]:
        if unit not in self._counts:
            self._counts[unit] = {name: Counter() for name in LOGS}
        return self._counts[unit][log]

    def add_days(self, part: _Part, days: Mapping[WeekAsked, DaySums]) -> None:
        """Counts the daily visits of a run."""
        counts, due = self._of(part.run.unit, "visit"), part.due
        on_time = written = early = 0
        for week, (over, to_come) in due.weeks.items():
            found = days[_week_asked(part.run, week)]
            for day in range(7):
                bit = 1 << day
                if (over | to_come) & bit:
                    on_time += found.prompt[day]
                    written += found.visited[day]
                if to_come & bit:
                    early += found.visited[day]
        grids = part.run.grids
        counts["on_time"] += on_time
        counts["late"] += written - on_time
        counts["missing"] += grids * len(due.expected.days) - (written - early)
        counts["not_due"] += grids * len(due.expected.days_to_come) - early

    def add_filed(self, part: _Part, log: str, filed: Mapping[LogAsked, tuple[int, int]]) -> None:
        """Counts the analyses, or the summaries, of a run."""
        counts, due = self._of(part.run.unit, log), part.due.expected
        for name, at in due.due_of(log).items():
            on_time, written = filed[_log_asked(part.run, name, at)]
            counts["on_time"] += on_time
            counts["late"] += written - on_time
            counts["missing" if at <= due.now else "not_due"] += part.run.grids - written

    def add_kept(self, unit: str, by_log: Mapping[str, Mapping[str, int]]) -> None:
        """Counts what a seal keeps of a grid."""
        self.grids[unit] += 1
        for log, counts in by_log.items():
            self._of(unit, log).update(counts)

    def counted(self) -> Counted:
        """The sums as they are shown."""
        whole: dict[str, Counter[str]] = {log: Counter() for log in LOGS}
        for by_log in self._counts.values():
            for log, counts in by_log.items():
                whole[log].update(counts)
        by_unit = {unit: _by_log(by_log) for unit, by_log in self._counts.items()}
        return Counted(_by_log(whole), by_unit, self.grids)


def _by_log(counts: Mapping[str, Mapping[str, int]]) -> ByLog:
    return {log: LogCounts(**counts[log]) for log in LOGS}


# ---------------------------------------------------------------------------------- what is due


def _parts(
    rules: Rules,
    on: UnitOn,
    periods: Sequence[Period],
    now: datetime,
    kept: Sequence[KeptCounts],
) -> list[_Part]:
    """What each run of grids owes in each period. Of periods by the same tree the runs are put
    together once.
    """
    groups: dict[tuple[date, frozenset[str]], list[int]] = {}
    for place, (period, some) in enumerate(zip(periods, kept, strict=True)):
        if not some.is_whole:
            key = (on.tree.day_like(period.last), frozenset(some.by_grid))
            groups.setdefault(key, []).append(place)
    found = []
    for (_, without), places in groups.items():
        alike = [periods[place] for place in places]
        calendars = _Calendars(rules, on.code, alike[-1].last)
        span = Span(min(one.first for one in alike), max(one.last for one in alike), alike[-1].last)
        every = runs(on.tree, on.code, on.day, span, without, calendars.of_grids)
        for place, period in zip(places, alike, strict=True):
            owing = _Owing(rules, calendars, period, now)
            found += [_Part(place, run, due) for run in every if (due := owing.of(run)) is not None]
    return found


class _Calendars:
    """The calendars of a unit and of what lies below it, numbered."""

    def __init__(self, rules: Rules, code: str, day: date) -> None:
        self._rules = rules
        self._day = day
        self._local = rules.ranges_with_days_below(code, day)
        # A unit of each calendar.
        self.units = [code]
        self._known = {id(rules.calendar(code, day)): 0}

    @property
    def of_grids(self) -> CalendarOf | None:
        """The calendar of a grid; None where all have the unit's own."""
        return self._number if self._local else None

    def _number(self, grid: str) -> int:
        if not any(one.low <= grid < one.high for one in self._local):
            return 0
        calendar = id(self._rules.calendar(grid, self._day))
        if calendar not in self._known:
            self._known[calendar] = len(self.units)
            self.units.append(grid)
        return self._known[calendar]


class _Owing:
    """What grids owe in a period, put together once for all that owe alike."""

    def __init__(self, rules: Rules, calendars: _Calendars, period: Period, now: datetime) -> None:
        self._rules = rules
        self._calendars = calendars
        self._period = period
        self._now = now
        self._whole: dict[int, Expected] = {}
        self._known: dict[tuple[int, Owed], _Due] = {}

    def of(self, run: Run) -> _Due | None:
        """What each grid of a run owes; None where these are not there in the period."""
        owed = run.owed.within(self._period.first, self._period.last)
        if owed is None:
            return None
        key = (run.calendar, owed)
        if key not in self._known:
            due = self._expected(run.calendar)
            if owed.owes_from is not None or owed.closed is not None:
                due = due.within(Spell(None, owed.owes_from or ALWAYS, owed.closed))
            self._known[key] = _Due(due, _by_week(due))
        return self._known[key]

    def _expected(self, calendar: int) -> Expected:
        if calendar not in self._whole:
            unit = self._calendars.units[calendar]
            self._whole[calendar] = expected(self._period, self._now, self._rules, unit)
        return self._whole[calendar]


def _by_week(due: Expected) -> dict[str, tuple[int, int]]:
    over, to_come = queries.by_week(due.days), queries.by_week(due.days_to_come)
    return {week: (over.get(week, 0), to_come.get(week, 0)) for week in {**over, **to_come}}


# -------------------------------------------------------------------------------- what is there


def _week_asked(run: Run, week: str) -> WeekAsked:
    return WeekAsked(run.are_villages, run.low, run.high, week)


def _log_asked(run: Run, name: str, due: datetime) -> LogAsked:
    return LogAsked(run.low, run.high, name, due)


async def _days(connection: Connection, parts: Sequence[_Part]) -> dict[WeekAsked, DaySums]:
    """How many grids of each run were visited on each day of each week, of villages from their
    tally.
    """
    asked = dict.fromkeys(_week_asked(part.run, week) for part in parts for week in part.due.weeks)
    found = {}
    for are_villages in (True, False):
        some = [one for one in asked if one.are_villages == are_villages]
        if some:
            found.update(await queries.days_visited(connection, some, are_villages))
    return found


async def _filed(
    connection: Connection, parts: Sequence[_Part], log: str
) -> dict[LogAsked, tuple[int, int]]:
    """How many logs of a kind each run of grids wrote, by the time they were due and in all."""
    asked = dict.fromkeys(
        _log_asked(part.run, name, at)
        for part in parts
        for name, at in part.due.expected.due_of(log).items()
    )
    return await queries.logs_written(connection, log, list(asked)) if asked else {}
