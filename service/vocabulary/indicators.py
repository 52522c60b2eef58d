"""Indicators as terms of the vocabulary: what is reported, by whom, for which periods and units.
Pure.

So they reach phones with the other lists, have days, and are judged by as the words are.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from service.vocabulary.terms import Term, Vocabulary

LIST = "indicator"
PERIODS = ("day", "week", "month", "quarter", "half", "year")


class Indicator(NamedTuple):
    """An indicator: its `measure` (万元, 人次 …), for each `period` reported of units of a `level`
    by those with one of the roles `reporters`. `aggregate`: how units below add up; `target`: what
    each unit is to reach, unless it has one of its own.
    """

    code: str
    name_zh: str
    name_en: str
    measure: str
    period: str
    level: str
    aggregate: str
    reporters: tuple[str, ...]
    target: float | None = None
    valid_from: date = date.min
    valid_to: date | None = None

    def attributes(self) -> dict[str, Any]:
        """What a term keeps of it beside its names."""
        found: dict[str, Any] = {
            "measure": self.measure,
            "period": self.period,
            "level": self.level,
            "aggregate": self.aggregate,
            "reporters": ",".join(self.reporters),
        }
        return found if self.target is None else found | {"target": self.target}


def indicator_of(term: Term) -> Indicator:
    """The indicator that a term is."""
    given: Mapping[str, Any] = term.attributes
    return Indicator(
        term.code,
        term.name_zh,
        term.name_en,
        given["measure"],
        given["period"],
        given["level"],
        given["aggregate"],
        tuple(given["reporters"].split(",")),
        given.get("target"),
        term.valid_from,
        term.valid_to,
    )


def indicators_on(vocabulary: Vocabulary, day: date) -> list[Indicator]:
    """The indicators that hold on a day, in their order."""
    terms = [
        term
        for some in vocabulary.edited.get(LIST, {}).values()
        for term in some
        if term.holds_on(day)
    ]
    return [indicator_of(term) for term in sorted(terms, key=lambda t: (t.position, t.code))]


def indicator_on(vocabulary: Vocabulary, code: str, day: date) -> Indicator | None:
    """An indicator as it is on a day; None where it does not hold then."""
    for term in vocabulary.edited.get(LIST, {}).get(code, ()):
        if term.holds_on(day):
            return indicator_of(term)
    return None
