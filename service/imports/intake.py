"""Takes files in: finds their sheets and headers, cleans their cells, and spools their rows."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from service.imports import keys
from service.imports.cells import CLEARS, Wrong, is_masked, text_in
from service.imports.columns import SHEETS
from service.imports.layouts import EXAMPLE, Layout, layout_of, sheet_called
from service.imports.pace import Pace
from service.imports.row_faults import Faults, Where
from service.imports.row_file import Row, Spool
from service.imports.sheet_files import Cell, FileUnreadable, Part, RowRead, SheetBegins
from service.imports.sheets import Clean, Column
from service.imports.words import Words
from sync_protocol.texts import Word, stored

# Rows above the headers: a title, the unit, the day.
_HEADER_WITHIN = 10
_PIECE = 10  # rows between two turns of others
_REMEMBERED = 500  # cells of a column
# The columns of people.
_NAMING = ("staff_code", "contact_member", "lead_member")
_MASKABLE = frozenset({"phone", "address"})
# What was lost before it could be read: no text to compare with what is here.
_UNREAD = frozenset({"value-missing", "number-rounded", "text-long"})
Progress = Callable[[str, int, int], None]


class Told(msgspec.Struct):
    """What is told of a sheet: which of ours it is, how many rows it has, and which of its columns
    are not known and were passed over. `sheet` is empty for one that is none of ours.
    """

    file: str
    title: str
    sheet: str
    rows: int = 0
    ignored: list[str] = []
    examples: int = 0


class _Place(NamedTuple):
    """A column of a sheet: where its cells stand in a row, what reads them, and what it is called
    there. `read`: what the cells of late meant, for many say the same: their values, and their
    texts where those are written otherwise.
    """

    column: Column
    at: int
    clean: Clean
    title: str
    read: dict[Cell, tuple[Any, str | None]]


class _Reading:
    """A sheet that is being read."""

    def __init__(self, where: Where, called: str | None, hidden: bool) -> None:
        self.where = where
        self.called = called
        self.hidden = hidden
        self.layout: Layout | None = None
        self.places: Sequence[_Place] = ()
        self.looked_at = 0
        self.last_row = 0
        self.told = Told(where.file, where.sheet, "")


class Intake:
    """Takes in the files of an import, one after another."""

    def __init__(self, spool: Spool, faults: Faults, max_rows: int, words: Words) -> None:
        self._spool = spool
        self._words = words
        self._faults = faults
        self._left = max_rows
        self._max_rows = max_rows
        self.told: list[Told] = []
        # People that rows name, so that they can be asked for together.
        self.named: set[str] = set()
        # Whether a household's row does not say where it belongs: then nobody knows who is missing.
        self.lost_rows = False
        # What the columns of each sheet are called there.
        self.titles: dict[tuple[str, str], dict[str, str]] = {}

    def finish(self) -> None:
        """All files are taken in."""
        self._spool.finish()

    async def take(self, file: str, parts: AsyncIterator[Sequence[Part]], pace: Pace) -> None:
        """Takes in a file."""
        reading: _Reading | None = None
        found = 0
        async for some in parts:
            for place, part in enumerate(some):
                if place % _PIECE == 0:
                    await pace.breathe()
                match part:
                    case SheetBegins():
                        found += self._end(reading)
                        called = sheet_called(part.name or file)
                        reading = _Reading(Where(file, part.name), called, part.hidden)
                    case RowRead() if reading is not None:
                        self._row(reading, part)
                    case FileUnreadable():
                        self._faults.add(Where(file, ""), part.why)
                        found += 1
        found += self._end(reading)
        if not found:
            self._faults.add(Where(file, ""), "file-empty")

    def _end(self, reading: _Reading | None) -> int:
        """A sheet has ended; whether it was one of ours, or should have been."""
        if reading is None or reading.hidden:
            return 0
        self.told.append(reading.told)
        if reading.layout is None and reading.called is not None and reading.looked_at > 1:
            self._faults.add(reading.where, "sheet-without-headers")
            return 1
        return reading.layout is not None

    def _row(self, reading: _Reading, row: RowRead) -> None:
        if reading.hidden:
            return
        if reading.layout is None:
            if reading.looked_at < _HEADER_WITHIN:
                reading.looked_at += 1
                self._headers(reading, row)
            return
        if reading.layout.missing:
            return
        if _first_text(row.cells).startswith(EXAMPLE):
            reading.told.examples += 1
            return
        if self._left <= 0:
            if self._left == 0:
                where = reading.where._replace(row=row.number)
                self._faults.add(where, "rows-too-many", max=self._max_rows)
                self._left = -1
            return
        self._left -= 1
        reading.told.rows += 1
        self._take_row(reading, reading.layout, row)

    def _headers(self, reading: _Reading, row: RowRead) -> None:
        layout = layout_of(row.cells, reading.called)
        if layout is None:
            return
        reading.layout = layout
        columns = SHEETS[layout.sheet].by_name
        reading.places = [
            _Place(columns[name], place, self._words.clean(columns[name]), layout.titles[place], {})
            for name, place in layout.columns.items()
        ]
        reading.told.sheet = layout.sheet
        self.titles[reading.where.file, reading.where.sheet] = {
            name: layout.titles[place] for name, place in layout.columns.items()
        }
        reading.told.ignored = [*layout.ignored]
        where = reading.where._replace(row=row.number)
        for title in layout.twice:
            self._faults.add(where, "column-twice", title, header=title)
        for column in layout.missing:
            header = Word(column.header.en, column.header.zh)
            self._faults.add(where, "column-missing", column.header.zh, header=header)

    def _take_row(self, reading: _Reading, layout: Layout, read: RowRead) -> None:
        where = Where(reading.where.file, reading.where.sheet, read.number)
        row = Row(where.file, where.sheet, where.row, {})
        values, cells = row.values, read.cells
        count = len(cells)
        for place in reading.places:
            cell: Cell = cells[place.at] if place.at < count else None
            # Of other types `True` and `1` would be found in the same place.
            known = place.read.get(cell) if type(cell) is str or type(cell) is float else None
            if known is not None:
                values[place.column.name], given = known
                if given is not None:
                    row.given[place.column.name] = given
            elif place.column.required or (cell is not None and cell != ""):
                self._take_cell(row, where, place, cell)
        for name in _NAMING:
            if values.get(name):
                self.named.add(values[name])
        grid = values.get("grid", "")
        number = own = None
        if layout.sheet == "households":
            self.lost_rows = self.lost_rows or not grid
            if values.get("household_no"):
                number = keys.of_number(values["household_no"]).digest
            if values.get("id"):
                own = keys.of_id(values["id"]).digest
        self._spool.add(layout.sheet, row, grid, number, own)

    def _take_cell(self, row: Row, where: Where, place: _Place, cell: Cell) -> None:
        column = place.column
        text = ""
        try:
            text = text_in(cell)
            if not text or text in CLEARS:
                if column.required:
                    raise Wrong("value-missing")
                if text:
                    row.values[column.name] = None
                return
            if column.name in _MASKABLE and is_masked(text):
                row.masked[column.name] = text
                return
            value = row.values[column.name] = place.clean(text)
            given = None
            if value != text:
                given = row.given[column.name] = text
            if type(cell) is str or type(cell) is float:
                if len(place.read) >= _REMEMBERED:
                    place.read.clear()
                place.read[cell] = value, given
        except Wrong as wrong:
            if column.is_free and text and wrong.kind not in _UNREAD:
                row.values[column.name] = text
                params = {name: stored(value) for name, value in wrong.params.items()}
                row.wrong[column.name] = (wrong.kind, params)
                return
            row.bad = True
            self._faults.wrong(where, column, text, wrong, place.title)


def _first_text(cells: Sequence[Cell]) -> str:
    for cell in cells:
        if cell and (text := str(cell).strip()):
            return text
    return ""
