"""The number by which people name a problem: on paper, on the telephone, in a ledger."""

import re
from datetime import date, datetime
from typing import NamedTuple

from sync_protocol.periods import FIRST_YEAR, LAST_YEAR, local_day

_TAIL = 6
_NUMBER = re.compile(r"(\d{8})-([0-9A-F]{6})", re.ASCII)


def number_of(id: str, raised_at: datetime) -> str:
    """The number of a problem, as 20261119-7C3A9E: the day on which it was raised, and the end of
    its id, which is by chance. It is short and can be read out; two problems of a city have the
    same one once in many years.
    """
    return f"{local_day(raised_at):%Y%m%d}-{id[-_TAIL:].upper()}"


class Numbered(NamedTuple):
    """What a number says of its problem: the day on which it was raised, and the end of its id."""

    day: date
    ends: str


def read_number(text: str) -> Numbered | None:
    """The same of a text; None of what is no number."""
    found = _NUMBER.fullmatch(text.strip().upper())
    if found is None:
        return None
    try:
        day = date.fromisoformat(found[1])
    except ValueError:
        return None
    return Numbered(day, found[2].lower()) if FIRST_YEAR <= day.year <= LAST_YEAR else None
