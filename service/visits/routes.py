"""Visits: `GET /v1/visits`."""

from collections.abc import Set
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.audit.audit_log import note
from service.households.queries import tied_among
from service.identity.access import Caller, Signed
from service.identity.views import View, redact
from service.kit.bounded import cut
from service.kit.conditions import EVERYWHERE, Reach
from service.kit.database import Connection
from service.kit.errors import INVALID, READING, Problem, documented
from service.kit.paging import After, GivenId, Limit, next_after, read_after
from service.kit.state import state_of
from service.organisation.units import First, Last, UnitFilter, reach_of, years_text
from service.visits import queries
from service.visits.queries import Filters
from service.vocabulary.terms import WORD_PATTERN
from sync_protocol import periods
from sync_protocol.periods import local_day, midnight, month_of

router = APIRouter(prefix="/v1", tags=["visits"])

# The newest visits of a large unit are looked for in so many hours first, then in more: its days
# are not read for a page.
_WINDOWS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 7 * 24, 60 * 24, 400 * 24)


class VisitItem(BaseModel):
    """A visit. `clock_offset_ms`: the phone's clock was off by that. Outside the village a location
    is coarse.
    """

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


@router.get(
    "/visits",
    summary="Visits of a unit",
    operation_id="list_visits",
    responses=documented(*READING),
)
async def visits(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    household: GivenId = None,
    cadre: Annotated[
        str | None, Query(max_length=40, pattern=r"^[^\x00]+$", description="Made by this cadre")
    ] = None,
    duty: Annotated[str | None, Query(pattern=WORD_PATTERN, examples=["emergency"])] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=100,
            pattern=r"^[^\x00]+$",
            description="Part of the content; with a village, a grid, a household or a cadre",
        ),
    ] = None,
    first: First = None,
    last: Last = None,
    limit: Limit = 100,
    after: After = None,
) -> VisitPage:
    """The newest first."""
    reach = reach_of(caller, unit)
    if text is not None and household is None and cadre is None and reach.is_wide:
        # No index finds two characters within a text, and every visit of a township takes seconds.
        raise Problem(
            INVALID,
            "A text is looked for in every visit: name a village, a grid, a household or a cadre"
            " beside it.",
        )
    for day in (first, last):
        if day is not None and not periods.FIRST_YEAR <= day.year <= periods.LAST_YEAR:
            raise Problem(INVALID, years_text())
    place = read_after(after)
    filters = Filters(
        household,
        cadre,
        duty,
        midnight(first) if first else None,
        midnight(last + timedelta(days=1)) if last else None,
        text,
    )
    async with state_of(request).database.transaction() as connection:
        home = household and await queries.home_of(connection, household)
        if home and any(caller.covers(top, home) for top in caller.whole_units()):
            # Who has the household now reads its visits from before it came, wherever they lie.
            reach = reach._replace(whole=[EVERYWHERE])
        rows, more = cut(
            await _newest(connection, reach, filters, place, limit + 1, caller.now), limit
        )
        await note(connection, request, caller, "visits", reach.units, len(rows))
        houses = [row["household"] for row in rows if row["household"]] if reach.tied else []
        tied = await tied_among(connection, houses, caller.staff_code, caller.today)
    items = [_item(row, caller, tied) for row in rows]
    return VisitPage(
        items=items, next=next_after(items[-1].visited_at, items[-1].id) if more else None
    )


async def _newest(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    place: tuple[datetime, str] | None,
    limit: int,
    now: datetime,
) -> list[Any]:
    if filters.cadre is not None and filters.household is None:
        return await _of_cadre(connection, reach, filters, place, limit)
    if filters.household is None and reach.is_wide:
        newest = min(
            moment for moment in (now, filters.until, place and place[0]) if moment is not None
        )
        if not reach.tied:
            # So that nobody looks through the hours of a night, or the days of a holiday.
            day = await queries.last_day(connection, reach.whole, local_day(newest))
            if day is None:
                return []
            newest = min(newest, midnight(day + timedelta(days=1)))
        for hours in _WINDOWS:
            since = newest - timedelta(hours=hours)
            if filters.since is not None and filters.since >= since:
                break
            rows = await queries.visits(
                connection, reach, filters._replace(since=since), place, limit
            )
            if rows and rows[0]["page_rows"] == limit:
                return rows
    return await queries.visits(connection, reach, filters, place, limit)


async def _of_cadre(
    connection: Connection,
    reach: Reach,
    filters: Filters,
    place: tuple[datetime, str] | None,
    limit: int,
) -> list[Any]:
    """Visits of one cadre: looked for where the tally says that there are some, in as few months as
    may be.
    """
    assert filters.cadre is not None
    until = min(
        (moment for moment in (filters.until, place and place[0]) if moment is not None),
        default=None,
    )
    last = month_of(local_day(until)) if until is not None else None
    first = month_of(local_day(filters.since)) if filters.since is not None else ""
    stays = [
        stay
        for stay in await queries.stays(connection, filters.cadre)
        if first <= stay.month and (last is None or stay.month <= last)
    ]
    # What has a text in it may lie in any month.
    taken = len(stays) if filters.text is not None else 0
    while True:
        count, month = 0, ""
        # A few more than are wanted: some are out of reach, some come behind the page before. A
        # month is taken as a whole.
        for stay in stays[taken:]:
            if count >= limit and stay.month != month:
                break
            count, month, taken = count + stay.visits, stay.month, taken + 1
        some = stays[:taken]
        rows = await queries.visits(connection, reach, filters, place, limit, some)
        if taken == len(stays) or (rows and rows[0]["page_rows"] == limit):
            return rows


def _item(row: Any, caller: Caller, tied: Set[str]) -> VisitItem:
    # The head is shown as the household is: it may have moved out of sight since, or its tie may
    # have ended.
    view = row["household_grid"] and caller.view_of(row["household_grid"])
    shown = caller.view_of(row["grid"]) or view or View.SUMMARISED
    fields = redact("visit", msgspec.json.decode(row["fields"]), shown)
    head_in_sight = view is not None and (view is not View.TIED or row["household"] in tied)
    return VisitItem(
        id=row["id"],
        grid=row["grid"],
        visited_at=row["visited_at"],
        created_by=row["created_by"],
        author=row["author"],
        household_id=fields.get("household_id"),
        head_name=row["head_name"] if head_in_sight else None,
        duties=fields.get("duties", []),
        content=fields.get("content"),
        people_met=fields.get("people_met", []),
        location=fields.get("location"),
        photos=fields.get("photos", []),
        received_at=row["received_at"],
        clock_offset_ms=row["offset_ms"],
    )
