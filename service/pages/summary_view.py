"""What the page of a period shows, from the answers of REST: numbers with those before, lines, bars
and the order of units.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from service.pages.charts import LineChart, Series, line_chart, share
from service.pages.dates import period_name, short_name
from service.pages.figures import Shown, compared, shown
from service.pages.glossary import FIGURES
from service.summaries.answers import (
    CategoryTotals,
    DutyTotals,
    SeverityTotals,
    Summary,
    UnitTotals,
)
from service.summaries.counts import SINCE
from service.summaries.trend import Trend
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period, around, kind_of
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import Label

# The numbers of a unit, group by group: of each the first is the large one.
GROUPS: tuple[tuple[Text, tuple[str, ...]], ...] = (
    (
        Text("Visits to households"),
        (
            *("visits", "households_visited", "households", "coverage"),
            *("contact_households_visited", "contact_households"),
        ),
    ),
    (
        Text("Problems"),
        ("problems_raised", "problems_resolved", "problems_open", "problems_overdue"),
    ),
    (
        Text("Disputes and worries"),
        ("disputes_raised", "disputes_settled", "worries_raised", "worries_answered"),
    ),
    (
        Text("How problems are resolved"),
        (
            *("median_hours_to_resolve", "cohort_resolution_rate", "problems_raised_resolved"),
            "flow_resolution_rate",
        ),
    ),
)
# The columns of the table of units.
COLUMNS = (
    *("visits", "households_visited", "coverage", "problems_raised", "problems_resolved"),
    *("problems_open", "problems_overdue", "median_hours_to_resolve"),
)


# The parts of the texts that grids hand in, in order.
TEXT_FIELDS: dict[str, tuple[tuple[str, Text], ...]] = {
    "week": (
        ("situation", Text("Situation")),
        ("causes", Text("Causes")),
        ("measures", Text("Measures")),
        ("next_week", Text("Next week")),
    ),
    "month": (
        ("results", Text("Results")),
        ("shortfalls", Text("Shortfalls")),
        ("measures", Text("Measures")),
        ("next_month", Text("Next month")),
    ),
}
# What came in since a seal.
ARRIVED: dict[str, Text] = {
    **{key: FIGURES[key].label for key in SINCE},
    "late_arrivals": Text("Came in late"),
}


class Group(NamedTuple):
    """Numbers that belong together."""

    title: Text
    numbers: list[Shown]


class Bar(NamedTuple):
    """A row of a table whose first number has a bar: `length` of a hundred."""

    id: str
    label: Word
    length: int
    numbers: list[Shown]


class TrendRow(NamedTuple):
    """A period of the table beside the lines."""

    name: str
    label: Text
    numbers: list[Shown]


class View(NamedTuple):
    """A page of a period."""

    groups: list[Group]
    overdue: Shown
    charts: list[LineChart]
    trend: list[TrendRow]
    duties: list[Bar]
    severities: list[Bar]
    categories: list[Bar]
    columns: tuple[str, ...]
    in_all: list[Shown]
    logs: list[str]


_LINES = (
    (Text("Visits over {count} periods, to {last}"), ("visits",)),
    (
        Text("Problems raised and resolved over {count} periods, to {last}"),
        ("problems_raised", "problems_resolved"),
    ),
)
_TREND_COLUMNS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")


def view_of(found: Summary, went: Trend, period: Period, words: Vocabulary) -> View:
    """The parts of a page."""
    kind = kind_of(period.name)
    totals, before = found.totals, found.previous
    numbers = {
        key: compared(key, getattr(totals, key), getattr(before, key), kind) for key in FIGURES
    }
    spans = [around(kind, date.fromisoformat(point.first)) for point in went.periods]
    labels = [short_name(span) for span in spans]
    return View(
        [Group(title, [numbers[key] for key in keys]) for title, keys in GROUPS],
        numbers["problems_overdue"],
        [_chart(title, keys, went, labels, period) for title, keys in _LINES],
        [
            TrendRow(
                point.period,
                period_name(span),
                [shown(key, getattr(point.totals, key)) for key in _TREND_COLUMNS],
            )
            for point, span in zip(reversed(went.points), reversed(spans), strict=True)
        ],
        _bars(found.duties, "duty", "duties", _BY_DUTY, words, period),
        _bars(found.severities, "severity", "severities", _BY_SEVERITY, words, period),
        _bars(found.categories, "category", "categories", _BY_CATEGORY, words, period),
        COLUMNS,
        [shown(key, getattr(totals, key)) for key in COLUMNS],
        # A log that no grid owes in the period is nothing to look at.
        [log for log, counts in found.loop.logs.items() if any(counts.model_dump().values())],
    )


def _chart(
    title: Text, keys: Sequence[str], went: Trend, labels: list[Text], period: Period
) -> LineChart:
    series = [
        Series(FIGURES[key].label, key, [getattr(point.totals, key) for point in went.points])
        for key in keys
    ]
    title = Text(title.id, count=len(labels), last=period_name(period))
    return line_chart(title, labels, series)


# The numbers in the tables by duty, severity and category, beside the bar of the first.
_BY_DUTY = ("problems_raised", "problems_resolved", "visits")
_BY_SEVERITY = ("problems_raised", "problems_open", "problems_overdue")
_BY_CATEGORY = ("problems_raised", "problems_resolved")


def _bars(
    rows: Sequence[DutyTotals | SeverityTotals | CategoryTotals],
    by: str,
    table: str,
    counts: Sequence[str],
    words: Vocabulary,
    period: Period,
) -> list[Bar]:
    """The rows of a table by the words of a list, whose name is that of the field with the word."""
    labels = words.labels(by, period.last)
    highest = max((row.problems_raised for row in rows), default=0)
    return [
        Bar(
            getattr(row, by),
            _label(labels, getattr(row, by), row.label),
            share(row.problems_raised, highest),
            [shown(key, getattr(row, key), f"{table}.") for key in counts],
        )
        for row in rows
    ]


def _label(labels: Mapping[str, Label], code: str, known: str) -> Word:
    found = labels.get(code)
    return Word(found.en or found.zh, found.zh) if found else Word(known, known)


class UnitRow(NamedTuple):
    """A unit right below."""

    code: str
    name: str
    level: str
    sealed: str
    arrived: int
    numbers: list[Shown]


def sorted_units(units: Sequence[UnitTotals], sort: str) -> list[UnitRow]:
    """The units right below in the order that is asked for: by a number, the highest first, or with
    a - before it the lowest; by `name`; else by code. What has no number comes last.
    """
    key = sort.removeprefix("-")
    found = list(units)
    if key == "name":
        found.sort(key=lambda row: row.unit.name, reverse=sort.startswith("-"))
    elif key in COLUMNS:

        def rank(row: UnitTotals) -> tuple[bool, float]:
            value = getattr(row.totals, key)
            return value is None, 0 if value is None else (value if sort[0] == "-" else -value)

        found.sort(key=rank)
    return [_row(one) for one in found]


def _row(one: UnitTotals) -> UnitRow:
    return UnitRow(
        one.unit.code,
        one.unit.name,
        one.unit.level,
        one.sealed,
        sum(abs(number) for number in (one.arrived_since or {}).values()),
        [shown(key, getattr(one.totals, key)) for key in COLUMNS],
    )
