"""The words that cells of a workbook may name: of lists that an administrator keeps, as of a day,
and of the code. Pure.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from typing import Any

from service.imports import cells
from service.imports.cells import Wrong
from service.imports.sheets import Column
from service.vocabulary.terms import BUILT_IN, Vocabulary
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import HOUSEHOLD_STATES, LEVELS, Label

_LISTED = re.compile(r"[、,，;；/\s]+")
# Words of the lists that cells name; an app gets its role by an account of its own.
_LISTS = ("role", "tag")
_NOT_OFFERED = frozenset({"app_client"})


class Words:
    """The words of a day. A cell names one by its code, or by its name in either language; also by
    the name that it has where nobody renamed it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        day: date,
        levels: Mapping[str, Label] = LEVELS,
    ) -> None:
        self._tables: dict[str, Mapping[str, Label]] = {
            name: {
                code: label
                for code, label in vocabulary.labels(name, day).items()
                if code not in _NOT_OFFERED
            }
            for name in _LISTS
        }
        self._tables |= {
            "party_group": cells.PARTY_GROUPS,
            "household_state": HOUSEHOLD_STATES,
            "level": levels,
        }
        self._offered = {
            name: [
                code for code in table if name not in _LISTS or vocabulary.holds(name, code, day)
            ]
            for name, table in self._tables.items()
        }
        self._by_text = {name: self._reading(name) for name in self._tables}

    def _reading(self, name: str) -> dict[str, str]:
        """Words by what a cell may say, bared; of two alike that which can be chosen counts."""
        table = self._tables[name]
        others = cells.other_words(name).items()
        found = {_bare(text): code for text, code in others if code in table}
        found |= {_bare(code): code for code in table}
        ended = [code for code in table if code not in self._offered[name]]
        for code in (*ended, *reversed(self._offered[name])):
            for text in (table[code].zh, table[code].en):
                found[_bare(text)] = code
        return found

    def offered(self, name: str) -> list[Label]:
        """What a list of choices offers."""
        return [self._tables[name][code] for code in self._offered[name]]

    def can_be_chosen(self, name: str, code: str) -> bool:
        """Whether a word holds on the day."""
        return code in self._offered[name]

    def known(self, name: str) -> list[Word]:
        """The words that can be chosen, as sentences have them."""
        return [Word(label.en, label.zh) for label in self.offered(name)]

    def label(self, name: str, code: str) -> Label:
        """What a word is called; one that no list has by its code."""
        return self._tables[name].get(code, Label(code, code))

    def clean(self, column: Column) -> Callable[[str], Any]:
        """What reads the cells of a column."""
        if column.choices == "tag":
            return self.tags
        # A level is read with those of the file, later.
        if column.choices in self._tables and column.choices != "level":
            return lambda text: self.choice(column.choices, text)
        return column.clean

    def choice(self, name: str, text: str) -> str:
        """The word that a text names; raises `Wrong`."""
        if name == "level":
            return cells.level(text, self._tables[name])
        found = text if text in self._tables[name] else self._by_text[name].get(_bare(text))
        if found is None:
            raise Wrong(f"{name.replace('_', '-')}-unknown", known=self.known(name))
        return found

    def tags(self, text: str) -> list[str]:
        """The tags that a text lists, in order; `无` is none."""
        if text in ("无", "none"):
            return []
        parts = [part for part in _LISTED.split(text) if part]
        if all(part in self._tables["tag"] for part in parts):
            return sorted({*parts})
        found: set[str] = set()
        # A word may have a blank or a comma in it: the longest that fits is meant.
        while parts:
            for count in range(len(parts), 0, -1):
                code = self._by_text["tag"].get(_bare("".join(parts[:count])))
                if code is not None:
                    break
            else:
                raise Wrong("tag-unknown", known=self.known("tag"))
            found.add(code)
            del parts[:count]
        return sorted(found)

    def say(self, name: str, code: str, language: str) -> str:
        """A word for a cell, so that reading the cell finds it again: by its name, or by its code
        where that names another one, too.
        """
        text: str = getattr(self.label(name, code), language)
        try:
            return text if self.choice(name, text) == code else code
        except Wrong:
            return code

    def say_tags(self, codes: list[str], language: str) -> str:
        """Tags for a cell; see `say`."""
        between = "、" if language == "zh" else ", "
        text = between.join(getattr(self.label("tag", code), language) for code in codes)
        try:
            return text if self.tags(text) == sorted({*codes}) else between.join(codes)
        except Wrong:
            return between.join(codes)


def named_post(label: Label, staff_code: str, unit: str) -> Text:
    """A post as people name it: who, which role (its label), where."""
    return Text(
        "{cadre}: {role}, {unit}", cadre=staff_code, role=Word(label.en, label.zh), unit=unit
    )


def _bare(text: str) -> str:
    """A word for comparing: also without what parts words in a list."""
    return _LISTED.sub("", cells.plain(text))


@cache
def words_of_the_code() -> Words:
    """The words where nobody has edited a list."""
    return Words(BUILT_IN, date.min)
