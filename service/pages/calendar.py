"""Which days are worked: `/admin/calendar`, a year of a unit, and the list that is taken in."""

from datetime import date
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import Response

from service.kit.errors import INVALID, NOT_FOUND, NOT_NOW, TOO_LARGE, Problem
from service.pages.areas import areas
from service.pages.dates import moment_name, month_name
from service.pages.names import names_of
from service.pages.page import Posted, Signed, Visit, pages_router
from service.pages.units import path_to
from service.pages.vocabulary import may_keep
from service.vocabulary import calendar_routes as calendar
from service.vocabulary.calendar_routes import CalendarDayItem, YearWritten
from service.vocabulary.changes import topmost
from sync_protocol.periods import FIRST_YEAR, LAST_YEAR
from sync_protocol.texts import Text, Word

router: APIRouter = pages_router()

SOURCES: dict[str, Text] = {
    "uploaded": Text("by the list that was taken in"),
    "local": Text("a local holiday"),
    "official": Text("by the official calendar"),
    "computed": Text("computed; the official calendar is not out yet"),
    "week": Text("by the day of the week"),
}
_WEEKDAYS = (
    *(Word("Mon", "一"), Word("Tue", "二"), Word("Wed", "三"), Word("Thu", "四")),
    *(Word("Fri", "五"), Word("Sat", "六"), Word("Sun", "日")),
)
_MAX_BYTES = 512 * 1024
UnitCode = Annotated[str, Query(max_length=15, pattern=r"^\d*$")]
FormUnit = Annotated[str, Form(max_length=15, pattern=r"^\d*$")]
FormYear = Annotated[int, Form(ge=FIRST_YEAR, le=LAST_YEAR)]


class Month(NamedTuple):
    """A month as rows of weeks; None where a week begins or ends in another month."""

    name: Word
    weeks: list[list[CalendarDayItem | None]]


@router.get("/admin/calendar", operation_id="calendar_page")
async def calendar_page(
    visit: Signed, unit: UnitCode = "", year: Annotated[str, Query(pattern=r"^(\d{4})?$")] = ""
) -> Response:
    """The days of a year, month by month."""
    return await _page(visit, unit, int(year) if year else visit.caller.today.year)


async def _page(visit: Visit, unit: str, year: int, **told: Any) -> Response:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        year = visit.caller.today.year
    first, last = date(year, 1, 1), date(year, 12, 31)
    caller = visit.to("get_calendar")
    found = await calendar.calendar(visit.request, caller, unit or None, first, last)
    top = topmost(caller.tree, caller.today)
    keeps = (
        may_keep(visit, "put_calendar_year")
        if found.unit == top
        else visit.may_at("put_calendar_year", found.unit)
    )
    names = await names_of(
        visit, [one.unit for one in found.lists], [one.uploaded_by for one in found.lists]
    )
    values: dict[str, Any] = {"came": None, "faults": (), "message": None, "deleted": False} | told
    return visit.page(
        "admin_calendar.html",
        areas=areas(visit),
        unit=found.unit,
        path_up=await path_to(visit, found.unit) if visit.may_at("get_unit", found.unit) else [],
        is_top=found.unit == top,
        year=year,
        before=year - 1 if year > FIRST_YEAR else None,
        after=year + 1 if year < LAST_YEAR else None,
        months=_months(found.days),
        weekdays=_WEEKDAYS,
        special=[day for day in found.days if day.name or day.works != (day.day.weekday() < 5)],
        worked=sum(day.works for day in found.days),
        lists=[(one, names, moment_name(one.uploaded_at)) for one in found.lists],
        own=any(one.unit == found.unit for one in found.lists),
        provisional=found.provisional,
        sources=SOURCES,
        example=f"{year}-02-05,休,春节",
        may_write=keeps,
        today=visit.caller.today,
        **values,
    )


def _months(days: list[CalendarDayItem]) -> list[Month]:
    months = []
    for number in range(1, 13):
        own = [day for day in days if day.day.month == number]
        cells: list[CalendarDayItem | None] = [None] * own[0].day.weekday()
        cells += own
        cells += [None] * (-len(cells) % 7)
        weeks = [cells[place : place + 7] for place in range(0, len(cells), 7)]
        months.append(Month(month_name(own[0].day), weeks))
    return months


@router.post("/admin/calendar", operation_id="calendar_on_page")
async def put_year(
    visit: Posted,
    year: FormYear,
    file: Annotated[UploadFile, File()],
    unit: FormUnit = "",
) -> Response:
    """Takes the list of a year in, in the place of the one before."""
    content = await file.read(_MAX_BYTES + 1)
    try:
        if len(content) > _MAX_BYTES:
            raise Problem(TOO_LARGE, Text("The file is larger than {max} bytes.", max=_MAX_BYTES))
        came = await calendar.put_year(visit.request, visit.caller, year, content, unit or None)
    except Problem as problem:
        return await _refused(visit, unit, year, problem)
    return await _page(visit, unit, year, came=came)


async def _refused(visit: Visit, unit: str, year: int, problem: Problem) -> Response:
    if problem.type not in (INVALID, NOT_FOUND, NOT_NOW, TOO_LARGE):
        raise problem
    shown = await _page(
        visit, unit, year, message=problem.detail, faults=problem.members.get("faults", ())
    )
    shown.status_code = problem.type.status
    return shown


@router.post("/admin/calendar/delete", operation_id="delete_calendar_on_page")
async def delete_year(visit: Posted, year: FormYear, unit: FormUnit = "") -> Response:
    """Takes the list of a year away."""
    try:
        came: YearWritten = await calendar.delete_year(
            visit.request, visit.caller, year, unit or None
        )
    except Problem as problem:
        return await _refused(visit, unit, year, problem)
    return await _page(visit, unit, year, came=came, deleted=True)
