"""A ledger 台账 as officials file it: title with unit and period, header row, numbered rows, total
row, signature line; ready to print.

Rows are written one after another in constant memory, however many there are. Text is written as
text: nothing that anybody wrote can become a formula.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import xlsxwriter

from sync_protocol.periods import SHANGHAI

Format = Literal["text", "whole", "number", "percent", "day", "moment"]
SIGNATURE = (
    "填表人：＿＿＿＿＿＿　　审核人：＿＿＿＿＿＿　　负责人：＿＿＿＿＿＿　　"
    "日期：＿＿＿＿年＿＿月＿＿日"
)
MAX_ROWS = 1_048_576 - 10  # of one sheet, less title, header, total and signature
_MAX_TEXT = 32_767  # of one cell
_NUMBER_FORMATS: dict[str, str] = {
    "whole": "#,##0",
    "number": "#,##0.0",
    "percent": "0.0%",
    "day": "yyyy-mm-dd",
    "moment": "yyyy-mm-dd hh:mm",
}


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


class Sheet:
    """Writes one ledger to a file: `write` rows as often as you like, then `close`."""

    def __init__(self, path: Path, title: str, columns: Sequence[Column]) -> None:
        self._columns = [Column("序号", 6, "whole"), *columns]
        self._book = xlsxwriter.Workbook(
            path, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        )
        self._sheet = self._book.add_worksheet("台账")
        border = {"border": 1, "valign": "vcenter"}
        self._formats = {
            name: self._book.add_format(
                {**border, "text_wrap": name == "text", **({"num_format": form} if form else {})}
            )
            for name, form in {"text": None, **_NUMBER_FORMATS}.items()
        }
        self._bold = {
            name: self._book.add_format(
                {**border, "bold": True, **({"num_format": form} if form else {})}
            )
            for name, form in {"text": None, **_NUMBER_FORMATS}.items()
        }
        self._sums = [0.0] * len(self._columns)
        self._count = 0
        self._begin(title)

    def _begin(self, title: str) -> None:
        sheet, last = self._sheet, len(self._columns) - 1
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
        heading = self._book.add_format(
            {"bold": True, "font_size": 16, "align": "center", "valign": "vcenter"}
        )
        sheet.merge_range(0, 0, 0, last, title, heading)
        centred = {"border": 1, "align": "center", "valign": "vcenter", "text_wrap": True}
        header = self._book.add_format({**centred, "bold": True, "bg_color": "#E7EEF7"})
        for index, column in enumerate(self._columns):
            sheet.write_string(1, index, column.title, header)

    @property
    def full(self) -> bool:
        """Whether no further row fits a sheet."""
        return self._count >= MAX_ROWS

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows, each without its number."""
        for row in rows:
            if self.full:
                return
            self._count += 1
            for index, (column, value) in enumerate(
                zip(self._columns, (self._count, *row), strict=True)
            ):
                self._cell(self._count + 1, index, column, value, self._formats)
                if column.total and value is not None:
                    self._sums[index] += value

    def _cell(
        self, place: int, index: int, column: Column, value: Any, formats: dict[str, Any]
    ) -> None:
        form = formats[column.format]
        if value is None:
            self._sheet.write_blank(place, index, None, form)
        elif isinstance(value, datetime):
            self._sheet.write_datetime(
                place, index, value.astimezone(SHANGHAI).replace(tzinfo=None, microsecond=0), form
            )
        elif isinstance(value, date):
            day = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a day has no zone
            self._sheet.write_datetime(place, index, day, form)
        elif column.format == "text":
            self._sheet.write_string(place, index, _fit(str(value)), form)
        else:
            self._sheet.write_number(place, index, value, form)

    def close(self, totals: Sequence[Any] | None = None) -> None:
        """Writes the total row, by the sums or as given (without the number), and the signature
        line, and finishes the file.
        """
        place = self._count + 2
        given = totals or [
            total if column.total else None
            for column, total in zip(self._columns[1:], self._sums[1:], strict=True)
        ]
        self._sheet.write_string(place, 0, "合计", self._bold["text"])
        for index, (column, value) in enumerate(zip(self._columns[1:], given, strict=True), 1):
            self._cell(place, index, column, value, self._bold)
        self._sheet.write_string(place + 2, 0, SIGNATURE)
        self._book.close()


def _fit(text: str) -> str:
    """A text as a cell can hold it: no control characters, not longer than a cell."""
    return "".join(char for char in text if char >= " " or char in "\n\t")[:_MAX_TEXT]
