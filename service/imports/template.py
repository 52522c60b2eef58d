"""Writes the workbook of the roster: empty, with examples, notes and lists to choose from, or
filled with what is there. What is written is read again by an import.

Every text is written as text: nothing that anybody wrote can become a formula.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import xlsxwriter

from service.imports.columns import IN_WORKBOOKS, NOTES
from service.imports.sheets import Column, Sheet
from service.imports.words import Words, words_of_the_code
from sync_protocol.vocabulary import Label

Language = Literal["zh", "en"]
_LISTED_ROWS = 20_000  # rows below the headers with lists to choose from
_MAX_ROWS = 1_048_576 - 1
_MAX_TEXT = 32_767
_YES_NO = [Label("是", "yes"), Label("否", "no")]
_NOTES = (
    Label("如何填写", "How to fill this in"),
    Label(
        "每张表的第一行是表头；列的顺序可以改，不认识的列会跳过并告知。",
        (
            "The first row of each sheet has the headers; columns may stand in any order,"
            " and unknown ones are passed over and named."
        ),
    ),
    Label(
        "以“例：”开头的行是示例，导入时跳过，可以删除。",
        "Rows that begin with ‘e.g.’ are examples; they are passed over, and you may delete them.",
    ),
    Label(
        "空单元格表示不变；要清空一项，填“清空”。",
        "An empty cell changes nothing; to clear a value write (clear).",
    ),
    Label(
        "单位编码：市4位、旗县区6位、苏木乡镇9位、嘎查村12位，网格再加3位。",
        "Codes of units: city 4 digits, banner 6, township 9, village 12, and 3 more for a grid.",
    ),
    Label(
        "“级别”表只在级别与上述不同的地方填写，而且要在导入任何单位之前。",
        (
            "The sheet of levels is only for places with other levels than these, and only before"
            " any unit is there."
        ),
    ),
    Label(
        "有“户编号”的户以编号认；没有的以本村内的户主和住址认。再次导入同一文件不会重复。",
        (
            "A household with a number is known by it, one without by head and address in"
            " its village. The same file imported again doubles nothing."
        ),
    ),
    Label(
        "先用 gridloop roster import 文件 --dry-run 检查，再导入。",
        "Check first: gridloop roster import FILE --dry-run; then import.",
    ),
)


class Book:
    """A workbook of the roster that is being written, in constant memory: sheet after sheet, row
    after row.
    """

    def __init__(self, path: Path, language: Language, words: Words) -> None:
        self._language = language
        self._words = words
        self._book = xlsxwriter.Workbook(
            path, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        )
        add = self._book.add_format
        self._header = add({"bold": True, "bg_color": "#E7EEF7", "border": 1, "text_wrap": True})
        self._needed = add({"bold": True, "bg_color": "#FCE4D6", "border": 1, "text_wrap": True})
        self._text = add({"num_format": "@"})
        self._example = add({"italic": True, "font_color": "#7F7F7F", "num_format": "@"})
        self._bold = add({"bold": True})
        self._sheet: Any = None
        self._row = 0

    def say(self, label: Label) -> str:
        """A label in the language of the book."""
        return getattr(label, self._language)  # type: ignore[no-any-return]

    def word(self, list: str, code: str | None) -> str:
        """A word of a list, as an import reads it again."""
        return self._words.say(list, code, self._language) if code else ""

    def tags(self, codes: Iterable[str]) -> str:
        """Tags, as an import reads them again."""
        return self._words.say_tags([*codes], self._language)

    def notes(self) -> None:
        """The sheet that says how the others are filled in."""
        sheet = self._book.add_worksheet(self.say(NOTES))
        sheet.set_column(0, 0, 100)
        for row, note in enumerate(_NOTES):
            sheet.write_string(row, 0, self.say(note), self._bold if row == 0 else None)

    def begin(self, sheet: Sheet) -> None:
        """Begins a sheet: headers with notes, and lists to choose from below them."""
        self._sheet = made = self._book.add_worksheet(self.say(sheet.title))
        made.freeze_panes(1, 0)
        for place, column in enumerate(sheet.columns):
            made.set_column(place, place, column.width, self._text)
            self._choices(place, column)
        for place, column in enumerate(sheet.columns):
            form = self._needed if column.required else self._header
            made.write_string(0, place, self.say(column.header), form)
            if self.say(column.note):
                made.write_comment(0, place, self.say(column.note))
        self._row = 1

    def _choices(self, place: int, column: Column) -> None:
        labels = (
            _YES_NO
            if column.choices == "yes_no"
            else self._words.offered(column.choices)
            if column.choices
            else []
        )
        words = [self.say(label) for label in labels]
        # Of tags a cell may have several, so that other texts are let in, too.
        if words and sum(map(len, words)) + len(words) <= 255 and "," not in "".join(words):
            self._sheet.data_validation(
                1,
                place,
                _LISTED_ROWS,
                place,
                {
                    "validate": "list",
                    "source": words,
                    "ignore_blank": True,
                    # Another city's levels are called otherwise.
                    "show_error": column.choices not in ("tag", "level"),
                },
            )

    @property
    def is_full(self) -> bool:
        """Whether no further row fits a sheet."""
        return self._row > _MAX_ROWS

    def write(self, rows: Iterable[Sequence[str]], example: bool = False) -> None:
        """Writes rows."""
        form = self._example if example else self._text
        for row in rows:
            if self.is_full:
                return
            for place, text in enumerate(row):
                if text:
                    self._sheet.write_string(self._row, place, text[:_MAX_TEXT], form)
            self._row += 1

    def close(self) -> None:
        """Finishes the file."""
        self._book.close()


def write_template(path: Path, language: Language, words: Words | None = None) -> None:
    """Writes an empty workbook with examples; `words`: those of a database, for its lists."""
    book = Book(path, language, words or words_of_the_code())
    for sheet in IN_WORKBOOKS:
        book.begin(sheet)
        book.write(sheet.examples[language], example=True)
    book.notes()
    book.close()
