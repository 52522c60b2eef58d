"""The closed loop 日走访、周分析、月汇总: what was due in a period, and what of it was on time,
late or missing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.workdays import is_provisional, is_workday
from service.loop import queries
from service.loop.queries import Due
from service.organisation.tree import Grids, Spell
from service.organisation.units import UnitOn, UnitOut, unit_out
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
    """What was due of a unit in a period, and what came of it, in all and by unit right below."""

    due: "Expected"
    logs: ByLog
    by_unit: dict[str, ByLog]


class GridLoop(BaseModel):
    """One grid's loop. Without a status: nothing of the kind is due in the period yet."""

    grid: UnitOut
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
            around = periods.week(name) if "W" in name else periods.month(name)
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


def analysis_due(week: Period, settings: Settings) -> datetime:
    """When a week's analysis is due."""
    return week.ends + timedelta(hours=settings.analysis_due_hour)


def summary_due(month: Period, settings: Settings) -> datetime:
    """When a month's summary is due."""
    return month.ends + timedelta(
        days=settings.summary_due_day - 1, hours=settings.summary_due_hour
    )


def expected(period: Period, now: datetime, settings: Settings) -> Expected:
    """What a period asks of a grid: every working day a visit, the analyses of the weeks and, of
    all periods but a week, the summaries of the months that end in it.
    """
    days = [day for day in period.days if is_workday(day)]
    weeks = dict.fromkeys(periods.week_around(day) for day in period.days)
    months = dict.fromkeys(periods.month_around(day) for day in period.days)
    is_week = "W" in period.name
    return Expected(
        now=now,
        days=[day for day in days if _is_over(day, now)],
        days_to_come=[day for day in days if not _is_over(day, now)],
        analyses={
            week.name: analysis_due(week, settings)
            for week in weeks
            if period.first <= week.last <= period.last
        },
        summaries={
            month.name: summary_due(month, settings)
            for month in months
            if period.first <= month.last <= period.last and not is_week
        },
        provisional=any(is_provisional(day) for day in period.days),
    )


def _is_over(day: date, now: datetime) -> bool:
    return periods.midnight(day + timedelta(days=1)) <= now


class KeptLoop(BaseModel):
    """The loop of one grid as a seal keeps it: what it did, and the counts of each log."""

    item: GridLoop
    counts: dict[str, LogCounts]


Kept = Mapping[str, KeptLoop]


async def counts_by_log(
    connection: Connection,
    settings: Settings,
    on: UnitOn,
    grids: Grids,
    period: Period,
    now: datetime,
    kept: Kept | None = None,
) -> Counted:
    """What was asked for, and the counts of each log of a unit with these grids; of some the loop
    is `kept`, which are among the grids.
    """
    due = expected(period, now, settings)
    kept = kept or {}
    parts = {code: spell for code, spell in grids.parts.items() if code not in kept}
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
                rows = await queries.log_counts(connection, subtree, logs, now, below, but)
                count_all(logs.log, rows, len(logs.names), sum(map(due.is_due, logs.names)))
    some = [{"code": code, "level": "grid", "name": ""} for code in sorted(parts)]
    for item in await grid_loops(connection, settings, some, period, now, parts):
        code = item.grid.code
        add_counts(found[below.holding(code)], counts_of(item, due.within(parts[code])))
    for code, one in kept.items():
        add_counts(found.setdefault(below.holding(code), _nothing()), one.counts)
    logs_of_all = _nothing()
    for by_log in found.values():
        add_counts(logs_of_all, by_log)
    return Counted(due, logs_of_all, found)


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
    settings: Settings,
    grids: Sequence[Any],
    period: Period,
    now: datetime,
    parts: Mapping[str, Spell],
    kept: Kept | None = None,
) -> list[GridLoop]:
    """The loop of each of these grids, which are given in order of code; `parts`: when those owe
    logs that do not owe all of the period's; `kept`: those whose loop is not read any more.
    """
    if not grids:
        return []
    kept = kept or {}
    whole = expected(period, now, settings)
    dues = {
        row["code"]: whole.within(parts[row["code"]]) if row["code"] in parts else whole
        for row in grids
    }
    found = {
        row["code"]: _empty(row, dues[row["code"]]) for row in grids if row["code"] not in kept
    }
    if found:
        await _read_loops(connection, found, dues, whole, period)
    for row in grids:
        if row["code"] in kept:
            found[row["code"]] = kept[row["code"]].item.model_copy(update={"grid": unit_out(row)})
    return [found[row["code"]] for row in grids]


async def _read_loops(
    connection: Connection,
    found: Mapping[str, GridLoop],
    dues: Mapping[str, Expected],
    whole: Expected,
    period: Period,
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
    for logs in whole.logs:
        for row in await queries.logs_of(connection, first, last, logs):
            if row["grid"] in found:
                item = found[row["grid"]]
                some = item.analyses if logs.log == "weekly_analysis" else item.summaries
                status = status_of(True, row["on_time"], False)
                assert status is not None
                some[row["name"]] = status
    for item in found.values():
        item.days = dict(sorted(item.days.items()))
        due = dues[item.grid.code]
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
