"""Ids of records that a REST request makes."""

from datetime import datetime

from fastapi import Request

from sync_protocol.ids import new_uuid7


def fresh_id(request: Request, now: datetime) -> str:
    """A new id; with an `Idempotency-Key` the same one each time, so that a repeated request makes no second record."""
    return str(request.scope.get("idempotent_id") or new_uuid7(now))
