"""Lists of words, limits and deadlines with the days on which each term holds. Pure.

A list that nobody has edited is that of the code (words) or of the settings (limits, deadlines,
ranks). With the first edit all its terms become rows. A term that changes from a day on has a row
before and one after; none is ever deleted, so that what was written with it stays readable.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from functools import cached_property
from typing import Any, Literal, NamedTuple

from service.kit.settings import Settings
from sync_protocol import vocabulary as words
from sync_protocol.ids import NAMESPACE
from sync_protocol.vocabulary import Label

# The days before every day that has one.
ALWAYS = date.min
FIRST, STEP = 10, 10  # positions of the terms of the code
WORD_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"

ListName = Literal[
    "duty",
    "category",
    "dispute_kind",
    "tag",
    "severity",
    "role",
    "limit",
    "deadline",
    "rank",
    "indicator",
]


class ListFacts(NamedTuple):
    """A list. `open`: whether terms may be added, and end; of the others only the names change, and
    the attributes, if they have any.
    """

    name: Label
    base: Mapping[str, Label]
    open: bool = False
    valued: bool = False


_LOGS = {
    "weekly_analysis": Label("周分析", "weekly analysis"),
    "monthly_summary": Label("月汇总", "monthly summary"),
}
LISTS: Mapping[str, ListFacts] = {
    "duty": ListFacts(Label("职责类别", "duties"), words.DUTIES, open=True),
    "category": ListFacts(Label("问题细类", "categories of problems"), words.CATEGORIES, open=True),
    "dispute_kind": ListFacts(
        Label("纠纷类型", "kinds of disputes"), words.DISPUTE_KINDS, open=True
    ),
    "tag": ListFacts(Label("农牧户类别", "household tags"), words.TAGS, open=True),
    "severity": ListFacts(Label("紧急程度", "severities"), words.SEVERITIES),
    "role": ListFacts(Label("职务", "roles"), words.ROLES),
    "limit": ListFacts(Label("办理时限", "time limits"), words.SEVERITIES, valued=True),
    "deadline": ListFacts(Label("日志期限", "deadlines of logs"), _LOGS, valued=True),
    "rank": ListFacts(
        Label("排名", "ranks"), {"cadre_table": Label("干部统计表", "cadre table")}, valued=True
    ),
    # Kept at /v1/indicators.
    "indicator": ListFacts(Label("指标", "indicators"), {}, open=True),
}
# Whose change moves due times of problems.
MOVES_DUES = frozenset({"limit"})


class Term(NamedTuple):
    """A term of a list from a day (included; `ALWAYS`) to a day (excluded; None: still)."""

    list: str
    code: str
    name_zh: str
    name_en: str
    name_mn: str | None = None
    position: int = FIRST
    valid_from: date = ALWAYS
    valid_to: date | None = None
    attributes: Mapping[str, Any] = {}

    @property
    def id(self) -> str:
        """Computed, so that the same term written twice is one."""
        begins = "" if self.valid_from == ALWAYS else self.valid_from.isoformat()
        return str(uuid.uuid5(NAMESPACE, f"vocabulary:{self.list}:{self.code}:{begins}"))

    @property
    def label(self) -> Label:
        """What people call it."""
        return Label(self.name_zh, self.name_en)

    def holds_on(self, day: date) -> bool:
        """Whether it holds on a day of Asia/Shanghai."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


def values_of_settings(settings: Settings, name: str) -> Mapping[str, Mapping[str, Any]]:
    """What the settings say of a list with values, by code."""
    match name:
        case "limit":
            return {
                "ordinary": {"working_days": settings.ordinary_days},
                "urgent": {"working_days": settings.urgent_days},
                "emergency": {"hours": settings.emergency_hours},
            }
        case "deadline":
            days, hour = divmod(settings.analysis_due_hour, 24)
            return {
                "weekly_analysis": {"days": days + 1, "hour": hour, "working_days": False},
                "monthly_summary": {
                    "days": settings.summary_due_day,
                    "hour": settings.summary_due_hour,
                    "working_days": False,
                },
            }
        case "rank":
            return {"cadre_table": {"shown": settings.rank}}
    return {}


def base_terms(settings: Settings, name: str) -> list[Term]:
    """The terms of a list that nobody has edited."""
    values = values_of_settings(settings, name)
    return [
        Term(
            name,
            code,
            label.zh,
            label.en,
            position=FIRST + STEP * place,
            attributes=values.get(code, {}),
        )
        for place, (code, label) in enumerate(LISTS[name].base.items())
    ]


class Vocabulary:
    """The terms that were edited; asked for what holds on a day."""

    def __init__(self, terms: Iterable[Term] = ()) -> None:
        self.edited: dict[str, dict[str, list[Term]]] = {}
        for term in sorted(terms, key=lambda one: one.valid_from):
            self.edited.setdefault(term.list, {}).setdefault(term.code, []).append(term)
        self._labels: dict[tuple[str, date], dict[str, Label]] = {}

    @cached_property
    def always(self) -> Mapping[str, frozenset[str]]:
        """By list, the words that hold on every day."""
        return {
            name: frozenset(
                code
                for code in {*facts.base, *self.edited.get(name, {})}
                if self._holds_always(name, code)
            )
            for name, facts in LISTS.items()
        }

    def _holds_always(self, name: str, code: str) -> bool:
        terms = self.edited.get(name, {}).get(code)
        if not terms:
            return True
        ends: date | None = ALWAYS
        for term in terms:
            if term.valid_from != ends:
                return False
            ends = term.valid_to
        return ends is None

    def knows(self, name: str, code: str) -> bool:
        """Whether a word is, or ever was, in a list."""
        return code in LISTS[name].base or code in self.edited.get(name, {})

    def holds(self, name: str, code: str, day: date) -> bool:
        """Whether a word is in a list on a day."""
        return code in self.always[name] or any(
            term.holds_on(day) for term in self.edited.get(name, {}).get(code, ())
        )

    def all_hold(self, name: str, codes: Collection[str], first: date, last: date) -> bool:
        """Whether these words are all in a list on every day from `first` to `last`; may say no
        where a word is another term from a day between.
        """
        always = self.always[name]
        return all(
            code in always
            or any(
                term.holds_on(first) and term.holds_on(last)
                for term in self.edited.get(name, {}).get(code, ())
            )
            for code in codes
        )

    def value(self, name: str, code: str, day: date) -> Mapping[str, Any] | None:
        """The attributes of a term on a day; None where nothing was written of that day."""
        for term in self.edited.get(name, {}).get(code, ()):
            if term.holds_on(day):
                return term.attributes
        return None

    def labels(self, name: str, day: date) -> Mapping[str, Label]:
        """What all words of a list are called, as of a day, in their order; also those that do not
        hold on it, by their nearest name.
        """
        if name not in self.edited:
            return LISTS[name].base
        found = self._labels.get((name, day))
        if found is None:
            shown = {code: _nearest(terms, day) for code, terms in self.edited[name].items()}
            order = sorted(shown.values(), key=lambda term: (term.position, term.code))
            found = {term.code: term.label for term in order}
            found |= {code: label for code, label in LISTS[name].base.items() if code not in found}
            self._labels[name, day] = found
        return found


def _nearest(terms: list[Term], day: date) -> Term:
    """The term of a day; else the last one before it, else the first one after."""
    before = [term for term in terms if term.valid_from <= day]
    return before[-1] if before else terms[0]


# Until something was edited.
BUILT_IN = Vocabulary()
