"""Time limits of problems and deadlines of logs: what holds on a day in a unit. Pure."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from service.kit.conditions import Range
from service.kit.settings import Settings
from service.organisation.tree import BY_CODES, Tree
from service.vocabulary.days import Calendar, UnitCalendar
from service.vocabulary.terms import BUILT_IN, Vocabulary, values_of_settings
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import Period, day_of, midnight


class ReferenceData(NamedTuple):
    """Words, limits, deadlines and calendar days as `version` of the database has them; never
    changed once made.
    """

    version: str = ""
    vocabulary: Vocabulary = BUILT_IN
    calendar: Calendar = Calendar()


class Rules:
    """The limits and deadlines by which a call is judged and counted."""

    def __init__(
        self, settings: Settings, tree: Tree = BY_CODES, data: ReferenceData | None = None
    ) -> None:
        self._tree = tree
        self._data = data or ReferenceData()
        self._settings = settings
        # Asked for every problem; a call of the write path has one such object.
        self._by_settings: dict[str, Mapping[str, Mapping[str, Any]]] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        """The words."""
        return self._data.vocabulary

    def ranges_with_days_below(self, unit: str, day: date) -> list[Range]:
        """The ranges of the units below one, as of a day, that have days of their own."""
        local = [
            code
            for code in sorted(self._data.calendar.days)
            if code != unit and self._tree.covers(unit, code, day)
        ]
        return self._tree.several(local, day) if local else []

    def calendar(self, unit: str, day: date) -> UnitCalendar:
        """The calendar of a unit, by what it lies under on a day."""
        calendar = self._data.calendar
        if calendar.is_plain:
            return calendar.of(())
        return calendar.of([unit, *self._tree.above(unit, day)])

    def limit_of(self, grid: str) -> Callable[[str, str], str]:
        """The rule `(raised_at, severity) -> due` of a grid, both moments in wire form: by the
        limit of the day on which it was raised, and the calendar of the grid.
        """

        def due(raised_at: str, severity: str) -> str:
            raised, day = datetime.fromisoformat(raised_at), day_of(raised_at)
            limit = self._value("limit", severity, day)
            if "hours" in limit:
                return canonical_moment(raised + timedelta(hours=limit["hours"]))
            return canonical_moment(self.calendar(grid, day).after(raised, limit["working_days"]))

        return due

    def log_due(self, log: str, period: Period, unit: str) -> datetime:
        """When a log of a week or month is due in a unit: by the deadline of the period's last
        day. Where it counts working days, on the first so many after the period.
        """
        deadline = self._value("deadline", log, period.last)
        days, hours = deadline["days"], timedelta(hours=deadline["hour"])
        if not deadline.get("working_days"):
            return period.ends + timedelta(days=days - 1) + hours
        last = midnight(period.last)
        return self.calendar(unit, period.last).after(last, days) + hours

    def shows_ranks(self, day: date) -> bool:
        """Whether the table of cadres carries ranks, for a period that ends on a day."""
        return bool(self._value("rank", "cadre_table", day)["shown"])

    def _value(self, name: str, code: str, day: date) -> Mapping[str, Any]:
        found = self.vocabulary.value(name, code, day)
        if found is not None:
            return found
        values = self._by_settings.get(name)
        if values is None:
            values = self._by_settings[name] = values_of_settings(self._settings, name)
        return values[code]
