"""Keyset pages: `?limit=&after=` in, `{"items": […], "next": "…"|null}` out."""

import base64
import binascii
import uuid
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

from service.kit.errors import INVALID, Problem

Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page")]
# Phones write UUIDs in upper case, too.
UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
Id = Annotated[str, Path(pattern=UUID), AfterValidator(str.lower)]
GivenId = Annotated[Annotated[str, AfterValidator(str.lower)] | None, Query(pattern=UUID)]
After = Annotated[str | None, Query(max_length=200, description="The `next` of the page before")]


def next_place(place: str, id: str) -> str:
    """The `next` of a page whose last item has this place in the order, and this id."""
    return base64.urlsafe_b64encode(f"{place}|{id}".encode()).rstrip(b"=").decode()


def next_after(moment: datetime, id: str) -> str:
    """The `next` of a page whose last item has this moment and id."""
    return next_place(moment.isoformat(), id)


def read_place(after: str | None) -> tuple[str, str] | None:
    """Where a page begins; raises `Problem` for anything that no page gave."""
    if after is None:
        return None
    try:
        text = base64.urlsafe_b64decode(after.encode("ascii") + b"=" * (-len(after) % 4)).decode()
        place, _, id = text.partition("|")
        if not place.isprintable():
            raise ValueError("no text")
        return place, str(uuid.UUID(id))
    except (binascii.Error, ValueError, UnicodeError):
        raise _unreadable() from None


def read_text(after: str | None) -> str | None:
    """Where a page in order of some text begins."""
    if after is None:
        return None
    try:
        text = (
            base64.urlsafe_b64decode(after.encode("ascii") + b"=" * (-len(after) % 4))
            .decode()
            .partition("|")[0]
        )
    except (binascii.Error, ValueError, UnicodeError):
        raise _unreadable() from None
    if not text or not text.isprintable():
        raise _unreadable()
    return text


def read_id(after: str | None) -> str | None:
    """Where a page in order of id begins."""
    place = read_place(after)
    return None if place is None else place[1]


def read_after(after: str | None) -> tuple[datetime, str] | None:
    """Where a page in order of time begins; raises `Problem` for anything that no page gave."""
    place = read_place(after)
    if place is None:
        return None
    return read_moment(place[0]), place[1]


def read_moment(text: str) -> datetime:
    """A moment in a `next`, UTC; raises `Problem` for what no page gave."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or not 100 <= moment.year <= 9000:
            raise _unreadable()
        return moment.astimezone(UTC)
    except ValueError:
        raise _unreadable() from None


def _unreadable() -> Problem:
    return Problem(INVALID, "after is no ‘next’ of a page; leave it out to begin.")
