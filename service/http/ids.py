"""Ids of records that a REST request makes."""

from datetime import datetime
from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator, Field

from service.kit.errors import INVALID, Problem
from service.kit.paging import UUID
from sync_protocol.ids import new_uuid7
from sync_protocol.texts import Text

# A UUID that a client made for itself; in upper case, as some write it, it is the same one.
MadeId = Annotated[str, Field(pattern=UUID), AfterValidator(str.lower)]


def id_taken(id: str) -> Problem:
    """What to raise where the id that a client made is that of another record."""
    return Problem(INVALID, Text("The id {id} is another record's; make a new one.", id=id))


def fresh_id(request: Request, now: datetime) -> str:
    """A new id; with an `Idempotency-Key` the same one each time, so that a repeated request makes
    no second record.
    """
    return str(request.scope.get("idempotent_id") or new_uuid7(now))
