"""The closed loop 日走访、周分析、月汇总: what was due in a period, and what of it was on time,
late or missing.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.loop import queries
from service.loop.queries import Due
from service.organisation.tree import Grids, Spell
from service.organisation.units import UnitOn, UnitOut, unit_out
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period

Status = Literal["on_time", "late", "missing"]
LOGS = ("visit", "weekly_analysis", "monthly_summary")


class LogCounts(BaseModel):
    """The logs of one kind that the grids owe for the period: a visit a grid and working day, an
    analysis a grid and week, a summary a grid and month. Each is counted once, see `status_of`.
    """

    on_time: int = Field(0, description="Written by the time it was due, or before it is")
    late: int = Field(0, description="Written after it was due, whenever it came in")
    missing: int = Field(0, description="Due by now, and not there")
    not_due: int = Field(0, description="Not due yet, and not there")


def status_of(is_written: bool, is_prompt: bool, is_due: bool) -> Status | None:
    """What becomes of a log that a grid owes; every count and every list of the loop goes by this.

    `is_prompt`: it was written by its time. None: it is not due yet, and nobody misses it.
    """
    if is_written:
        return "on_time" if is_prompt else "late"
    return "missing" if is_due else None


# The counts of each log.
ByLog = dict[str, LogCounts]


class Counted(NamedTuple):
    """What came of what was due of a unit in a period, in all and by unit right below."""

    logs: ByLog
    by_unit: dict[str, ByLog]


class GridLoop(BaseModel):
    """One grid's loop. Without a status: nothing of the kind is due in the period yet."""

    grid: UnitOut = Field(description="The grid")
    days_due: int = Field(description="Working days of the period that are over")
    days_visited: int = Field(description="Of them, days with a visit")
    days: dict[date, Status] = Field(
        description="Every working day that is over, and other days with a visit"
    )
    analysis: Status | None = Field(description="The worst of `analyses`")
    analyses: dict[str, Status] = Field(
        description="By week: of those that end in the period, which are due or written"
    )
    summary: Status | None = Field(description="The worst of `summaries`")
    summaries: dict[str, Status] = Field(
        {}, description="By month: of those that end in the period, which are due or written"
    )


class Expected(BaseModel):
    """What a period asks of a grid: working days, and analyses and summaries with the moments at
    which they are due; `now` says which of them are due yet.
    """

    now: datetime
    days: list[date]
    days_to_come: list[date]
    analyses: dict[str, datetime]
    summaries: dict[str, datetime]
    provisional: bool

    def within(self, owed: Spell) -> "Expected":
        """What of it a grid owes that owes logs only from a day to a day: the working days between,
        and logs of weeks and months that lie between as a whole.
        """

        def lies_between(name: str) -> bool:
            # Also one that begins before the first year that can be asked for.
            around = periods.week_around(day_in(name)) if "W" in name else periods.month(name)
            return owed.valid_from <= around.first and (
                owed.valid_to is None or around.last < owed.valid_to
            )

        def owes(day: date) -> bool:
            return owed.valid_from <= day and (owed.valid_to is None or day < owed.valid_to)

        return Expected(
            now=self.now,
            days=[day for day in self.days if owes(day)],
            days_to_come=[day for day in self.days_to_come if owes(day)],
            analyses={name: due for name, due in self.analyses.items() if lies_between(name)},
            summaries={name: due for name, due in self.summaries.items() if lies_between(name)},
            provisional=self.provisional,
        )

    def is_due(self, name: str) -> bool:
        """Whether the analysis of a week, or the summary of a month, is due by now."""
        due = self.analyses.get(name) or self.summaries.get(name)
        return due is not None and due <= self.now

    def asked(self, log: str) -> int:
        """How many logs of a kind the period asks of a grid."""
        if log == "visit":
            return len(self.days) + len(self.days_to_come)
        return len(self.due_of(log))

    def due_of(self, log: str) -> dict[str, datetime]:
        """The analyses, or the summaries, with the moments at which they are due."""
        return self.analyses if log == "weekly_analysis" else self.summaries

    @property
    def logs(self) -> list[Due]:
        """The analyses and summaries as the queries take them."""
        return [
            Due(log, list(self.due_of(log)), list(self.due_of(log).values()))
            for log in LOGS
            if log != "visit"
        ]


