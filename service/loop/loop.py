"""The closed loop 日走访、周分析、月汇总: what was due in a period, and what of it was on time,
late or missing.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
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
    every = period.days
    days = [day for day in every if calendar.works(day)]
    # A day of each week and of each month is enough to name them all.
    weeks = dict.fromkeys(map(periods.week_around, [*every[::7], every[-1]]))
    months = dict.fromkeys(map(periods.month_around, [*every[::28], every[-1]]))
    is_week = "W" in period.name
    today = periods.local_day(now)
    return Expected(
        now=now,
        days=[day for day in days if day < today],
        days_to_come=[day for day in days if day >= today],
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
        provisional=any(
            calendar.is_provisional(day) for day in {day.year: day for day in every}.values()
        ),
    )


def day_in(week: str) -> date:
    """The first day of an ISO week by name, whatever its year."""
    return date.fromisocalendar(int(week[:4]), int(week[-2:]), 1)


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
    # Many grids owe the same part.
    known: dict[tuple[int, Spell], Expected] = {}
    parts = {}
    for code, owed in grids.parts.items():
        due = calendars.get(code, whole)
        if (id(due), owed) not in known:
            known[id(due), owed] = due.within(owed)
        parts[code] = known[id(due), owed]
    return Dues(whole, {**calendars, **parts}, calendars)


def counts_of(item: GridLoop, due: Expected) -> dict[str, LogCounts]:
    """The counts of one grid, of which this was due."""
    statuses: dict[str, list[Status | None]] = {
        "visit": [item.days.get(day) for day in (*due.days, *due.days_to_come)],
        "weekly_analysis": [item.analyses.get(week) for week in due.analyses],
        "monthly_summary": [item.summaries.get(month) for month in due.summaries],
    }
    found = {log: LogCounts() for log in LOGS}
    for log, some in statuses.items():
        for status in some:
            name = status or "not_due"
            setattr(found[log], name, getattr(found[log], name) + 1)
    return found


async def grid_loops(
    connection: Connection,
    dues: Dues,
    grids: Sequence[Any],
    period: Period,
    kept: Mapping[str, GridLoop] | None = None,
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
            found[row["code"]] = kept[row["code"]].model_copy(update={"grid": unit_out(row)})
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
