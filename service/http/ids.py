"""Ids of records that a REST request makes."""

from datetime import datetime
from typing import Annotated

from fastapi import Request
from pydantic import AfterValidator

from sync_protocol.ids import new_uuid7

# An id that a client made for itself; in upper case, as some write it, it is the same one.
MadeId = Annotated[str, AfterValidator(str.lower)]


def fresh_id(request: Request, now: datetime) -> str:
    """A new id; with an `Idempotency-Key` the same one each time, so that a repeated request makes
    no second record.
    """
    return str(request.scope.get("idempotent_id") or new_uuid7(now))
