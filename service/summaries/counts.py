"""What is counted of a unit and a period, in a form that adds up: of units, of grids, of what was
sealed and what was not.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from service.summaries.answers import (
    CategoryTotals,
    DutyOverlap,
    DutyTotals,
    SeverityTotals,
    Totals,
)
from service.vocabulary.terms import Vocabulary

# The numbers of `Totals` that add up.
SUMMED = tuple(name for name, field in Totals.model_fields.items() if field.annotation is int)
# What is shown of what came in after a seal.
SINCE = ("visits", "households_visited", "problems_raised", "problems_resolved")
SEVERITY_COUNTS = ("problems_raised", "problems_open", "problems_overdue")
DUTY_COUNTS = ("visits", "problems_raised", "problems_resolved")
CATEGORY_COUNTS = ("problems_raised", "problems_resolved")
# The categories that stand among the totals, and under which names.
_OF_THEIR_OWN = {
    "dispute": ("disputes_raised", "disputes_settled"),
    "worry": ("worries_raised", "worries_answered"),
}


class Counts(msgspec.Struct):
    """The numbers of a unit and a period. `late`: how many logs came in after it; `severities`,
    `duties` and `categories`: theirs in the order of `SEVERITY_COUNTS`, `DUTY_COUNTS` and
    `CATEGORY_COUNTS`; `hours`: from raised to resolved of every problem that was resolved, in no
    order.
    """

    totals: dict[str, int] = {}
    late: int = 0
    severities: dict[str, list[int]] = {}
    duties: dict[str, list[int]] = {}
    hours: list[float] = []
    categories: dict[str, list[int]] = {}

    def count(self, name: str, number: int) -> None:
        """Counts more of one of the totals."""
        self.totals[name] = self.totals.get(name, 0) + number

    def count_severity(self, severity: str, numbers: Iterable[int]) -> None:
        """Counts problems of a severity, not among the totals."""
        _add(self.severities, severity, numbers)

    def count_duty(self, duty: str, numbers: Iterable[int]) -> None:
        """Counts what was done under a duty, not among the totals."""
        _add(self.duties, duty, numbers)

    def count_category(self, category: str, numbers: Sequence[int]) -> None:
        """Counts problems of a category, and those of some categories among the totals, too."""
        _add(self.categories, category, numbers)
        for name, number in zip(_OF_THEIR_OWN.get(category, ()), numbers, strict=False):
            self.count(name, number)

    def add(self, more: "Counts") -> None:
        """Adds the numbers of another unit."""
        for name, number in more.totals.items():
            self.count(name, number)
        self.late += more.late
        for severity, numbers in more.severities.items():
            self.count_severity(severity, numbers)
        for duty, numbers in more.duties.items():
            self.count_duty(duty, numbers)
        for category, numbers in more.categories.items():
            _add(self.categories, category, numbers)
        self.hours += more.hours

    def totals_out(self) -> Totals:
        """The totals as they are answered."""
        found = Totals(**self.totals)
        found.coverage = _ratio(found.households_visited, found.households)
        found.resolution_rate = _ratio(found.problems_resolved, found.problems_raised)
        found.flow_resolution_rate = found.resolution_rate
        found.cohort_resolution_rate = _ratio(found.problems_raised_resolved, found.problems_raised)
        if self.hours:
            found.median_hours_to_resolve = round(statistics.median(self.hours), 2)
        return found

    def severities_out(self, words: Vocabulary, day: date) -> list[SeverityTotals]:
        """Every severity as it is answered, called as on a day."""
        return [
            SeverityTotals(
                severity=severity,
                label=label.zh,
                **_named(SEVERITY_COUNTS, self.severities.get(severity)),
            )
            for severity, label in words.labels("severity", day).items()
        ]

    def duties_out(self, words: Vocabulary, day: date) -> list[DutyTotals]:
        """Every duty as it is answered, called as on a day: those that hold then, and those under
        which something was done.
        """
        return [
            DutyTotals(duty=duty, label=label.zh, **_named(DUTY_COUNTS, self.duties.get(duty)))
            for duty, label in words.labels("duty", day).items()
            if duty in self.duties or words.holds("duty", duty, day)
        ]

    def categories_out(self, words: Vocabulary, day: date) -> list[CategoryTotals]:
        """Every category as it is answered, called as on a day: those that hold then, and those of
        which there were problems.
        """
        labels = words.labels("category", day)
        shown = [name for name in labels if words.holds("category", name, day)]
        shown += [name for name in sorted(self.categories) if name not in shown]
        return [
            CategoryTotals(
                category=name,
                label=labels[name].zh if name in labels else name,
                **_named(CATEGORY_COUNTS, self.categories.get(name)),
            )
            for name in shown
        ]

    def overlap_out(self) -> DutyOverlap:
        """By how much the duties together count more than the totals do."""
        sums = [sum(numbers) for numbers in zip(*self.duties.values(), strict=True)] or [0, 0, 0]
        more = {
            name: number - self.totals.get(name, 0)
            for name, number in zip(DUTY_COUNTS, sums, strict=True)
        }
        return DutyOverlap(**more)


def together(some: Iterable[Counts]) -> Counts:
    """The numbers of several units."""
    found = Counts()
    for one in some:
        found.add(one)
    return found


def since(now: Totals, kept: Totals) -> dict[str, int]:
    """What came in since numbers were sealed: the differences of those now."""
    return {name: getattr(now, name) - getattr(kept, name) for name in SINCE}


def _add(counts: dict[str, list[int]], key: str, numbers: Iterable[int]) -> None:
    known = counts.get(key)
    counts[key] = (
        [*numbers]
        if known is None
        else [one + other for one, other in zip(known, numbers, strict=True)]
    )


def _named(names: Iterable[str], numbers: list[int] | None) -> Mapping[str, int]:
    return dict(zip(names, numbers, strict=True)) if numbers else {}


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
