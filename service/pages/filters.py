"""The filters of lists as forms of pages send them: what is left empty narrows nothing."""

from datetime import date
from typing import Annotated

from fastapi import Query

from service.kit.errors import INVALID, Problem
from service.vocabulary.terms import WORD_PATTERN
from sync_protocol.texts import Text

UnitCode = Annotated[str, Query(max_length=20)]
Word = Annotated[str, Query(pattern=f"{WORD_PATTERN}|^$")]
StaffCode = Annotated[str, Query(max_length=40, pattern=r"^[^\x00]*$")]
Sought = Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")]
Flag = Annotated[str, Query(pattern="^(yes)?$")]
After = Annotated[str, Query(max_length=200)]
_DAY = r"^(\d{4}-\d{2}-\d{2})?$"
FirstDay = Annotated[str, Query(alias="from", pattern=_DAY)]
LastDay = Annotated[str, Query(alias="to", pattern=_DAY)]


def day_of(text: str) -> date | None:
    """A day of a form; raises `Problem` for one that no calendar has."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Problem(INVALID, Text("There is no day {day}.", day=text)) from None


def sought(text: str) -> str | None:
    """A text that is looked for."""
    return text.strip() or None
