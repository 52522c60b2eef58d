"""What changes words, limits, deadlines and calendars: each in one transaction of the caller, who
administers the topmost unit, or, for local holidays, the unit. See docs/decisions/0027.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from service.kit.conditions import EVERYWHERE
from service.kit.database import Connection
from service.kit.errors import INVALID, NOT_ALLOWED, NOT_FOUND, NOT_NOW, Problem
from service.kit.settings import Settings
from service.organisation.tree import Tree
from service.vocabulary import due_times, queries
from service.vocabulary.days import DayOff
from service.vocabulary.keeping import read_reference_data
from service.vocabulary.rules import ReferenceData, Rules
from service.vocabulary.terms import (
    ALWAYS,
    FIRST,
    LISTS,
    MOVES_DUES,
    STEP,
    Term,
    Vocabulary,
    base_terms,
)
from service.writes.queries import next_in_mailbox
from sync_protocol.periods import midnight
from sync_protocol.texts import Text, Word

# The legal holidays of a year are 13 days, and were 11 until 2024.
_FEWEST_OFF = 11
# New Year, Labour Day and the three National Days.
_OFF_EVERY_YEAR = ((1, 1), (5, 1), (10, 1), (10, 2), (10, 3))


class Keeper(Protocol):
    """Who changes something, and when: a caller, or the command line."""

    @property
    def staff_code(self) -> str: ...
    @property
    def now(self) -> datetime: ...
    @property
    def today(self) -> date: ...
    @property
    def tree(self) -> Tree: ...
    def reaches(self, code: str) -> bool: ...


class Written(NamedTuple):
    """What was written of a list: the terms of the code, and how many problems are due at another
    time since.
    """

    terms: list[Term]
    dues_changed: int
    warnings: Sequence[Text] = ()


def topmost(tree: Tree, today: date) -> str:
    """The unit above all others, whose administrators keep lists and the official calendar; raises
    `Problem` where there is none, or several.
    """
    tops = [code for code in tree.tops(today) if tree.units[code].is_open(today, today)]
    if len(tops) != 1:
        raise Problem(
            NOT_NOW,
            Text(
                "There are {count} topmost units; lists and calendars are kept for one.",
                count=len(tops),
            ),
        )
    return tops[0]


def the_keeper(caller: Keeper) -> str:
    """The topmost unit, if the caller administers it."""
    top = topmost(caller.tree, caller.today)
    if not caller.reaches(top):
        raise Problem(
            NOT_ALLOWED,
            Text("Lists and the official calendar are kept by administrators of {unit}.", unit=top),
        )
    return top


def list_word(name: str) -> Word:
    """What a list is called in sentences."""
    label = LISTS[name].name
    return Word(label.en, label.zh)


class Changes:
    """The changes of a caller in one transaction."""

    def __init__(self, connection: Connection, settings: Settings, caller: Keeper) -> None:
        self._connection = connection
        self._settings = settings
        self._caller = caller

    # ------------------------------------------------------------------------------------- lists

    async def put(self, name: str, new: Term) -> Written:
        """From a day on a term is this one: a new one, or another text or value of one that is
        there. Where it ends and the list is not open, what held before holds again.
        """
        top = the_keeper(self._caller)
        data = await self._begin(name)
        terms = self._terms(data, name)
        self._refuse(name, new, terms, data.vocabulary)
        own = [term for term in terms if term.code == new.code]
        later = [term.valid_from for term in own if term.valid_from > new.valid_from]
        warnings = []
        if later and (new.valid_to is None or new.valid_to > min(later)):
            new = new._replace(valid_to=min(later))
            text = Text(
                "From {day} on what was written before for ‘{code}’ holds, so that this ends then;"
                " put it again from {day} on if it is to go on.",
                day=min(later),
                code=new.code,
            )
            warnings.append(text)
        changed = [new]
        before = [term for term in own if term.valid_from < new.valid_from]
        if before and before[-1].holds_on(new.valid_from):
            changed.append(before[-1]._replace(valid_to=new.valid_from))
        if new.valid_to is not None and not LISTS[name].open:
            # Until another begins. Where one is put in the place of another that begins on the same
            # day, that is gone: the one before both holds again.
            ends = min(later, default=None)
            if before and ends != new.valid_to:
                again = before[-1]._replace(valid_from=new.valid_to, valid_to=ends)
                changed.append(again)
        written = await self._write(name, top, data, terms, changed, new)
        return written._replace(warnings=warnings)

    async def correct(self, name: str, code: str, values: Mapping[str, Any]) -> Written:
        """Changes names, place or end of the term of today, or of the next to come."""
        top = the_keeper(self._caller)
        data = await self._begin(name)
        terms = self._terms(data, name)
        today = self._caller.today
        found = [
            term
            for term in terms
            if term.code == code and (term.valid_to is None or term.valid_to > today)
        ]
        if not found:
            raise Problem(
                NOT_FOUND,
                Text(
                    "‘{code}’ is not in the list of {list}, or has ended; put it there again.",
                    code=code,
                    list=list_word(name),
                ),
            )
        term = found[0]
        if "valid_to" in values:
            self._refuse_end(name, term, values["valid_to"], found[1:])
        return await self._write(name, top, data, terms, [term._replace(**values)], None)

    async def _begin(self, name: str) -> ReferenceData:
        await queries.lock_vocabulary(self._connection)
        if name in MOVES_DUES:
            await queries.hold_writers(self._connection)
        return await read_reference_data(self._connection)

    def _terms(self, data: ReferenceData, name: str) -> list[Term]:
        edited = data.vocabulary.edited.get(name, {})
        base = [term for term in base_terms(self._settings, name) if term.code not in edited]
        return [*base, *(term for terms in edited.values() for term in terms)]

    def _refuse(self, name: str, new: Term, terms: Sequence[Term], vocabulary: Vocabulary) -> None:
        facts, today = LISTS[name], self._caller.today
        if not facts.open and new.code not in facts.base:
            raise Problem(
                INVALID,
                Text(
                    "‘{code}’ is not in the list of {list}, to which nothing can be added; it has"
                    " {codes}.",
                    code=new.code,
                    list=list_word(name),
                    codes=", ".join(facts.base),
                ),
            )
        if facts.valued and new.valid_from < today:
            raise Problem(
                INVALID,
                Text(
                    "A value changes from {day} at the earliest: what was due before stays as it"
                    " was.",
                    day=today,
                ),
            )
        if new.valid_to is not None and new.valid_to <= max(new.valid_from, today):
            raise Problem(
                INVALID,
                Text(
                    "valid_to is the first day on which a term holds no more: after valid_from, and"
                    " tomorrow at the earliest, since what was written today stays good."
                ),
            )
        duty = new.attributes.get("duty")
        first = max(new.valid_from, today)
        if duty is not None and not vocabulary.holds("duty", duty, first):
            duties = [
                code
                for code in vocabulary.labels("duty", first)
                if vocabulary.holds("duty", code, first)
            ]
            raise Problem(
                INVALID,
                Text(
                    "attributes: there is no duty ‘{duty}’ then; choose one of {duties}.",
                    duty=duty,
                    duties=", ".join(duties),
                ),
            )

    def _refuse_end(self, name: str, term: Term, ends: date | None, later: Sequence[Term]) -> None:
        if not LISTS[name].open:
            raise Problem(
                INVALID,
                Text(
                    "Nothing of the list of {list} ends: Gridloop decides by it. Put another name"
                    " or value from a day on.",
                    list=list_word(name),
                ),
            )
        if ends is not None and ends <= max(term.valid_from, self._caller.today):
            raise Problem(
                INVALID,
                Text("A term ends tomorrow at the earliest: what was written today stays good."),
            )
        if later and (ends is None or ends > later[0].valid_from):
            raise Problem(
                INVALID,
                Text(
                    "From {day} on another term holds for it; end it by then.",
                    day=later[0].valid_from,
                ),
            )

    async def _write(
        self,
        name: str,
        top: str,
        data: ReferenceData,
        terms: Sequence[Term],
        changed: Sequence[Term],
        new: Term | None,
    ) -> Written:
        """Writes terms; with the first edit of a list, all others of it, too: phones then have the
        whole list.
        """
        rows = {term.id: term for term in changed}
        if name not in data.vocabulary.edited:
            rows = {term.id: term for term in terms} | rows
        else:
            # Words of the code that came with a later release than the first edit.
            known = data.vocabulary.edited[name]
            rows = {term.id: term for term in terms if term.code not in known} | rows
        rev = await next_in_mailbox(self._connection, f"#{top}", len(rows))
        for place, term in enumerate(rows.values()):
            await queries.put_term(
                self._connection,
                term,
                f"#{top}",
                rev + place,
                self._caller.staff_code,
                self._caller.now,
            )
        moved = 0
        if name in MOVES_DUES and new is not None:
            raised = await queries.raised_since(self._connection, midnight(new.valid_from))
            moved = await due_times.recompute(self._connection, self._settings, raised)
        after = await read_reference_data(self._connection)
        code = changed[0].code
        return Written(list(after.vocabulary.edited[name][code]), moved)

    def next_position(self, data: ReferenceData, name: str) -> int:
        """The place behind all others of a list."""
        places = [term.position for term in self._terms(data, name)]
        return max(places, default=FIRST - STEP) + STEP

    # ---------------------------------------------------------------------------------- calendars

    def told_of(self, unit: str, year: int, days: Mapping[date, DayOff]) -> list[Text]:
        """What is odd in a list of days that is the official calendar of a year: too few days off,
        or none where every year has some.
        """
        if unit != topmost(self._caller.tree, self._caller.today):
            return []
        found = []
        off = [day for day, what in days.items() if not what.works and day.year == year]
        if len(off) < _FEWEST_OFF:
            text = Text(
                "The list names only {count} days off, and an official calendar has {fewest} at"
                " least. All days of {year} that it does not name are worked or off by the day of"
                " the week.",
                count=len(off),
                fewest=_FEWEST_OFF,
                year=year,
            )
            found.append(text)
        usual = [date(year, month, day) for month, day in _OFF_EVERY_YEAR]
        missing = [day.isoformat() for day in usual if day not in off]
        if missing:
            text = Text(
                "{days} are off in every year, and the list does not say so; does it have the whole"
                " year?",
                days=", ".join(missing),
            )
            found.append(text)
        return found

    async def put_year(self, unit: str, year: int, days: Mapping[date, DayOff] | None) -> int:
        """Puts a list of days in the place of the one that a unit has for a year, None: takes it
        away; returns how many problems are due at another time since.
        """
        if days is not None and unit == topmost(self._caller.tree, self._caller.today):
            self._refuse_calendar(days, year)
        await queries.lock_vocabulary(self._connection)
        await queries.hold_writers(self._connection)
        before = await self._worked(unit, year)
        await queries.replace_year(
            self._connection,
            unit,
            year,
            None if days is None else days.items(),
            self._caller.staff_code,
            self._caller.now,
        )
        after = await self._worked(unit, year)
        turned = [day for day, works in before.items() if after[day] != works]
        if not turned:
            return 0
        tree = self._caller.tree
        within = (
            tree.ranges(unit, self._caller.today)
            if tree.is_plain
            else (EVERYWHERE,)  # where a grid lay when a problem was raised, it may lie no more
        )
        problems = await queries.due_between(
            self._connection,
            within,
            midnight(turned[0]),
            midnight(turned[-1] + timedelta(days=1)),
        )
        return await due_times.recompute(self._connection, self._settings, problems)

    @staticmethod
    def _refuse_calendar(days: Mapping[date, DayOff], year: int) -> None:
        if all(what.works for what in days.values()):
            raise Problem(
                INVALID,
                Text(
                    "The calendar of {year} names no day off; the list is the whole official"
                    " calendar of the year.",
                    year=year,
                ),
            )

    async def _worked(self, unit: str, year: int) -> dict[date, bool]:
        """Whether each day of a year is worked in a unit, as the transaction has it."""
        data = await read_reference_data(self._connection)
        calendar = Rules(self._settings, self._caller.tree, data).calendar(unit, self._caller.today)
        first = date(year, 1, 1)
        some = (first + timedelta(days=n) for n in range(366))
        return {day: calendar.works(day) for day in some if day.year == year}


def begins(term: Term) -> date | None:
    """The first day of a term; None: always."""
    return None if term.valid_from == ALWAYS else term.valid_from
