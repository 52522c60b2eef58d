"""Indicators as a page shows them: numbers with their measure, bars that show the target, and the
plans of marked villages.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from service.indicators.answers import IndicatorItem, MarkItem, PlanStep, ValueItem, Values
from service.pages.figures import NOTHING, Shown, raw_of, shown, written
from service.pages.glossary import Unit as HowWritten
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import MARKS

# From the longest to the shortest: targets are set for long periods.
KINDS = ("year", "half", "quarter", "month", "week", "day")
EACH: dict[str, Text] = {
    "year": Text("each year"),
    "half": Text("each half-year"),
    "quarter": Text("each quarter"),
    "month": Text("each month"),
    "week": Text("each week"),
    "day": Text("each day"),
}
AGGREGATES: dict[str, Text] = {
    "sum": Text("added up"),
    "mean": Text("their mean"),
    "latest": Text("the last one reported"),
    "none": Text("not added up"),
}


class Bar(NamedTuple):
    """A bar of 100: how far the value goes, where the target stands, and whether it is reached."""

    length: float
    target_at: float | None
    is_reached: bool


class Part(NamedTuple):
    """What some units come to."""

    code: str
    name: str
    value: Shown
    target: Shown
    progress: Shown
    bar: Bar | None
    units: Shown
    reported: Shown
    reached: Shown


class Row(NamedTuple):
    """A unit below with what it comes to by each indicator; None where nobody there reports it."""

    code: str
    name: str
    parts: list[Part | None]


class Line(NamedTuple):
    """A value that was reported."""

    item: ValueItem
    value: Shown
    target: Shown
    progress: Shown
    bar: Bar | None


class Step(NamedTuple):
    """A step of a plan, and how it stands."""

    step: PlanStep
    state: str
    label: Text


class Marked(NamedTuple):
    """A mark of a unit with its plan."""

    item: MarkItem
    word: Word
    steps: list[Step]
    is_over: bool
    is_to_come: bool


def name_of(item: IndicatorItem) -> Word:
    """What an indicator is called."""
    return Word(item.name_en or item.name_zh, item.name_zh)


def amount(value: float | None) -> str:
    """A value as people write it, with four decimals at most."""
    if value is None:
        return NOTHING
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def amount_of(key: str, value: float | None) -> Shown:
    """A value, or a target, with its key."""
    return Shown(key, raw_of(value), amount(value))


def progress_of(value: float | None) -> Shown:
    """How much of a target is reached."""
    return Shown("progress", raw_of(value), written(value, HowWritten.RATIO))


def bar_of(value: float | None, target: float | None) -> Bar | None:
    """A bar on a scale that holds both; None where there is no value, or nothing to draw it on."""
    if value is None:
        return None
    end = max(value, target or 0)
    if end <= 0:
        return None
    length = round(100 * max(value, 0) / end, 1)
    if target is None or target <= 0:
        return Bar(length, None, False)
    return Bar(length, round(100 * target / end, 1), value >= target)


def part_of(code: str, name: str, found: Any) -> Part:
    """What a unit comes to, as REST tells it of the whole or of a unit below."""
    return Part(
        code,
        name,
        amount_of("value", found.value),
        amount_of("target", found.target),
        progress_of(found.progress),
        bar_of(found.value, found.target),
        *(shown(key, getattr(found, key)) for key in ("units", "reported", "reached")),
    )


def whole_of(values: Values) -> Part:
    """What the unit that was asked for comes to."""
    return part_of(values.unit.code, values.unit.name, values)


def rows_of(every: Sequence[Values]) -> list[Row]:
    """The units right below, each by all indicators."""
    names: dict[str, str] = {}
    parts: dict[str, dict[int, Part]] = {}
    for place, values in enumerate(every):
        for one in values.below:
            names[one.unit.code] = one.unit.name
            found = part_of(one.unit.code, one.unit.name, one)
            parts.setdefault(one.unit.code, {})[place] = found
    return [
        Row(code, name, [parts[code].get(place) for place in range(len(every))])
        for code, name in sorted(names.items())
    ]


def line_of(item: ValueItem) -> Line:
    """A value that was reported."""
    return Line(
        item,
        amount_of("value", item.value),
        amount_of("target", item.target),
        progress_of(item.progress),
        bar_of(item.value, item.target),
    )


def marked(item: MarkItem, today: date) -> Marked:
    """A mark with how its plan stands."""
    return Marked(
        item,
        Word(MARKS[item.mark].en, MARKS[item.mark].zh),
        [_step(step, today) for step in item.plan],
        item.valid_to is not None and item.valid_to <= today,
        item.valid_from > today,
    )


def _step(step: PlanStep, today: date) -> Step:
    if step.done_on is not None:
        return Step(step, "on_time" if step.done_on <= step.due else "late", Text("done"))
    if step.due < today:
        return Step(step, "missing", Text("overdue"))
    return Step(step, "not_due", Text("not yet due"))
