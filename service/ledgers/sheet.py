"""A ledger 台账 as officials file it: title with unit and period, header row, numbered rows, total
row, signature line; ready to print. Rows beyond one sheet go on in a further one.

Rows are written one after another in constant memory, however many there are. Text is written as
text: nothing that anybody wrote can become a formula. What is not rows (styles, the set-up of the
page) is made by a library; the rows are written into its sheets here, which takes a tenth of the
time.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

import xlsxwriter

from sync_protocol.periods import SHANGHAI

Format = Literal["text", "whole", "number", "percent", "day", "moment"]
SIGNATURE = (
    "填表人：＿＿＿＿＿＿　　审核人：＿＿＿＿＿＿　　负责人：＿＿＿＿＿＿　　"
    "日期：＿＿＿＿年＿＿月＿＿日"
)
MAX_ROWS = 1_048_576 - 10  # of one sheet, less title, header, total and signature
_MAX_TEXT = 32_767  # of one cell
_NUMBER_FORMATS: dict[str, str | None] = {
    "text": None,
    "whole": "#,##0",
    "number": "#,##0.0",
    "percent": "0.0%",
    "day": "yyyy-mm-dd",
    "moment": "yyyy-mm-dd hh:mm",
}
_SPECIAL = re.compile("[&<>\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff\ud800-\udfff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Days are counted from this one.
_DAY_0 = date(1899, 12, 30)
_EPOCH_DAY = 25_569
_SHANGHAI_S = SHANGHAI.utcoffset(None).total_seconds()
_SHEET = "xl/worksheets/sheet{}.xml"
_ROW = re.compile(rb"<row .*?</row>", re.DOTALL)
_STYLE = re.compile(rb'<c [^>]*?s="(\d+)"')


class Column(NamedTuple):
    """A column of a ledger; `width` in characters; `total`: summed in the total row."""

    title: str
    width: int
    format: Format = "text"
    total: bool = False


class LedgerSheet(Protocol):
    """What a ledger is written to: `write` rows as often as you like, then `close`."""

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows, each without its number."""

    def close(self, totals: Sequence[Any] | None = None) -> None:
        """Writes the total row, by the sums or as given (without the number), and ends."""


# Begins a sheet with its title and columns.
Begin = Callable[[str, Sequence[Column]], LedgerSheet]


class _Frame(NamedTuple):
    """What stands before and behind the rows of a sheet, and the styles of the cells of a row and
    of the total row.
    """

    before: bytes
    behind: bytes
    styles: list[int]
    bold: list[int]