class Dues(NamedTuple):
    """What a period asks of the grids of a unit: of all of them (`whole`), but for those that owe
    only some of it, or by another calendar (`parts`).

    `calendars`: what is asked by other calendars, by grid, of the whole period.
    """

    whole: Expected
    parts: Mapping[str, Expected] = {}
    calendars: Mapping[str, Expected] = {}

    def of(self, grid: str) -> Expected:
        """What is asked of a grid."""
        return self.parts.get(grid, self.whole)

    def without(self, grids: Container[str]) -> dict[str, Expected]:
        """The parts without these grids."""
        return {code: due for code, due in self.parts.items() if code not in grids}

    @property
    def has_days(self) -> bool:
        """Whether a visit is due of any grid by now."""
        return bool(self.whole.days) or any(due.days for due in self.parts.values())

    @property
    def by_calendar(self) -> list[Expected]:
        """What is asked for the whole period, by each calendar."""
        return [self.whole, *{id(due): due for due in self.calendars.values()}.values()]


def expected(period: Period, now: datetime, rules: Rules, unit: str) -> Expected:
    """What a period asks of a grid with the calendar of a unit: every working day a visit, the
    analyses of the weeks and, of all periods but a week, the summaries of the months that end in
    it.
    """
    calendar = rules.calendar(unit, period.last)
    days = [day for day in period.days if calendar.works(day)]
    weeks = dict.fromkeys(periods.week_around(day) for day in period.days)
    months = dict.fromkeys(periods.month_around(day) for day in period.days)
    is_week = "W" in period.name
    return Expected(
        now=now,
        days=[day for day in days if _is_over(day, now)],
        days_to_come=[day for day in days if not _is_over(day, now)],
        analyses={
            week.name: rules.log_due("weekly_analysis", week, unit)
            for week in weeks
            if period.first <= week.last <= period.last
        },
        summaries={
            month.name: rules.log_due("monthly_summary", month, unit)
            for month in months
            if period.first <= month.last <= period.last and not is_week
        },
        provisional=any(calendar.is_provisional(day) for day in period.days),
    )


def day_in(week: str) -> date:
    """The first day of an ISO week by name, whatever its year."""
    return date.fromisocalendar(int(week[:4]), int(week[-2:]), 1)


def _is_over(day: date, now: datetime) -> bool:
    return periods.midnight(day + timedelta(days=1)) <= now


async def dues_of(
    connection: Connection,
    rules: Rules,
    subtree: Subtree,
    grids: Grids,
    period: Period,
    now: datetime,
) -> Dues:
    """What was due of the grids of a unit, of each by its own calendar."""
    found: dict[int, Expected] = {}

    def of(unit: str) -> Expected:
        calendar = id(rules.calendar(unit, period.last))
        if calendar not in found:
            found[calendar] = expected(period, now, rules, unit)
        return found[calendar]

    whole = of(subtree.code)
    calendars = {}
    local = rules.ranges_with_days_below(subtree.code, period.last)
    if local:
        for row in await queries.grids_within(connection, local, period):
            if (due := of(row["code"])) != whole:
                calendars[row["code"]] = due
    parts = {code: calendars.get(code, whole).within(owed) for code, owed in grids.parts.items()}
    return Dues(whole, {**calendars, **parts}, calendars)


class KeptLoop(BaseModel):
    """The loop of one grid as a seal keeps it: what it did, and the counts of each log."""

    item: GridLoop
    counts: dict[str, LogCounts]


Kept = Mapping[str, KeptLoop]


async def counts_by_log(
    connection: Connection,
    dues: Dues,
    on: UnitOn,
    grids: Grids,
    period: Period,
    kept: Kept | None = None,
) -> Counted:
    """The counts of each log of a unit with these grids; of some the loop is `kept`, which are
    among the grids.
    """
    due, kept = dues.whole, kept or {}
    # Where every grid is kept, no other one is shown.
    parts = {} if grids.total <= len(kept) else dues.without(kept)
    but, subtree, below = sorted({*parts, *kept}), on.subtree, on.breakdown
    whole = Counter(grids.by_unit)
    whole.subtract(below.holding(code) for code in but)
    found: dict[str, ByLog] = {unit: _nothing() for unit in grids.by_unit}

    def count_all(log: str, rows: Sequence[Any], asked_of_each: int, due_of_each: int) -> None:
        """Counts the logs of grids that owe all of a period's: so many of each, so many by now."""
        for unit, grids in whole.items():
            counts = found[unit][log]
            counts.missing += grids * due_of_each
            counts.not_due += grids * (asked_of_each - due_of_each)
        for row in rows:
            counts = found.setdefault(row["code"], _nothing())[log]
            counts.on_time += row["on_time"]
            counts.late += row["late"]
            counts.missing -= row["on_time"] + row["late"] - row["early"]
            counts.not_due -= row["early"]

    if whole.total():
        days = len(due.days)
        rows = await queries.day_counts(connection, subtree, due.days, due.days_to_come, below, but)
        count_all("visit", rows, days + len(due.days_to_come), days)
        for logs in due.logs:
            if logs.names:
                rows = await queries.log_counts(connection, subtree, logs, due.now, below, but)
                count_all(logs.log, rows, len(logs.names), sum(map(due.is_due, logs.names)))
    some = [{"code": code, "level": "grid", "name": ""} for code in sorted(parts)]
    for item in await grid_loops(connection, dues, some, period):
        code = item.grid.code
        counts = found.setdefault(below.holding(code), _nothing())
        add_counts(counts, counts_of(item, parts[code]))
    for code, one in kept.items():
        add_counts(found.setdefault(below.holding(code), _nothing()), one.counts)
    logs_of_all = _nothing()
    for by_log in found.values():
        add_counts(logs_of_all, by_log)
    return Counted(logs_of_all, found)


