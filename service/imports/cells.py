"""What a cell of an office's file means: brings it into the form in which it is kept. Pure.

Excel makes floating point numbers of codes and telephone numbers and counts days from 1900; people
type digits in full width, blanks anywhere and dashes into numbers. All of that is read. What cannot
be read for sure is a `Wrong` with a kind of fault, and is never guessed.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import cache
from typing import Any

from service.imports.sheet_files import MAX_CELL, Cell
from sync_protocol.fields import STRIPPED, InvalidValue, Text
from sync_protocol.ids import is_uuid
from sync_protocol.texts import Word, text_of
from sync_protocol.vocabulary import LEVELS, ROLES, TAGS, Label

# Written into a cell it clears the field; an empty cell leaves it as it is.
CLEARS = frozenset({"清空", "(clear)"})
_FLOAT = re.compile(r"^(\d+)\.0+$", re.ASCII)
_EXCEL_ZERO = date(1899, 12, 30)
_MOST_EXACT = 2**53
_WHITE = str.maketrans("", "", STRIPPED + "\u00a0\u200b\ufeff")
_DAY = re.compile(r"(\d{4})(?:[-/.年](\d{1,2})[-/.月](\d{1,2})日?|(\d{2})(\d{2}))", re.ASCII)
_DASHES = re.compile(r"[-－—–‐‑() 　\u00a0]")
_PHONES = re.compile(r"[/、,，;；]|(?<=\d)\s{2,}(?=\d)")
_PHONE = re.compile(r"\+?\d{5,15}", re.ASCII)
_YES, _NO = (
    {"是", "yes", "y", "true", "1", "党员", "√", "✓"},
    {"否", "no", "n", "false", "0", "非党员", "群众", "×"},
)
FIRST_DAY, LAST_DAY = date(1949, 10, 1), date(2199, 12, 31)


class Wrong(ValueError):
    """A value that is not taken; `kind` is a kind of fault, with what its sentences need."""

    def __init__(self, kind: str, **params: Any) -> None:
        super().__init__(kind)
        self.kind = kind
        self.params = params


def text_in(cell: Cell) -> str:
    """A cell as text: a whole number without its `.0`, and without white space around it."""
    if cell is None or cell == "":
        return ""
    if isinstance(cell, bool):
        return "是" if cell else "否"
    if isinstance(cell, float) and cell.is_integer():
        if abs(cell) >= _MOST_EXACT:
            raise Wrong("number-rounded")
        return str(int(cell))
    if isinstance(cell, str):
        if len(cell) > MAX_CELL:
            raise Wrong("text-long", count=len(cell), max=MAX_CELL)
        return cell.strip(STRIPPED + "\u00a0\ufeff")
    return str(cell)


def is_masked(text: str) -> bool:
    """Whether a text is what somebody was shown in place of a personal one."""
    return "**" in text or text.endswith("*") or "…" in text


def _narrow(text: str) -> str:
    """Digits, letters and signs in their usual width, and whole numbers as such; only for what is
    no text of people.
    """
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _FLOAT.sub(r"\1", text) if "." in text else text


def code(text: str) -> str:
    """The code of a unit: digits."""
    if text.isascii() and text.isdigit():
        return text  # most are
    found = _narrow(text).translate(_WHITE).replace("-", "")
    if not (found.isascii() and found.isdigit()):
        raise Wrong("code-form")
    return found


def staff_code(text: str) -> str:
    """A staff code."""
    found = _narrow(text).translate(_WHITE)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", found, re.ASCII):
        raise Wrong("staff-code-form")
    return found


def slug(text: str) -> str:
    """The identifier of a level."""
    found = _narrow(text).translate(_WHITE).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", found, re.ASCII):
        raise Wrong("level-form")
    return found


def number(text: str) -> str:
    """A number by which an office knows a household: letters, digits and dashes."""
    found = _narrow(text).translate(_WHITE).upper()
    if not re.fullmatch(r"[\w./-]{1,40}", found):
        raise Wrong("number-form")
    return found


def household_id(text: str) -> str:
    """The id of a household, as an export writes it."""
    found = _narrow(text).translate(_WHITE).lower()
    if not is_uuid(found):
        raise Wrong("household-id-form")
    return found


@cache
def words(max: int) -> Callable[[str], str]:
    """A text of at most so many characters."""
    kind = Text(max, min=1)

    def clean(text: str) -> str:
        try:
            found = kind.clean(text)
        except InvalidValue as error:
            raise Wrong("text-unfit", why=text_of(error)) from None
        if not found.isprintable() and any(
            unicodedata.category(char) == "Cc" and char not in "\n\t" for char in found
        ):
            raise Wrong("text-control")
        return found

    return clean


def phone(text: str) -> str:
    """A telephone number, or several, joined by `/`; without blanks and dashes."""
    if _PHONE.fullmatch(text):
        return text  # most are
    found = []
    for part in _PHONES.split(_narrow(text)):
        digits = _DASHES.sub("", part)
        if not digits:
            continue
        if "E+" in digits.upper():
            raise Wrong("number-rounded")
        if not _PHONE.fullmatch(digits):
            raise Wrong("phone-form")
        found.append(digits)
    joined = "/".join(dict.fromkeys(found))
    if not joined or len(joined) > 40:
        raise Wrong("phone-form")
    return joined


def day(text: str) -> str:
    """A day, `2026-11-01`: as people write it, or as Excel counts."""
    found = _narrow(text).translate(_WHITE)
    try:
        if found.isascii() and found.isdigit() and len(found) == 5:
            read = _EXCEL_ZERO + timedelta(days=int(found))
        else:
            match = _DAY.fullmatch(found.partition("T")[0])
            if match is None:
                raise Wrong("day-form")
            read = date(int(match[1]), int(match[2] or match[4]), int(match[3] or match[5]))
    except (ValueError, OverflowError):
        raise Wrong("day-form") from None
    if not FIRST_DAY <= read <= LAST_DAY:
        raise Wrong("day-far", first=FIRST_DAY.isoformat(), last=LAST_DAY.isoformat())
    return read.isoformat()


def yes_or_no(text: str) -> bool:
    """Whether somebody is: 是 or 否."""
    found = _narrow(text).lower()
    if found in _YES:
        return True
    if found in _NO:
        return False
    raise Wrong("yes-no-form")


def listed(text: str) -> str:
    """A word of a list; `words.Words` reads it by the list of the day."""
    return text


def people(text: str) -> int:
    """How many people: a whole number."""
    found = _narrow(text).translate(_WHITE).removesuffix("人")
    if not (found.isascii() and found.isdigit()):
        raise Wrong("count-form")
    if int(found) > 99:
        raise Wrong("count-large", max=99)
    return int(found)


def plain(text: str) -> str:
    """A word for comparing: without blanks, quotes, brackets and dashes, whatever its case."""
    return re.sub(r"[\s“”\"'（）()·_-]", "", _narrow(text)).lower()


PARTY_GROUPS: dict[str, Label] = {
    "none": Label("无", "none"),
    "group": Label("党小组", "party group"),
    "branch": Label("党支部", "party branch"),
}
_ALIASES = {
    "role": {
        "书记": "village_secretary",
        "村书记": "village_secretary",
        "嘎查村书记": "village_secretary",
        "两委": "village_committee",
        "两委成员": "village_committee",
        "第一书记": "first_secretary",
        "联系党员": "contact_member",
        "管理员": "admin",
    },
    "tag": {
        "低保户": "low_income",
        "五保户": "five_guarantee",
        "监测户": "monitored",
        "残疾": "disabled",
        "空巢老人": "elderly_alone",
    },
    "party_group": {"支部": "branch"},
    "household_state": {
        "常住": "present",
        "在住": "present",
        "迁出": "away",
        "搬走": "away",
        "死亡": "died",
        "去世": "died",
        "合并": "merged",
    },
}


def other_words(kind: str) -> Mapping[str, str]:
    """Words by what else offices call them, and by what they are called where nobody renamed
    them.
    """
    labels = {"role": ROLES, "tag": TAGS}.get(kind, {})
    return {
        plain(text): name for name, label in labels.items() for text in (label.zh, label.en)
    } | _ALIASES.get(kind, {})


def level(text: str, known: Mapping[str, Label]) -> str:
    """A level by its name in either language; also as it is called where nobody renamed it."""
    if text in known:
        return text
    words = {
        plain(word): name
        for labels in (LEVELS, known)
        for name, label in labels.items()
        if name in known
        for word in (name, label.zh, label.en)
    }
    found = words.get(plain(text))
    if found is None:
        raise Wrong("level-unknown", known=[Word(label.en, label.zh) for label in known.values()])
    return found
