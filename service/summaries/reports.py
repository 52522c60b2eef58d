"""The texts of the loop, readable one after another: `GET /v1/analyses` and `GET
/v1/monthly-summaries`.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.kit.bounded import cut
from service.kit.errors import READING, documented
from service.kit.paging import After, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import named_period, scope_of
from service.summaries import queries
from sync_protocol import periods

router = APIRouter(prefix="/v1", tags=["summaries"])

Unit = Annotated[str | None, Query(max_length=20, description="That unit and all below it")]


class TextItem(BaseModel):
    """A grid's analysis or summary: who wrote it first, who last, and its fields."""

    id: str = Field(description="The record")
    grid: str = Field(description="The code of the grid")
    grid_name: str = Field(description="What the grid is called")
    created_by: str = Field(description="Who wrote it first")
    author: str = Field(description="The name of who wrote it first")
    by: str = Field(description="Who wrote it last")
    received_at: datetime = Field(description="When it came in first")
    fields: dict[str, Any] = Field(description="What it says")


class TextPage(BaseModel):
    """A page of texts in order of grid."""

    items: list[TextItem] = Field(description="The texts")
    next: str | None = Field(description="The `after` of the next page; empty behind the last")


@router.get(
    "/analyses",
    summary="The analyses of a week",
    operation_id="list_analyses",
    responses=documented(*READING),
)
async def analyses(
    request: Request,
    caller: Signed,
    week: Annotated[str, Query(description="ISO week", examples=["2026-W47"])],
    unit: Unit = None,
    limit: Limit = 100,
    after: After = None,
) -> TextPage:
    """One a grid, in order of grid."""
    return await _page(
        request,
        caller,
        "weekly_analysis",
        named_period(periods.week, week).name,
        unit,
        limit,
        after,
    )


@router.get(
    "/monthly-summaries",
    summary="The summaries of a month",
    operation_id="list_monthly_summaries",
    responses=documented(*READING),
)
async def monthly_summaries(
    request: Request,
    caller: Signed,
    month: Annotated[str, Query(description="Month", examples=["2026-11"])],
    unit: Unit = None,
    limit: Limit = 100,
    after: After = None,
) -> TextPage:
    """One a grid, in order of grid."""
    return await _page(
        request,
        caller,
        "monthly_summary",
        named_period(periods.month, month).name,
        unit,
        limit,
        after,
    )


async def _page(
    request: Request,
    caller: Caller,
    kind: str,
    name: str,
    unit: str | None,
    limit: int,
    after: str | None,
) -> TextPage:
    units = scope_of(caller, unit)
    place = read_place(after)
    async with state_of(request).database.transaction() as connection:
        rows, more = cut(
            await queries.texts(
                connection, kind, name, caller.ranges(units), place[0] if place else "", limit + 1
            ),
            limit,
        )
        action = "analyses" if kind == "weekly_analysis" else "monthly-summaries"
        await note(connection, request, caller, action, [*units, name], len(rows))
    items = [
        TextItem(**{**dict(row), "fields": msgspec.json.decode(row["fields"])}) for row in rows
    ]
    return TextPage(items=items, next=next_place(items[-1].grid, items[-1].id) if more else None)
