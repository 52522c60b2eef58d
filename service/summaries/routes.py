"""The summaries: `GET /v1/summaries/weekly`, `/monthly`, `/cadres`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from service.database import Connection
from service.errors import (
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
    UNAVAILABLE,
    Problem,
    documented,
)
from service.identity.access import Caller, Signed
from service.identity.rights import covers
from service.state import state_of
from service.summaries import queries
from service.summaries.summary import CadreRow, CadreTable, Summary, period_out, summary, unit_out
from sync_protocol import periods
from sync_protocol.periods import Period

router = APIRouter(prefix="/v1/summaries", tags=["summaries"])

_PROBLEMS = documented(TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, NOT_ALLOWED, NOT_FOUND, INVALID, UNAVAILABLE)
UnitCode = Annotated[str, Query(description="The unit and all below it", examples=["150221100"], max_length=20)]
Sort = Literal["visits", "problems_raised", "problems_resolved", "problems_overdue"]


@router.get("/weekly", summary="The week of a unit", responses=_PROBLEMS)
async def weekly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    week: Annotated[str, Query(description="ISO week, Asia/Shanghai", examples=["2026-W47"])],
) -> Summary:
    """Visits, problems, duties and the units right below, with the week before beside them."""
    period = _period(periods.week, week)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        return await summary(connection, found, period, caller.now, "weekly_analysis")


@router.get("/monthly", summary="The month of a unit", responses=_PROBLEMS)
async def monthly(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    month: Annotated[str, Query(description="Month, Asia/Shanghai", examples=["2026-11"])],
) -> Summary:
    """Visits, problems, duties and the units right below, with the month before beside them."""
    period = _period(periods.month, month)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        return await summary(connection, found, period, caller.now, "monthly_summary")


@router.get("/cadres", summary="What each cadre did", responses=_PROBLEMS)
async def cadres(
    request: Request,
    caller: Signed,
    unit: UnitCode,
    week: Annotated[str | None, Query(description="ISO week", examples=["2026-W47"])] = None,
    month: Annotated[str | None, Query(description="Month", examples=["2026-11"])] = None,
    first: Annotated[date | None, Query(alias="from", description="First day, with `to`")] = None,
    last: Annotated[date | None, Query(alias="to", description="Last day, with `from`")] = None,
    sort: Annotated[Sort, Query(description="Highest first")] = "problems_resolved",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> CadreTable:
    """One row a cadre with work in the unit: visits, problems raised and resolved, overdue in hand. Give week, month, or from and to."""
    period = chosen_period(week, month, first, last)
    async with unit_in_scope(request, caller, unit) as (connection, found):
        rows = [dict(row) for row in await queries.cadres(connection, found["code"], period, caller.now)]
    rows.sort(key=lambda row: (-row[sort], row["staff_code"]))
    ranks = _ranks([row[sort] for row in rows]) if state_of(request).settings.rank else [None] * len(rows)
    items = [CadreRow(**row, rank=rank) for row, rank in zip(rows[:limit], ranks, strict=False)]
    return CadreTable(unit=unit_out(found), period=period_out(period), items=items)


def _ranks(values: list[int]) -> list[int | None]:
    """Equal values share a rank: 1, 2, 2, 4."""
    first_place: dict[int, int] = {}
    for place, value in enumerate(values, 1):
        first_place.setdefault(value, place)
    return [first_place[value] for value in values]


def chosen_period(week: str | None, month: str | None, first: date | None, last: date | None) -> Period:
    """The period that a query names in one of three ways."""
    named = [week is not None, month is not None, first is not None or last is not None]
    if sum(named) != 1:
        raise Problem(INVALID, "Name one period: week, or month, or from and to.")
    if week is not None:
        return _period(periods.week, week)
    if month is not None:
        return _period(periods.month, month)
    if first is None or last is None:
        raise Problem(INVALID, "A period of days needs both from and to.")
    try:
        return periods.span(first, last)
    except ValueError as error:
        raise Problem(INVALID, f"from, to: {error}.") from None


def _period(parse: Callable[[str], Period], text: str) -> Period:
    try:
        return parse(text)
    except ValueError as error:
        raise Problem(INVALID, f"{error}.") from None


@asynccontextmanager
async def unit_in_scope(request: Request, caller: Caller, code: str) -> AsyncIterator[tuple[Connection, Any]]:
    """A connection and a unit within the caller's scope; any other looks absent."""
    units = caller.units()
    async with state_of(request).database.reading() as connection:
        found = await queries.unit(connection, code) if any(covers(top, code) for top in units) else None
        if found is None:
            raise Problem(NOT_FOUND, f"There is no unit ‘{code}’ in your scope, which is {', '.join(units)} and below.")
        yield connection, found
