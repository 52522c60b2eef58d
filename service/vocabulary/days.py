"""Which days are worked, and why: uploaded lists and local holidays before what libraries know.
Pure.

Of a year for which the topmost unit has a list, that list is the official calendar: a day that it
does not name is worked or off by the day of the week. Any other unit has local days for itself and
all below it; of several units the nearest counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from service.kit import workdays
from sync_protocol.periods import SHANGHAI

# Where it comes from that a day is worked or off: an uploaded list, one of a unit below the
# topmost, the library's official calendar, computed holidays of a year not announced yet, or just
# the day of the week.
Source = Literal["uploaded", "local", "official", "computed", "week"]
# So many days without a working day are no calendar any more; beyond, days count as worked.
_LONGEST_HOLIDAY = 400


class DayOff(NamedTuple):
    """A day of a list: worked or off, and what it is called."""

    works: bool
    name: str = ""


class DayFacts(NamedTuple):
    """Whether a day is worked, what it is called (empty: nothing special), and who says so."""

    works: bool
    name: str
    source: Source


class UnitCalendar:
    """The days of a unit: the lists that hold for it, the nearest first; `official_years`: those
    for which its topmost unit has a list.
    """

    def __init__(
        self,
        lists: Sequence[tuple[bool, Mapping[date, DayOff]]],
        official_years: frozenset[int],
    ) -> None:
        self._lists = lists
        self._official_years = official_years
        self._known: dict[date, bool] = {}

    def facts(self, day: date) -> DayFacts:
        """Whether a day is worked, and why."""
        for topmost, days in self._lists:
            found = days.get(day)
            if found is not None:
                return DayFacts(found.works, found.name, "uploaded" if topmost else "local")
        if day.year in self._official_years:
            return DayFacts(day.weekday() < 5, "", "week")
        works, name = workdays.is_workday(day), workdays.name_of(day)
        if workdays.is_provisional(day):
            return DayFacts(works, name, "computed")
        return DayFacts(works, name, "official")

    def works(self, day: date) -> bool:
        """Whether a day is worked."""
        if not self._lists and not self._official_years:
            return workdays.is_workday(day)
        found = self._known.get(day)
        if found is None:
            found = self._known[day] = self.facts(day).works
        return found

    def is_provisional(self, day: date) -> bool:
        """Whether nobody has told the official calendar of the year of a day yet."""
        return day.year not in self._official_years and workdays.is_provisional(day)

    def after(self, moment: datetime, days: int) -> datetime:
        """The same time of day, `days` working days later, in Asia/Shanghai."""
        local = moment.astimezone(SHANGHAI)
        passed = 0
        while days > 0:
            local += timedelta(days=1)
            passed += 1
            if self.works(local.date()) or passed > _LONGEST_HOLIDAY:
                days -= 1
        return local


class Calendar:
    """All lists of days, by unit."""

    def __init__(
        self,
        years: Iterable[tuple[str, int]] = (),
        days: Iterable[tuple[str, date, DayOff]] = (),
    ) -> None:
        self.years: dict[str, set[int]] = {}
        self.days: dict[str, dict[date, DayOff]] = {}
        for unit, year in years:
            self.years.setdefault(unit, set()).add(year)
        for unit, day, what in days:
            self.days.setdefault(unit, {})[day] = what
        self._calendars: dict[tuple[str, ...], UnitCalendar] = {}

    @property
    def is_plain(self) -> bool:
        """Whether nothing was ever uploaded."""
        return not self.years and not self.days

    def of(self, chain: Sequence[str]) -> UnitCalendar:
        """The calendar of a unit: of `chain`, the unit and those above it up to the topmost."""
        if self.is_plain:
            return _PLAIN
        top = chain[-1]
        key = (*(unit for unit in chain if unit in self.days and unit != top), top)
        found = self._calendars.get(key)
        if found is None:
            lists = [(unit == top, self.days[unit]) for unit in key if unit in self.days]
            official = frozenset(self.years.get(top, ()))
            found = self._calendars[key] = UnitCalendar(lists, official)
        return found


_PLAIN = UnitCalendar((), frozenset())
