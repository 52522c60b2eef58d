"""What a sheet of a roster's workbook and a column of it are."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sync_protocol.vocabulary import Label

Clean = Callable[[str], Any]


class Column(NamedTuple):
    """A column: its name in the service, its header in both languages, and what else it is called.

    `masked`: how a value of it is shown in reports, by the name of a mask; empty: as it is.
    `choices`: the list of words that it takes, which `words.Words` reads. `is_free`: a text that
    may stand here in a form that a file may not bring; it is left alone then.
    """

    name: str
    header: Label
    clean: Clean
    required: bool = False
    masked: str = ""
    choices: str = ""
    width: int = 16
    also: tuple[str, ...] = ()
    note: Label = Label("", "")
    is_free: bool = False


class Sheet(NamedTuple):
    """A sheet. `examples`: rows for the template, by language, in the order of the columns."""

    name: str
    title: Label
    columns: tuple[Column, ...]
    examples: Mapping[str, tuple[tuple[str, ...], ...]]
    also: tuple[str, ...] = ()

    @property
    def by_name(self) -> dict[str, Column]:
        """Its columns by name."""
        return {column.name: column for column in self.columns}


# How a column of telephone numbers is to be filled in.
PHONE_NOTE = Label("数字；空格、短横线会去掉", "Digits; blanks and dashes are dropped")
