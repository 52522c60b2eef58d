"""The tree of units: `GET /v1/units`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.identity.access import Signed
from service.kit.errors import READING, documented
from service.kit.paging import After, Limit, next_place, read_text
from service.kit.state import state_of
from service.organisation import queries
from service.organisation.units import scope_of
from sync_protocol.vocabulary import LEVELS

router = APIRouter(prefix="/v1", tags=["units"])


class UnitItem(BaseModel):
    """A unit of the tree. `party_group`: none, group or branch, of a grid."""

    code: str
    level: str
    parent: str | None
    name: str
    kind: str | None
    party_group: str | None


class UnitPage(BaseModel):
    """A page of units in order of code."""

    items: list[UnitItem]
    next: str | None


@router.get(
    "/units", summary="Units in scope", operation_id="list_units", responses=documented(*READING)
)
async def units(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str | None, Query(max_length=20, description="That unit and all below it")
    ] = None,
    level: Annotated[
        str | None, Query(pattern=f"^({'|'.join(LEVELS)})$", examples=["village"])
    ] = None,
    parent: Annotated[
        str | None, Query(pattern=r"^\d{4,15}$", description="Right below this unit")
    ] = None,
    text: Annotated[
        str | None,
        Query(min_length=1, max_length=60, pattern=r"^[^\x00]+$", description="Part of the name"),
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> UnitPage:
    """In order of code, so that a unit comes before all below it."""
    within = caller.units_or_none() if unit is None else scope_of(caller, unit)
    async with state_of(request).database.reading() as connection:
        rows = await queries.units(
            connection, within, level, parent, text, read_text(after), limit + 1
        )
    items = [UnitItem(**dict(row)) for row in rows[:limit]]
    return UnitPage(items=items, next=next_place(items[-1].code, "") if len(rows) > limit else None)
