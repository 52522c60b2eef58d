"""The loop as a calendar, `/loop`: grids and working days, with analyses and summaries."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.loop import routes as loops
from service.loop.loop import LOGS, Expected, GridLoop, expected
from service.loop.routes import Loop
from service.organisation.units import MaybePeriod
from service.pages.asked import KINDS, asked
from service.pages.figures import Shown, shown
from service.pages.page import Signed, Visit, pages_router
from service.pages.units import path_to
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol.periods import Period, month, week
from sync_protocol.texts import Text, Word

router: APIRouter = pages_router()

STATUSES: dict[str, Text] = {
    "on_time": Text("On time"),
    "late": Text("Late"),
    "missing": Text("Missing"),
    "not_due": Text("Not due yet"),
}
LABELS: dict[str, Text] = {
    "visit": Text("Daily visits"),
    "weekly_analysis": Text("Weekly analyses"),
    "monthly_summary": Text("Monthly summaries"),
}
_WEEKDAYS = (
    *(Word("Mon", "一"), Word("Tue", "二"), Word("Wed", "三"), Word("Thu", "四")),
    *(Word("Fri", "五"), Word("Sat", "六"), Word("Sun", "日")),
)
# How many grids stand on a page.
_GRIDS = 100
# How many days a period has of which days, and weeks, are columns.
_LONGEST_BY_DAY, _LONGEST_BY_WEEK = 31, 92

Unit = Annotated[str, Query(max_length=20)]
After = Annotated[str | None, Query(pattern=r"^\d{1,15}$")]


class Head(NamedTuple):
    """A column: a working day, a week or a month. `works`: whether every grid owes it."""

    name: str
    day: date | None
    period: Period | None
    weekday: Word | None = None
    works: bool = True


class Mark(NamedTuple):
    """What became of a log; `off`: nothing was owed."""

    name: str
    status: str


class Row(NamedTuple):
    """A grid with a mark for each column."""

    code: str
    name: str
    days_visited: Shown
    days_due: Shown
    marks: list[Mark]


class LogLine(NamedTuple):
    """The counts of a log."""

    log: str
    numbers: list[Shown]


class UnitLine(NamedTuple):
    """A unit right below with its grids, and what of each log is missing or late."""

    code: str
    name: str
    numbers: list[Shown]


@router.get("/loop", operation_id="loop_page")
async def loop_page(
    visit: Signed, period: MaybePeriod, unit: Unit = "", after: After = None
) -> Response:
    """Which grid missed what in a period; single days of one that is no longer than a month."""
    at = asked(visit, unit, period, tuple(KINDS))
    found = await loops.loop(
        visit.request, visit.caller, at.unit, at.period, limit=_GRIDS, after=after
    )
    owed = await _owed(visit, at.unit, at.period)
    heads = _heads(owed, found.items, at.period)
    return visit.page(
        "loop.html",
        unit=at.unit,
        asked=at,
        loop_of=found,
        path_up=await path_to(visit, at.unit),
        statuses=STATUSES,
        labels=LABELS,
        logs=_logs(found),
        units=_units(found),
        heads=heads,
        rows=[_row(item, heads, owed) for item in found.items],
        after=after,
    )


async def _owed(visit: Visit, unit: str, period: Period) -> Expected:
    """What the period asks of a grid of the unit, by the same rules that count its loop."""
    async with visit.state.database.reading() as connection:
        data = await current_reference_data(connection)
    rules = Rules(visit.state.settings, visit.caller.tree, data)
    return expected(period, visit.caller.now, rules, unit)


def _heads(owed: Expected, items: Sequence[GridLoop], period: Period) -> list[Head]:
    """Working days and other days with a visit, then the weeks and months that end in the period:
    as many columns as a page has room for.
    """
    works = {*owed.days, *owed.days_to_come}
    days = sorted(works.union(*(item.days for item in items)))
    length = (period.last - period.first).days + 1
    return [
        *(
            Head(day.isoformat(), day, None, _WEEKDAYS[day.weekday()], day in works)
            for day in days
            if length <= _LONGEST_BY_DAY
        ),
        *(Head(name, None, week(name)) for name in owed.analyses if length <= _LONGEST_BY_WEEK),
        *(Head(name, None, month(name)) for name in owed.summaries),
    ]


def _row(item: GridLoop, heads: Sequence[Head], owed: Expected) -> Row:
    return Row(
        item.grid.code,
        item.grid.name,
        shown("days_visited", item.days_visited),
        shown("days_due", item.days_due),
        [Mark(head.name, _status(item, head, owed)) for head in heads],
    )


def _status(item: GridLoop, head: Head, owed: Expected) -> str:
    if head.day is not None:
        awaited = head.day in owed.days_to_come
        return item.days.get(head.day) or ("not_due" if awaited else "off")
    known = item.analyses.get(head.name) or item.summaries.get(head.name)
    return known or ("off" if owed.is_due(head.name) else "not_due")


def _logs(found: Loop) -> list[LogLine]:
    return [
        LogLine(
            log,
            [shown(status, getattr(found, status)[log], f"{log}.") for status in STATUSES],
        )
        for log in LOGS
        if any(getattr(found, status)[log] for status in STATUSES)
    ]


def _units(found: Loop) -> list[UnitLine]:
    shown_logs = [line.log for line in _logs(found)]
    return [
        UnitLine(
            one.unit.code,
            one.unit.name,
            [
                shown("grids", one.grids),
                *(
                    shown(status, getattr(one, status)[log], f"{log}.")
                    for log in shown_logs
                    for status in ("on_time", "late", "missing")
                ),
            ],
        )
        for one in found.units
        if one.unit.level != "grid"
    ]
