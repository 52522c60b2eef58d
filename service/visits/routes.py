"""Visits: `GET /v1/visits`."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.audit.trail import note
from service.database import Connection
from service.errors import INVALID, READING, Problem, documented
from service.identity.access import Caller, Signed
from service.identity.masks import sees_contacts
from service.paging import After, Limit, next_after, read_after
from service.state import state_of
from service.units import First, Last, scope_of, years_text
from service.visits import queries
from service.visits.queries import Filters
from sync_protocol import periods
from sync_protocol.periods import midnight
from sync_protocol.vocabulary import CODE_LENGTH, DUTIES

router = APIRouter(prefix="/v1", tags=["visits"])

# The newest visits of a large unit are looked for in so many days first, then in more: its years are not read for a page.
_WINDOWS = (7, 60, 400)
# A location is shown to two decimals, about a kilometre, to those who do not go there.
_COARSE = 2


class VisitItem(BaseModel):
    """A visit. `clock_offset_ms`: the phone's clock was off by that. Outside the village a location is coarse."""

    id: str
    grid: str
    visited_at: datetime
    created_by: str
    author: str
    household_id: str | None
    head_name: str | None
    duties: list[str]
    content: str | None
    people_met: list[str]
    location: dict[str, Any] | None
    photos: list[str]
    received_at: datetime
    clock_offset_ms: int | None


class VisitPage(BaseModel):
    """A page of visits, the newest first."""

    items: list[VisitItem]
    next: str | None


@router.get("/visits", summary="Visits of a unit", operation_id="list_visits", responses=documented(*READING))
async def visits(
    request: Request,
    caller: Signed,
    unit: Annotated[str | None, Query(max_length=20, description="That unit and all below it")] = None,
    household: Annotated[str | None, Query(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] = None,
    cadre: Annotated[str | None, Query(max_length=40, pattern=r"^[^\x00]+$", description="Made by this cadre")] = None,
    duty: Annotated[str | None, Query(pattern=f"^({'|'.join(DUTIES)})$", examples=["emergency"])] = None,
    first: First = None,
    last: Last = None,
    limit: Limit = 100,
    after: After = None,
) -> VisitPage:
    """The newest first."""
    units = scope_of(caller, unit)
    for day in (first, last):
        if day is not None and not periods.FIRST_YEAR <= day.year <= periods.LAST_YEAR:
            raise Problem(INVALID, years_text())
    place = read_after(after)
    filters = Filters(household, cadre, duty, midnight(first) if first else None, midnight(last + timedelta(days=1)) if last else None)
    async with state_of(request).database.transaction() as connection:
        rows = await _newest(connection, units, filters, place, limit + 1, caller.now)
        await note(connection, request, caller, "visits", units, len(rows[:limit]))
    items = [_item(row, caller) for row in rows[:limit]]
    return VisitPage(items=items, next=next_after(items[-1].visited_at, items[-1].id) if len(rows) > limit else None)


async def _newest(
    connection: Connection, units: list[str], filters: Filters, place: tuple[datetime, str] | None, limit: int, now: datetime
) -> list[Any]:
    if filters.household is None and any(len(code) < CODE_LENGTH["village"] for code in units):
        newest = min(moment for moment in (now, filters.until, place and place[0]) if moment is not None)
        for days in _WINDOWS:
            since = newest - timedelta(days=days)
            if filters.since is not None and filters.since >= since:
                break
            rows = await queries.visits(connection, units, filters._replace(since=since), place, limit)
            if len(rows) == limit:
                return rows
    return await queries.visits(connection, units, filters, place, limit)


def _item(row: Any, caller: Caller) -> VisitItem:
    fields = msgspec.json.decode(row["fields"])
    place = fields.get("location")
    if place is not None and not sees_contacts(caller):
        place = {name: round(value, _COARSE) if isinstance(value, float) else value for name, value in place.items()}
    return VisitItem(
        id=row["id"],
        grid=row["grid"],
        visited_at=row["visited_at"],
        created_by=row["created_by"],
        author=row["author"],
        household_id=fields.get("household_id"),
        head_name=row["head_name"],
        duties=fields.get("duties", []),
        content=fields.get("content"),
        people_met=fields.get("people_met", []),
        location=place,
        photos=fields.get("photos", []),
        received_at=row["received_at"],
        clock_offset_ms=row["offset_ms"],
    )
