"""A list of days as a file: CSV from a notice of the State Council, or of a banner. Pure.

A line names a day, or a run of days, whether it is worked or off, and what it is called:
`2027-02-05,休,春节`, `2027年2月5日至11日,放假,春节`, `2027/2/20,班,春节调休`. A first line with
headers may put the columns into another order.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from service.kit.text_files import decoded, delimiter_of
from service.vocabulary.days import DayOff
from sync_protocol.fields import shortened
from sync_protocol.texts import Text

MAX_LINES = 800
_LONGEST_NAME = 60
_DAY = r"(?:(\d{4})[-/.年])?(\d{1,2})[-/.月](\d{1,2})日?"
_FORMS = (
    re.compile(rf"{_DAY}(?:\s*(?:至|到|~|–|—|\.\.|-)\s*(?:{_DAY}|(\d{{1,2}})日?))?"),
    re.compile(r"(\d{4})(\d{2})(\d{2})"),
)
_OFF = frozenset(
    [
        "休",
        "休息",
        "放假",
        "休假",
        "假",
        "假日",
        "假期",
        "节假日",
        "off",
        "holiday",
        "rest",
        "no",
        "false",
        "0",
        "否",
    ]
)
_WORKED = frozenset(
    [
        "班",
        "上班",
        "补班",
        "调休",
        "调休上班",
        "工作日",
        "work",
        "worked",
        "workday",
        "yes",
        "true",
        "1",
        "是",
    ]
)
_HEADERS = {
    "day": frozenset(
        ["日期", "日子", "开始", "开始日期", "起始日期", "date", "day", "from", "start"]
    ),
    "last": frozenset(
        ["结束", "结束日期", "截止", "截止日期", "终止日期", "to", "until", "end", "last"]
    ),
    "works": frozenset(
        ["安排", "类型", "类别", "休班", "上班", "是否上班", "works", "work", "kind", "type"]
    ),
    "name": frozenset(["名称", "节日", "说明", "备注", "事由", "name", "holiday", "note"]),
}
_COLUMNS = "日期, 结束日期, 安排, 名称 (date, end, works, name)"
_IN_ORDER = {"day": 0, "works": 1, "name": 2}


class LineFault(NamedTuple):
    """What is wrong with a line of a file (counted from 1), and what to do."""

    line: int
    value: str
    what: Text


class _Wrong(Exception):
    """What is wrong with a value of a line."""

    def __init__(self, value: str, what: Text) -> None:
        super().__init__(value)
        self.value = value
        self.what = what


class DaysRead(NamedTuple):
    """The days of a file in order, or its faults."""

    days: dict[date, DayOff]
    faults: list[LineFault]


def read_days(content: bytes, year: int) -> DaysRead:
    """Reads the days of a year; every line that cannot be taken is told."""
    text = decoded(content)
    if text is None:
        what = Text("is neither UTF-8 nor GB18030; save the file as CSV UTF-8")
        return DaysRead({}, [LineFault(1, "", what)])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    places: dict[str, int] = dict(_IN_ORDER)
    first = True
    days: dict[date, DayOff] = {}
    lines: dict[date, int] = {}
    faults: list[LineFault] = []
    try:
        for raw in rows:
            cells = [unicodedata.normalize("NFKC", cell).strip(" \t\r\n\ufeff") for cell in raw]
            line = rows.line_num
            if not any(cells) or cells[0].startswith("#"):
                continue
            if line > MAX_LINES:
                what = Text("is beyond the {max} lines that a list may have", max=MAX_LINES)
                faults.append(LineFault(line, "", what))
                break
            if first and (found := _headers(cells)) is not None:
                places, first = found, False
                unknown = [cell for n, cell in enumerate(cells) if cell and n not in found.values()]
                if unknown:
                    what = Text("is no column of a calendar; use {columns}", columns=_COLUMNS)
                    faults.append(LineFault(line, shortened(", ".join(unknown)), what))
                continue
            if any("\n" in cell for cell in cells):
                what = Text("goes on over several lines; close its quotes")
                faults.append(LineFault(line, shortened(" ".join(cells)), what))
                continue
            first = False
            try:
                some, what_day = _line(cells, places, year)
                for day in some:
                    if day in days and days[day].works != what_day.works:
                        text_ = Text(
                            "says the other of line {line}; leave one of them out",
                            line=lines[day],
                        )
                        raise _Wrong(day.isoformat(), text_)
                    days.setdefault(day, what_day)
                    lines.setdefault(day, line)
            except _Wrong as wrong:
                faults.append(LineFault(line, shortened(wrong.value), wrong.what))
    except csv.Error:
        what = Text("cannot be read as CSV; save the file as CSV UTF-8")
        faults.append(LineFault(rows.line_num, "", what))
    if not days and not faults:
        faults.append(LineFault(1, "", Text("names no day; a line is like 2027-02-05,休,春节")))
    return DaysRead(dict(sorted(days.items())), faults)


def _headers(cells: Sequence[str]) -> dict[str, int] | None:
    """The places of the columns by the first line; None if that is no headers."""
    found = {
        name: place
        for place, cell in enumerate(cells)
        for name, known in _HEADERS.items()
        if cell.lower() in known
    }
    return found if "day" in found else None


def _line(cells: Sequence[str], places: dict[str, int], year: int) -> tuple[list[date], DayOff]:
    def cell(name: str) -> str:
        place = places.get(name)
        return cells[place] if place is not None and place < len(cells) else ""

    first, last = _days(cell("day"), year)
    if cell("last"):
        _, last = _days(cell("last"), year)
    if last < first:
        what = Text("ends before it begins; write the earlier day first")
        raise _Wrong(f"{first}–{last}", what)
    word = cell("works").lower()
    if word not in _OFF and word not in _WORKED:
        raise _Wrong(cell("works"), Text("says neither 休 (off) nor 班 (worked)"))
    name = cell("name")
    if len(name) > _LONGEST_NAME or "\0" in name:
        raise _Wrong(name, Text("is too long for a name; {max} characters fit", max=_LONGEST_NAME))
    count = (last - first).days + 1
    return [first + timedelta(days=n) for n in range(count)], DayOff(word in _WORKED, name)


def _days(text: str, year: int) -> tuple[date, date]:
    """The first and the last day that a cell names."""
    compact = _FORMS[1].fullmatch(text)
    if compact is not None:
        day = _day(text, compact[1], compact[2], compact[3], year)
        return day, day
    found = _FORMS[0].fullmatch(text)
    if found is None:
        raise _Wrong(text, Text("is no day; write it like 2027-02-05 or 2月5日"))
    first = _day(text, found[1], found[2], found[3], year)
    if found[7] is not None:
        return first, _day(text, None, found[2], found[7], year)
    if found[5] is not None:
        return first, _day(text, found[4], found[5], found[6], year)
    return first, first


def _day(text: str, its_year: str | None, month: str, day: str, year: int) -> date:
    if its_year is not None and int(its_year) != year:
        raise _Wrong(text, Text("is no day of {year}; a list is of one year", year=year))
    try:
        return date(year, int(month), int(day))
    except ValueError:
        raise _Wrong(text, Text("is a day that {year} does not have", year=year)) from None
