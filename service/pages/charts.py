"""Lines and bars as SVG: where everything stands. The macros of `charts.html` draw it.

What tells lines apart is their form as well as their colour, so that paper and any eye can.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sync_protocol.texts import Text

WIDTH, HEIGHT = 440, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 12, 26
# How many labels fit below the points.
_LABELS = 6
_STEPS = (1, 2, 5)


class Point(NamedTuple):
    """A point of a line: where it stands, and what it says."""

    x: float
    y: float
    label: Text
    text: str


class Line(NamedTuple):
    """A line: its name, its key in REST, the number of its form, and its points."""

    name: Text
    key: str
    form: int
    points: list[Point]

    @property
    def path(self) -> str:
        """Its points as SVG has them."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


class Tick(NamedTuple):
    """A mark of an axis."""

    at: float
    text: str | Text


class LineChart(NamedTuple):
    """Lines over periods."""

    title: Text
    lines: list[Line]
    ups: list[Tick]
    alongs: list[Tick]


class Series(NamedTuple):
    """The numbers of a line; None where there is none."""

    name: Text
    key: str
    values: Sequence[float | None]


def line_chart(title: Text, labels: Sequence[Text], series: Sequence[Series]) -> LineChart:
    """A chart of some lines over the same periods, from nothing up."""
    highest = max((value or 0 for one in series for value in one.values), default=0)
    step = step_of(highest)
    marks = [step * place for place in range(5) if step * (place - 1) < highest or place < 2]
    top = marks[-1]

    def x(place: int) -> float:
        room = WIDTH - _LEFT - _RIGHT
        return round(_LEFT + room * (place / (len(labels) - 1) if len(labels) > 1 else 0.5), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / top, 1)

    lines = [
        Line(
            one.name,
            one.key,
            form,
            [
                Point(x(place), y(value), labels[place], f"{value:,}")
                for place, value in enumerate(one.values)
                if value is not None
            ],
        )
        for form, one in enumerate(series)
    ]
    every = -(-len(labels) // _LABELS)
    shown = range(len(labels) - 1, -1, -every)
    return LineChart(
        title,
        lines,
        [Tick(y(mark), f"{mark:,}") for mark in marks],
        [Tick(x(place), labels[place]) for place in sorted(shown)],
    )


def step_of(highest: float) -> int:
    """The distance of marks: 1, 2 or 5 and zeros, so that four reach the highest value."""
    size = 1
    while True:
        for step in _STEPS:
            if 4 * step * size >= highest:
                return step * size
        size *= 10


def share(value: float, highest: float) -> int:
    """The length of a bar, of a hundred; anything at all is seen."""
    if not value or highest <= 0:
        return 0
    return max(1, round(100 * value / highest))