def _nothing() -> ByLog:
    return {log: LogCounts() for log in LOGS}


def counts_of(item: GridLoop, due: Expected) -> dict[str, LogCounts]:
    """The counts of one grid, of which this was due."""
    statuses: dict[str, list[Status | None]] = {
        "visit": [item.days.get(day) for day in (*due.days, *due.days_to_come)],
        "weekly_analysis": [item.analyses.get(week) for week in due.analyses],
        "monthly_summary": [item.summaries.get(month) for month in due.summaries],
    }
    found = _nothing()
    for log, some in statuses.items():
        for status in some:
            name = status or "not_due"
            setattr(found[log], name, getattr(found[log], name) + 1)
    return found


def add_counts(counts: dict[str, LogCounts], more: Mapping[str, LogCounts]) -> None:
    """Adds the counts of each log to others."""
    for log, some in more.items():
        for name in LogCounts.model_fields:
            setattr(counts[log], name, getattr(counts[log], name) + getattr(some, name))


async def grid_loops(
    connection: Connection,
    dues: Dues,
    grids: Sequence[Any],
    period: Period,
    kept: Kept | None = None,
) -> list[GridLoop]:
    """The loop of each of these grids, which are given in order of code; `kept`: those whose loop
    is not read any more.
    """
    if not grids:
        return []
    kept = kept or {}
    codes = [row["code"] for row in grids]
    found = {
        row["code"]: _empty(row, dues.of(row["code"])) for row in grids if row["code"] not in kept
    }
    if found:
        await _read_loops(connection, found, dues, period)
    for row in grids:
        if row["code"] in kept:
            found[row["code"]] = kept[row["code"]].item.model_copy(update={"grid": unit_out(row)})
    return [found[code] for code in codes]


async def _read_loops(
    connection: Connection, found: Mapping[str, GridLoop], dues: Dues, period: Period
) -> None:
    first, last = min(found), max(found)
    by_week: dict[str, list[tuple[date, int]]] = {}
    for day in period.days:
        by_week.setdefault(periods.week_of(day), []).append((day, 1 << day.weekday()))
    for row in await queries.days_of(connection, first, last, period):
        if row["grid"] in found:
            days = found[row["grid"]].days
            for day, bit in by_week[row["week"]]:
                status = status_of(bool(row["visited"] & bit), bool(row["prompt"] & bit), False)
                if status is not None:
                    days[day] = status
    for due in dues.by_calendar:
        for logs in due.logs:
            for row in await queries.logs_of(connection, first, last, logs):
                grid = row["grid"]
                if grid not in found or dues.calendars.get(grid, dues.whole) is not due:
                    continue
                item = found[grid]
                some = item.analyses if logs.log == "weekly_analysis" else item.summaries
                status = status_of(True, row["on_time"], False)
                assert status is not None
                some[row["name"]] = status
    for item in found.values():
        item.days = dict(sorted(item.days.items()))
        due = dues.of(item.grid.code)
        item.days_visited = sum(item.days[day] != "missing" for day in due.days)
        item.analyses = dict(sorted(item.analyses.items()))
        item.summaries = dict(sorted(item.summaries.items()))
        item.analysis, item.summary = (
            next((status for status in _WORST_FIRST if status in some.values()), None)
            for some in (item.analyses, item.summaries)
        )


_WORST_FIRST: tuple[Status, ...] = ("missing", "late", "on_time")


def _empty(row: Any, due: Expected) -> GridLoop:
    """The loop of a grid that did nothing."""
    return GridLoop(
        grid=unit_out(row),
        days_due=len(due.days),
        days_visited=0,
        days=dict.fromkeys(due.days, "missing"),
        analysis=None,
        analyses={name: "missing" for name in due.analyses if due.is_due(name)},
        summary=None,
        summaries={name: "missing" for name in due.summaries if due.is_due(name)},
    )
