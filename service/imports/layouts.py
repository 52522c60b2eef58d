"""Which column of a file is which: found by the names in its header row."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.imports.columns import SHEETS
from service.imports.sheets import Column, Sheet
from sync_protocol.vocabulary import Label

# A row whose first cell begins like this is an example of the template.
EXAMPLE = ("例：", "例:", "e.g.")


def folded(text: str) -> str:
    """A header or a sheet's name for comparing: without white space, brackets and the like."""
    text = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[（(【\[].*?[)）】\]]|[\s*_\-:：、.]", "", text)


def _names(header: Label, name: str, also: Sequence[str]) -> set[str]:
    return {folded(text) for text in (header.zh, header.en, name, *also)}


def _by_header(sheet: Sheet) -> dict[str, str]:
    found: dict[str, str] = {}
    # What a column is called first of all counts before what else another may be called.
    for column in sheet.columns:
        for text in (column.header.zh, column.header.en, column.name):
            found[folded(text)] = column.name
    for column in sheet.columns:
        for text in column.also:
            found.setdefault(folded(text), column.name)
    return found


HEADERS = {name: _by_header(sheet) for name, sheet in SHEETS.items()}
_SHEET_NAMES = {
    text: sheet.name
    for sheet in SHEETS.values()
    for text in _names(sheet.title, sheet.name, sheet.also)
}


class Layout(NamedTuple):
    """Which cells of a sheet's rows belong to which column: found in its header row.

    `columns`: the places of known columns by name; `titles`: the headers by place; `ignored`:
    headers of no known column; `twice`: headers that name one that another has named before.
    """

    sheet: str
    columns: Mapping[str, int]
    titles: Mapping[int, str]
    ignored: Sequence[str]
    twice: Sequence[str]

    @property
    def missing(self) -> list[Column]:
        """The columns that are needed, and are not there."""
        return [
            column
            for column in SHEETS[self.sheet].columns
            if column.required and column.name not in self.columns
        ]


def sheet_called(name: str) -> str | None:
    """Which sheet one of this name is: `农牧户2026` is one of households."""
    text = re.sub(r"\.(csv|xlsx?|txt)$", "", name.lower())
    text = re.sub(r"\d+", "", folded(text))
    if text in _SHEET_NAMES:
        return _SHEET_NAMES[text]
    inside = [known for known in _SHEET_NAMES if len(known) > 1 and known in text]
    return _SHEET_NAMES[max(inside, key=len)] if inside else None


def layout_of(cells_of_row: Sequence[Any], called: str | None) -> Layout | None:
    """The layout that a row of headers gives, of the sheet of a name or of whichever fits best;
    None if the row is none of headers.
    """
    texts = {
        place: str(cell).strip()
        for place, cell in enumerate(cells_of_row)
        if isinstance(cell, str) and cell.strip()
    }
    best: Layout | None = None
    for name in [called] if called is not None else SHEETS:
        known = HEADERS[name]
        columns: dict[str, int] = {}
        ignored, twice = [], []
        for place, text in texts.items():
            column = known.get(folded(text))
            if column is None:
                ignored.append(text)
            elif column in columns:
                twice.append(text)
            else:
                columns[column] = place
        layout = Layout(name, columns, texts, ignored, twice)
        if len(columns) < 2 or len(columns) * 2 < len(layout.missing):
            continue
        if best is None or _fit(layout) > _fit(best):
            best = layout
    return best


def _fit(layout: Layout) -> tuple[int, int]:
    return -len(layout.missing), len(layout.columns) - len(layout.ignored)
