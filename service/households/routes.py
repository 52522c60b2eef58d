"""Households with their last visit: `GET /v1/households`."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.errors import READING, documented
from service.households import queries
from service.households.queries import Filters
from service.identity.access import Caller, Signed
from service.paging import After, Limit, next_place, read_place
from service.state import state_of
from service.units import scope_of
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import CODE_LENGTH, TAGS

router = APIRouter(prefix="/v1", tags=["households"])


class HouseholdItem(BaseModel):
    """A household. Without the right to it the phone is masked; `days_unvisited` counts days of Asia/Shanghai, null: never visited."""

    id: str
    grid: str
    head_name: str | None
    phone: str | None
    address: str | None
    members: int | None
    tags: list[str]
    contact_member: str | None
    lead_member: str | None
    last_visit: datetime | None
    days_unvisited: int | None


class HouseholdPage(BaseModel):
    """A page of households in order of grid."""

    items: list[HouseholdItem]
    next: str | None


def masked(phone: str | None) -> str | None:
    """A phone number with its middle hidden."""
    if phone is None or len(phone) < 8:
        return phone and "*" * len(phone)
    return phone[:3] + "*" * (len(phone) - 7) + phone[-4:]


def sees_phones(caller: Caller) -> bool:
    """Whether the caller works in the field, where people are called; whoever only supervises sees numbers masked."""
    return any(post.valid_at(caller.now) and len(post.unit) >= CODE_LENGTH["village"] for post in caller.posts)


@router.get("/households", summary="Households with their last visit", operation_id="list_households", responses=documented(*READING))
async def households(
    request: Request,
    caller: Signed,
    unit: Annotated[str | None, Query(max_length=20, description="That unit and all below it")] = None,
    special: Annotated[bool | None, Query(description="With any tag 重点户, or without")] = None,
    tag: Annotated[str | None, Query(pattern=f"^({'|'.join(TAGS)})$", examples=["elderly_alone"])] = None,
    contact_member: Annotated[str | None, Query(max_length=40, description="Tied to this party member 联系户")] = None,
    lead_member: Annotated[str | None, Query(max_length=40, description="Contracted to this committee member 包联户")] = None,
    not_visited_days: Annotated[int | None, Query(ge=1, le=3650, description="Not visited in so many days up to today, or never")] = None,
    limit: Limit = 100,
    after: After = None,
) -> HouseholdPage:
    """In order of grid; whom nobody has visited for long is found with `not_visited_days`."""
    units = scope_of(caller, unit)
    today = local_day(caller.now)
    silent_since = today - timedelta(days=not_visited_days) if not_visited_days else None
    filters = Filters(special, tag, contact_member, lead_member, silent_since)
    async with state_of(request).database.reading() as connection:
        rows = await queries.households(connection, units, filters, read_place(after), limit + 1)
    plain = sees_phones(caller)
    items = [
        HouseholdItem(
            **{name: row[name] for name in HouseholdItem.model_fields if name not in ("phone", "days_unvisited")},
            phone=row["phone"] if plain else masked(row["phone"]),
            days_unvisited=(today - local_day(row["last_visit"])).days if row["last_visit"] else None,
        )
        for row in rows[:limit]
    ]
    return HouseholdPage(items=items, next=next_place(items[-1].grid, items[-1].id) if len(rows) > limit else None)
