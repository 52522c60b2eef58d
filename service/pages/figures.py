"""Numbers as a page shows them: the raw one, how it is written, and how it compares with the period
before.
"""

import json
from typing import Any, NamedTuple

from service.pages.dates import before_name
from service.pages.glossary import FIGURES, Unit
from sync_protocol.texts import Text

NOTHING = "–"


class Change(NamedTuple):
    """A number against that of the period before: an arrow, the difference in words, and the
    number before.
    """

    arrow: str
    words: Text
    before: "Shown"


class Shown(NamedTuple):
    """A number of a page. `key`: that of REST; `raw`: as JSON has it, empty where there is none."""

    key: str
    raw: str
    text: str | Text
    change: Change | None = None

    @property
    def label(self) -> Text:
        """What it is called."""
        return FIGURES[self.key.rpartition(".")[2]].label


def shown(key: str, value: Any, prefix: str = "") -> Shown:
    """A number by its key in `Totals`; `prefix` tells apart what is not of the totals
    themselves.
    """
    unit = FIGURES[key].unit if key in FIGURES else Unit.COUNT
    return Shown(prefix + key, raw_of(value), written(value, unit))


def compared(key: str, value: Any, before: Any, kind: str) -> Shown:
    """The same with the number of the period before."""
    found = shown(key, value)
    last = shown(key, before, "previous.")
    if value is None or before is None:
        return found._replace(change=Change("", Text("No number to compare with"), last))
    return found._replace(change=_change(FIGURES[key].unit, value - before, kind, last))


def _change(unit: Unit, difference: float, kind: str, last: Shown) -> Change:
    period = before_name(kind)
    if unit is Unit.RATIO:
        points = round(100 * difference, 1)
        if points == 0:
            return Change("→", Text("The same as {period}", period=period), last)
        size = f"{abs(points):g}"
        if points > 0:
            words = Text("{points} points higher than {period}", points=size, period=period)
            return Change("↑", words, last)
        words = Text("{points} points lower than {period}", points=size, period=period)
        return Change("↓", words, last)
    if difference == 0:
        return Change("→", Text("The same as {period}", period=period), last)
    size = _decimal(abs(difference))
    if unit is Unit.HOURS:
        if difference > 0:
            return Change(
                "↑", Text("{hours} h longer than {period}", hours=size, period=period), last
            )
        return Change("↓", Text("{hours} h shorter than {period}", hours=size, period=period), last)
    if difference > 0:
        return Change("↑", Text("{count} more than {period}", count=size, period=period), last)
    return Change("↓", Text("{count} fewer than {period}", count=size, period=period), last)


def raw_of(value: Any) -> str:
    """A number as REST's JSON has it; empty for none."""
    return "" if value is None else json.dumps(value)


def written(value: Any, unit: Unit = Unit.COUNT) -> str | Text:
    """A number as people write it."""
    if value is None:
        return NOTHING
    if unit is Unit.RATIO:
        return f"{100 * value:.1f}%"
    if unit is Unit.HOURS:
        return Text("{hours} h", hours=_decimal(value))
    return _decimal(value)


def _decimal(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 1):,g}"