class Sheet:
    """Writes one ledger to a file: `write` rows as often as you like, then `close`."""

    def __init__(
        self, path: Path, title: str, columns: Sequence[Column], max_rows: int = MAX_ROWS
    ) -> None:
        self._columns = [Column("序号", 6, "whole"), *columns]
        self._title = title
        self._max_rows = max_rows
        self._sums = [0.0] * len(self._columns)
        self._count = 0
        self._in_sheet = 0
        self._sheets = 0
        self._file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._entry: IO[bytes] | None = None
        self._frame = _Frame(b"", b"", [], [])
        self._cells: list[Callable[[int, Any], str]] = []
        self._next_sheet()

    def _next_sheet(self) -> None:
        if self._entry is not None:
            self._entry.write(self._frame.behind)
            self._entry.close()
        self._sheets += 1
        self._in_sheet = 0
        name = _SHEET.format(self._sheets)
        with zipfile.ZipFile(io.BytesIO(self._skeleton(min(self._sheets, 2)))) as skeleton:
            self._frame = _frame(skeleton.read(_SHEET.format(min(self._sheets, 2))))
        self._cells = [
            _cell(_letters(index), column.format, style)
            for index, (column, style) in enumerate(
                zip(self._columns, self._frame.styles, strict=True)
            )
        ]
        self._entry = self._file.open(name, "w", force_zip64=True)
        self._entry.write(self._frame.before)

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows, each without its number."""
        summed = [index for index, column in enumerate(self._columns) if column.total]
        lines: list[str] = []
        for row in rows:
            if self._in_sheet >= self._max_rows:
                self._put(lines)
                lines = []
                self._next_sheet()
            self._count += 1
            self._in_sheet += 1
            place = self._in_sheet + 2
            cells = "".join(
                [
                    make(place, value)
                    for make, value in zip(self._cells, (self._count, *row), strict=True)
                ]
            )
            lines.append(f'<row r="{place}">{cells}</row>')
            for index in summed:
                value = row[index - 1]
                if value is not None:
                    self._sums[index] += value
        self._put(lines)

    def _put(self, lines: Sequence[str]) -> None:
        assert self._entry is not None
        self._entry.write("".join(lines).encode())

    def close(self, totals: Sequence[Any] | None = None) -> None:
        """Writes the total row, by the sums or as given (without the number), and the signature
        line, and finishes the file.
        """
        given = totals or [
            total if column.total else None
            for column, total in zip(self._columns[1:], self._sums[1:], strict=True)
        ]
        place = self._in_sheet + 3
        formats: list[Format] = ["text", *(column.format for column in self._columns[1:])]
        cells = [
            _cell(_letters(index), form, style)(place, value)
            for index, (form, style, value) in enumerate(
                zip(formats, self._frame.bold, ("合计", *given), strict=True)
            )
        ]
        signature = _cell("A", "text", 0)(place + 2, SIGNATURE)
        self._put(
            [
                f'<row r="{place}">{"".join(cells)}</row>',
                f'<row r="{place + 2}">{signature}</row>',
            ]
        )
        assert self._entry is not None
        self._entry.write(self._frame.behind)
        self._entry.close()
        with zipfile.ZipFile(io.BytesIO(self._skeleton(self._sheets))) as skeleton:
            for name in skeleton.namelist():
                if not name.startswith("xl/worksheets/sheet"):
                    self._file.writestr(name, skeleton.read(name))
        self._file.close()

    def _skeleton(self, sheets: int) -> bytes:
        """A workbook with so many sheets that have a title, a header, and a row of each style."""
        made = io.BytesIO()
        book = xlsxwriter.Workbook(made, {"in_memory": True})
        border = {"border": 1, "valign": "vcenter"}
        plain, bold = (
            {
                name: book.add_format(
                    {**border, **more, **({"num_format": form} if form else {}),
                     "text_wrap": name == "text" and not more}
                )
                for name, form in _NUMBER_FORMATS.items()
            }
            for more in ({}, {"bold": True})
        )  # fmt: skip
        heading = book.add_format(
            {"bold": True, "font_size": 16, "align": "center", "valign": "vcenter"}
        )
        centred = {"border": 1, "align": "center", "valign": "vcenter", "text_wrap": True}
        header = book.add_format({**centred, "bold": True, "bg_color": "#E7EEF7"})
        for number in range(1, sheets + 1):
            sheet = book.add_worksheet("台账" if number == 1 else f"台账{number}")
            sheet.set_landscape()
            sheet.set_paper(9)  # A4
            sheet.set_margins(left=0.5, right=0.5, top=0.6, bottom=0.6)
            sheet.fit_to_pages(1, 0)
            sheet.repeat_rows(0, 1)
            sheet.freeze_panes(2, 0)
            sheet.set_footer("&C第 &P 页，共 &N 页")
            for index, column in enumerate(self._columns):
                sheet.set_column(index, index, column.width)
            sheet.set_row(0, 28)
            # Shared texts belong to the skeleton, so the title and the header are among them.
            sheet.merge_range(0, 0, 0, len(self._columns) - 1, self._title, heading)
            for index, column in enumerate(self._columns):
                sheet.write_string(1, index, column.title, header)
                sheet.write_blank(2, index, None, plain[column.format])
                sheet.write_blank(3, index, None, bold["text" if index == 0 else column.format])
        book.close()
        return made.getvalue()


def _frame(xml: bytes) -> _Frame:
    """Takes the sheet of a skeleton apart: the rows that show the styles go."""
    rows = list(_ROW.finditer(xml))
    _, header, plain, bold = rows
    # Whatever reads it finds the size by the rows.
    before = re.sub(rb"<dimension [^>]*/>", b"", xml[: header.end()])
    styles, heavy = ([int(style) for style in _STYLE.findall(row[0])] for row in (plain, bold))
    return _Frame(before, xml[bold.end() :], styles, heavy)


def _letters(index: int) -> str:
    """The letters of a column: A, B … Z, AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _cell(letters: str, form: Format, style: int) -> Callable[[int, Any], str]:
    """What writes a cell of a column: of a row by its place, and a value."""

    def text(place: int, value: Any) -> str:
        if value is None:
            return f'<c r="{letters}{place}" s="{style}"/>'
        shown = fit(value if type(value) is str else str(value))
        return (
            f'<c r="{letters}{place}" s="{style}" t="inlineStr">'
            f'<is><t xml:space="preserve">{shown}</t></is></c>'
        )

    def number(place: int, value: Any) -> str:
        if value is None:
            return f'<c r="{letters}{place}" s="{style}"/>'
        if isinstance(value, datetime):
            value = (value.timestamp() // 1 + _SHANGHAI_S) / 86_400 + _EPOCH_DAY
        elif isinstance(value, date):
            value = (value - _DAY_0).days
        return f'<c r="{letters}{place}" s="{style}"><v>{value:.15g}</v></c>'

    return text if form == "text" else number


def fit(text: str) -> str:
    """A text as a cell can hold it: no control characters, not longer than a cell."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT]
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found[0], ""), text)
