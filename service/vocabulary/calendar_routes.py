"""Working days: `/v1/calendar`."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.kit.database import retry_on_conflict
from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.localization import FOR_PROGRAMS, localized
from service.kit.state import state_of
from service.organisation.units import First, Last, years_text
from service.vocabulary import queries
from service.vocabulary.calendar_file import read_days
from service.vocabulary.changes import Changes, the_keeper, topmost
from service.vocabulary.days import DayOff, Source
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/calendar", tags=["calendar"])

_WRITING = documented(*READING, NOT_NOW)
_MOST_DAYS = 400
_TOLD = 20
Year = Annotated[int, Path(ge=periods.FIRST_YEAR, le=periods.LAST_YEAR, examples=[2027])]
OfUnit = Annotated[
    str | None,
    Query(
        pattern=r"^\d{1,15}$",
        description="The topmost unit if left out, whose list is the official calendar; of any"
        " other the local holidays",
        examples=["150221"],
    ),
]
Csv = Annotated[
    bytes,
    Body(
        # Of any type: generators of clients know no text/csv.
        media_type="application/octet-stream",
        max_length=512 * 1024,
        description="CSV (text/csv or no type at all): lines of day, 休 (off) or 班 (worked), name;"
        " UTF-8 with or without a mark, or GB18030",
        examples=["日期,安排,名称\n2027-02-05,休,春节\n"],
    ),
]


class CalendarDayItem(BaseModel):
    """A day: whether it is worked, what it is called (empty: nothing special), and by what:
    `uploaded` list, `local` holidays, the `official` calendar as the library knows it, `computed`
    holidays of a year that is not announced yet, or the day of the `week`.
    """

    day: date
    works: bool
    name: str
    source: Source


class ListItem(BaseModel):
    """A list that was uploaded for a unit and a year."""

    unit: str
    year: int
    uploaded_by: str
    uploaded_at: datetime


class CalendarOut(BaseModel):
    """The days of a unit, and the lists that hold for it. `provisional`: nobody has told the
    official calendar of one of the years yet.
    """

    unit: str
    provisional: bool
    days: list[CalendarDayItem]
    lists: list[ListItem]


class YearWritten(BaseModel):
    """What came of a list: how many days it names, how many of them are off, and how many problems
    are due at another time since; `warnings`: what is odd in it as the official calendar of a year.
    """

    unit: str
    year: int
    days: int
    off: int
    dues_changed: int
    warnings: list[str] = []


class CsvFault(BaseModel):
    """A line of the file that cannot be taken."""

    line: int
    value: str
    what: str


@router.get("", summary="Working days", operation_id="get_calendar", responses=documented(*READING))
async def calendar(
    request: Request,
    caller: Signed,
    unit: OfUnit = None,
    first: First = None,
    last: Last = None,
) -> CalendarOut:
    """For each day whether it is worked, why, and who says so; this week if no days are named, 400
    days at most.
    """
    state = state_of(request)
    asked = (day.year for day in (first, last) if day is not None)
    if any(not periods.FIRST_YEAR <= year <= periods.LAST_YEAR for year in asked):
        raise Problem(INVALID, years_text())
    begin = first or (last or caller.today - timedelta(days=caller.today.weekday()))
    end = last or begin + timedelta(days=0 if first is None and last else 6)
    if not (begin.year >= periods.FIRST_YEAR and end.year <= periods.LAST_YEAR):
        raise Problem(INVALID, years_text())
    if not begin <= end < begin + timedelta(days=_MOST_DAYS):
        raise Problem(
            INVALID,
            Text("from and to: give 1 to {max} days, the earlier one first.", max=_MOST_DAYS),
        )
    code = unit or topmost(caller.tree, caller.today)
    if code not in caller.tree.units:
        raise _no_unit(code)
    async with state.database.reading() as connection:
        data = await current_reference_data(connection)
        chain = [code, *caller.tree.above(code, caller.today)]
        lists = await queries.lists_of(connection, chain)
    found = Rules(state.settings, caller.tree, data).calendar(code, caller.today)
    days = [begin + timedelta(days=n) for n in range((end - begin).days + 1)]
    years = {*range(begin.year, end.year + 1)}
    return CalendarOut(
        unit=code,
        provisional=any(found.is_provisional(day) for day in days),
        days=[CalendarDayItem(day=day, **found.facts(day)._asdict()) for day in days],
        lists=[ListItem(**dict(row)) for row in lists if row["year"] in years],
    )


@router.put(
    "/{year}",
    summary="Upload the days of a year",
    operation_id="put_calendar_year",
    responses=_WRITING,
)
async def put_year(
    request: Request, caller: Signed, year: Year, body: Csv, unit: OfUnit = None
) -> YearWritten:
    """Puts the list in the place of the one before. That of the topmost unit is the whole official
    calendar: days that it does not name are worked or off by the day of the week. Due times of
    problems follow; `faults` of a 422 tells what is wrong in which line.
    """
    code = _administered(caller, unit)
    read = read_days(body, year)
    if read.faults:
        told = [
            CsvFault(line=line, value=value, what=localized(what, FOR_PROGRAMS)).model_dump()
            for line, value, what in read.faults[:_TOLD]
        ]
        line, value, what = read.faults[0]
        raise Problem(
            INVALID,
            Text(
                "Line {line}: ‘{value}’ {what}. {count} lines in all cannot be taken, and nothing"
                " was changed.",
                line=line,
                value=value,
                what=what,
                count=len(read.faults),
            ),
            faults=told,
        )
    return await _write(request, caller, code, year, "calendar-written", read.days)


@router.delete(
    "/{year}",
    summary="Take the list of a year away",
    operation_id="delete_calendar_year",
    responses=_WRITING,
)
async def delete_year(
    request: Request, caller: Signed, year: Year, unit: OfUnit = None
) -> YearWritten:
    """What the library knows holds again, or, for local holidays, the calendar above."""
    return await _write(
        request, caller, _administered(caller, unit), year, "calendar-removed", None
    )


def _no_unit(code: str) -> Problem:
    return Problem(NOT_FOUND, Text("There is no unit ‘{unit}’ that you administer.", unit=code))


def _administered(caller: Caller, unit: str | None) -> str:
    """The unit whose calendar is changed: the topmost, or one that the caller administers."""
    if unit is None or (unit in caller.tree.units and unit == topmost(caller.tree, caller.today)):
        return the_keeper(caller)
    if unit not in caller.tree.units or not caller.reaches(unit):
        raise _no_unit(unit)
    return unit


async def _write(
    request: Request,
    caller: Caller,
    unit: str,
    year: int,
    action: str,
    days: Mapping[date, DayOff] | None,
) -> YearWritten:
    state = state_of(request)

    async def once() -> YearWritten:
        async with state.database.unhurried.transaction() as connection:
            changes = Changes(connection, state.settings, caller)
            moved = await changes.put_year(unit, year, days)
            odd = [] if days is None else changes.told_of(unit, year, days)
            subjects = [unit, str(year)]
            await note(connection, request, caller, action, subjects, len(days or ()))
            if moved:
                await note(connection, request, caller, "dues-recomputed", subjects, moved)
        off = sum(not what.works for what in (days or {}).values())
        return YearWritten(
            unit=unit,
            year=year,
            days=len(days or ()),
            off=off,
            dues_changed=moved,
            warnings=[localized(text, FOR_PROGRAMS) for text in odd],
        )

    return await retry_on_conflict(once)
