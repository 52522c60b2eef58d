"""The closed loop 日走访、周分析、月汇总: what was due in a period, and what of it was on time,
late or missing.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.loop import queries
from service.loop.queries import Due
from service.organisation.tree import Grids, Spell
from service.organisation.units import UnitOut, unit_out
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.periods import Period

Status = Literal["on_time", "late", "missing"]
LOGS = ("visit", "weekly_analysis", "monthly_summary")


class LogCounts(BaseModel):
    """How many of the logs of one kind that were due by now were on time, late, and missing: a
    visit a grid and working day, an analysis a grid and week, a summary a grid and month. Late is
    what was written after it was due, whenever it came in.
    """

    on_time: int = 0
    late: int = 0
    missing: int = 0


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
        description="By week; a month is asked for the weeks that end in it"
    )
    summary: Status | None


class Expected(BaseModel):
    """What was due by now in a period: working days, and logs with their due times."""

    days: list[date]
    analyses: dict[str, datetime]
    summaries: dict[str, datetime]
    provisional: bool

    def is_due(self, log: str, period: Period) -> bool:
        """Whether a grid's log of exactly this week or month is due by now."""
        return period.name in (self.analyses if log == "weekly_analysis" else self.summaries)

    def within(self, owed: Spell) -> "Expected":
        """What of it a grid owes that owes logs only from a day to a day: the working days between,
        and logs of weeks and months that lie between as a whole.
        """

        def lies_between(name: str) -> bool:
            around = periods.week(name) if "W" in name else periods.month(name)
            return owed.valid_from <= around.first and (
                owed.valid_to is None or around.last < owed.valid_to
            )

        return Expected(
            days=[
                day
                for day in self.days
                if owed.valid_from <= day and (owed.valid_to is None or day < owed.valid_to)
            ],
            analyses={name: due for name, due in self.analyses.items() if lies_between(name)},
            summaries={name: due for name, due in self.summaries.items() if lies_between(name)},
            provisional=self.provisional,
        )

    @property
    def logs(self) -> list[Due]:
        """The analyses and summaries as the queries take them."""
        return [
            Due("weekly_analysis", list(self.analyses), list(self.analyses.values())),
            Due("monthly_summary", list(self.summaries), list(self.summaries.values())),
        ]


class Dues(NamedTuple):
    """What was due by now of the grids of a unit: of all of them (`whole`), but for those that owe
    only some of it, or by another calendar (`parts`).

    `calendars`: what is due by other calendars, by grid, of the whole period.
    """

    whole: Expected
    parts: Mapping[str, Expected] = {}
    calendars: Mapping[str, Expected] = {}

    def of(self, grid: str) -> Expected:
        """What was due of a grid."""
        return self.parts.get(grid, self.whole)

    def is_due(self, log: str, period: Period) -> bool:
        """Whether a log of exactly this week or month is due by now, everywhere."""
        return all(due.is_due(log, period) for due in self.by_calendar)

    @property
    def by_calendar(self) -> list[Expected]:
        """What is due of the whole period, by each calendar."""
        return [self.whole, *{id(due): due for due in self.calendars.values()}.values()]


def expected(period: Period, now: datetime, rules: Rules, unit: str) -> Expected:
    """What a grid with the calendar of a unit should have done in a week or month by now."""
    weeks = list(dict.fromkeys(periods.week_around(day) for day in period.days))
    analyses = {
        week.name: rules.log_due("weekly_analysis", week, unit)
        for week in weeks
        if period.first <= week.last <= period.last
    }
    summaries = (
        {period.name: rules.log_due("monthly_summary", period, unit)}
        if "W" not in period.name
        else {}
    )
    calendar = rules.calendar(unit, period.last)
    return Expected(
        days=[
            day
            for day in period.days
            if calendar.works(day) and periods.midnight(day + timedelta(days=1)) <= now
        ],
        analyses={name: due for name, due in analyses.items() if due <= now},
        summaries={name: due for name, due in summaries.items() if due <= now},
        provisional=any(calendar.is_provisional(day) for day in period.days),
    )


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


async def counts_by_log(
    connection: Connection, dues: Dues, subtree: Subtree, grids: Grids, period: Period
) -> dict[str, LogCounts]:
    """The counts of each log of a unit with these grids."""
    due = dues.whole
    but = sorted(dues.parts)
    counts = {
        "visit": (await queries.day_counts(connection, subtree, due.days, but), len(due.days))
    }
    for logs in due.logs:
        if logs.names:
            row = await queries.log_counts(connection, subtree, logs, but)
            counts[logs.log] = (row, len(logs.names))
    found = {log: LogCounts() for log in LOGS}
    for log, (row, times) in counts.items():
        found[log] = LogCounts(
            on_time=row["on_time"],
            late=row["late"],
            missing=(grids.total - len(but)) * times - row["on_time"] - row["late"],
        )
    rows = [{"code": code, "level": "grid", "name": ""} for code in but]
    for item in await grid_loops(connection, dues, rows, period):
        _add_to(found, item, dues.of(item.grid.code))
    return found


def _add_to(counts: dict[str, LogCounts], item: GridLoop, due: Expected) -> None:
    """Counts what was due of one grid."""
    some: list[tuple[str, Status]] = [("visit", item.days[day]) for day in due.days]
    some += [("weekly_analysis", item.analyses[week]) for week in due.analyses]
    if item.summary is not None:
        some.append(("monthly_summary", item.summary))
    for log, status in some:
        setattr(counts[log], status, getattr(counts[log], status) + 1)


async def grid_loops(
    connection: Connection, dues: Dues, grids: Sequence[Any], period: Period
) -> list[GridLoop]:
    """The loop of each of these grids, which are given in order of code."""
    if not grids:
        return []
    found = {row["code"]: _empty(row, dues.of(row["code"])) for row in grids}
    first, last = grids[0]["code"], grids[-1]["code"]
    by_week: dict[str, list[tuple[date, int]]] = {}
    for day in period.days:
        by_week.setdefault(periods.week_of(day), []).append((day, 1 << day.weekday()))
    for row in await queries.days_of(connection, first, last, period):
        if row["grid"] in found:
            days = found[row["grid"]].days
            for day, bit in by_week[row["week"]]:
                if row["visited"] & bit:
                    days[day] = "on_time" if row["prompt"] & bit else "late"
    for due in dues.by_calendar:
        for logs in due.logs:
            for row in await queries.logs_of(connection, first, last, logs):
                grid = row["grid"]
                if grid not in found or dues.calendars.get(grid, dues.whole) is not due:
                    continue
                if logs.log == "weekly_analysis":
                    found[grid].analyses[row["name"]] = _status(row)
                elif dues.of(grid).summaries:
                    found[grid].summary = _status(row)
    for item in found.values():
        item.days = dict(sorted(item.days.items()))
        due = dues.of(item.grid.code)
        item.days_visited = sum(item.days[day] != "missing" for day in due.days)
        item.analysis = next(
            (status for status in _WORST_FIRST if status in item.analyses.values()), None
        )
    return list(found.values())


_WORST_FIRST: tuple[Status, ...] = ("missing", "late", "on_time")


def _status(row: Any) -> Status:
    return "on_time" if row["on_time"] else "late"


def _empty(row: Any, due: Expected) -> GridLoop:
    return GridLoop(
        grid=unit_out(row),
        days_due=len(due.days),
        days_visited=0,
        days=dict.fromkeys(due.days, "missing"),
        analysis=None,
        analyses=dict.fromkeys(due.analyses, "missing"),
        summary="missing" if due.summaries else None,
    )
