"""How a number went in a unit and the units below, `/trend`: a small chart for each, on one scale,
and the same as a table.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.pages.charts import step_of
from service.pages.dates import period_name, short_name
from service.pages.figures import Shown, raw_of, written
from service.pages.glossary import FIGURES
from service.pages.glossary import Unit as HowWritten
from service.pages.page import Signed, pages_router
from service.pages.periods import last_whole
from service.pages.units import path_to
from service.summaries import trend as trends
from service.summaries.trend import Kind, TrendPoint
from sync_protocol.periods import Period, around
from sync_protocol.texts import Text

router: APIRouter = pages_router()

# Beside the numbers of a summary: of the logs that were due the part that was on time.
_RATES: dict[str, Text] = {
    "on_time_rate.visit": Text("Daily visits on time"),
    "on_time_rate.weekly_analysis": Text("Weekly analyses on time"),
    "on_time_rate.monthly_summary": Text("Monthly summaries on time"),
}
# `resolution_rate` is `flow_resolution_rate` by its old name.
CHOICES: dict[str, Text] = {
    key: figure.label for key, figure in FIGURES.items() if key != "resolution_rate"
} | _RATES
_KINDS: dict[Kind, Text] = {
    "week": Text("Week"),
    "month": Text("Month"),
    "quarter": Text("Quarter"),
}
_COUNTS = (6, 12, 24)

WIDTH, HEIGHT = 240, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 6, 8, 8

ShortText = Annotated[str, Query(max_length=40)]


class Dot(NamedTuple):
    """A point of a small chart: where it stands, and what it says."""

    x: float
    y: float
    label: Text
    text: str | Text


class Small(NamedTuple):
    """A unit's chart: the pieces of its line, which is broken where there is no number, the last
    number, and one for each period.
    """

    code: str
    name: str
    lines: list[list[Dot]]
    last: Shown
    numbers: list[Shown]


class Chart(NamedTuple):
    """Small charts on one scale, which ends at `top`."""

    top: str | Text
    units: list[Small]


@router.get("/trend", operation_id="trend_page")
async def trend_page(
    visit: Signed,
    unit: Annotated[str, Query(max_length=20)] = "",
    figure: ShortText = "visits",
    kind: ShortText = "week",
    count: Annotated[int, Query(ge=2, le=60)] = 12,
    until: date | None = None,
) -> Response:
    """A number over weeks, months or quarters."""
    unit = unit or visit.own_unit() or ""
    key = figure if figure in CHOICES else "visits"
    of: Kind = next((one for one in _KINDS if one == kind), "week")
    last = around(of, until) if until else last_whole(of, visit.caller.today)
    found = await trends.trend(visit.request, visit.caller, unit, of, count, last.last, below=True)
    spans = [around(of, date.fromisoformat(one.first)) for one in found.periods]
    return visit.page(
        "trend.html",
        unit=unit,
        unit_name=found.unit.name,
        path_up=await path_to(visit, unit),
        chart=_chart(key, [(found.unit, found.points)], spans),
        below=_chart(key, [(one.unit, one.points) for one in found.units], spans),
        spans=spans,
        labels=[short_name(span) for span in spans],
        key=key,
        label=CHOICES[key],
        meaning=FIGURES[key].meaning if key in FIGURES else None,
        choices=CHOICES,
        kind=of,
        kinds=_KINDS,
        count=count,
        counts=sorted({*_COUNTS, count}),
        until=until,
    )


def value_of(point: TrendPoint, key: str) -> float | None:
    """A number of a point."""
    name, _, log = key.partition(".")
    found = point.on_time_rate.get(log) if log else getattr(point.totals, name)
    return None if found is None else found


def _chart(
    key: str, units: Sequence[tuple[Any, Sequence[TrendPoint]]], spans: Sequence[Period]
) -> Chart:
    how = FIGURES[key].unit if key in FIGURES else HowWritten.RATIO
    rows = [(one, [value_of(point, key) for point in points]) for one, points in units]
    highest = max((value or 0 for _, values in rows for value in values), default=0)
    top = _top(highest, how)
    return Chart(
        written(top, how),
        [
            Small(
                one.code,
                one.name,
                _lines(values, spans, top, how),
                Shown(key, raw_of(values[-1]), written(values[-1], how)),
                [Shown(key, raw_of(value), written(value, how)) for value in values],
            )
            for one, values in rows
        ],
    )


def _top(highest: float, how: HowWritten) -> float:
    """The end of the scale: a round number, of shares all of it at least."""
    if how is HowWritten.RATIO:
        step = step_of(100 * highest)
        return max(1.0, next(n * step for n in range(1, 6) if n * step >= 100 * highest) / 100)
    step = step_of(highest)
    return next(place * step for place in range(1, 6) if place * step >= highest)


def _lines(
    values: Sequence[float | None], spans: Sequence[Period], top: float, how: HowWritten
) -> list[list[Dot]]:
    lines: list[list[Dot]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * (place / (len(values) - 1))
        y = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / top
        lines[-1].append(
            Dot(round(x, 1), round(y, 1), period_name(spans[place]), written(value, how))
        )
    return [line for line in lines if line]
