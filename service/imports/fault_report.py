"""Writes all faults of an import into a file, one a line, as they are found: .csv or .xlsx."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import xlsxwriter

from service.imports.row_faults import Fault
from service.kit.localization import Language, in_language
from sync_protocol.texts import Text, restored

SUFFIXES = (".csv", ".xlsx")
HEADS = (
    *(Text("file"), Text("sheet"), Text("row"), Text("column"), Text("value")),
    *(Text("what is wrong"), Text("what to do")),
)
_WIDTHS = (24, 12, 8, 16, 24, 50, 60)
# A spreadsheet program takes a text that begins like this for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class FaultReport:
    """A file of faults, in constant memory. Personal values are masked in it."""

    def __init__(self, path: Path, language: Language) -> None:
        self._language = language
        self._row = 0
        self._book: Any = None
        self._text: IO[str] | None = None
        if path.suffix.lower() == ".xlsx":
            self._book = xlsxwriter.Workbook(
                path,
                {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False},
            )
            self._sheet = self._book.add_worksheet()
            self._sheet.freeze_panes(1, 0)
            for place, width in enumerate(_WIDTHS):
                self._sheet.set_column(place, place, width)
        else:
            # With the mark by which Excel knows UTF-8.
            self._text = path.open("w", encoding="utf-8-sig", newline="")
            self._lines = csv.writer(self._text)
        self._write([in_language(head, language) for head in HEADS])

    def add(self, fault: Fault) -> None:
        """Writes a fault."""
        said = [in_language(restored(kept), self._language) for kept in (fault.what, fault.todo)]
        row = str(fault.row) if fault.row else ""
        self._write([fault.file, fault.sheet, row, fault.column, fault.value, *said])

    def _write(self, texts: Sequence[str]) -> None:
        if self._book is None:
            self._lines.writerow("'" + t if t.startswith(_FORMULA) else t for t in texts)
            return
        for place, text in enumerate(texts):
            self._sheet.write_string(self._row, place, text)
        self._row += 1

    def close(self) -> None:
        """Finishes the file."""
        if self._text is not None:
            self._text.close()
        else:
            self._book.close()
