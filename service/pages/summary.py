"""The pages of a week, a month, a quarter and a year: `/week`, `/month`, `/quarter`, `/year`.

Everything on them comes from the routes of REST, called as they are.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.identity.rights import may_settle
from service.organisation.units import in_scope, named_period
from service.pages import seals
from service.pages.page import Signed, Visit, pages_router
from service.pages.periods import last_whole, neighbours
from service.pages.summary_view import ARRIVED, TEXT_FIELDS, sorted_units, view_of
from service.pages.units import path_to
from service.summaries import reports, trend
from service.summaries import routes as summaries
from service.summaries.answers import Summary
from service.summaries.reports import TextPage
from service.summaries.trend import Kind
from service.vocabulary.keeping import current_reference_data
from sync_protocol import periods
from sync_protocol.periods import Period

router: APIRouter = pages_router()

# How many periods the lines show.
_POINTS = 12
# How many texts stand on a page; on that of a unit as high as this they are only asked for.
_TEXTS = 20
_READ_AT_ONCE = 2


# An operation id, and its route.
_Source = tuple[str, Callable[..., Any]]


class _Kind(NamedTuple):
    """A kind of period: how its name is read, the route of its summary, and that of its texts."""

    parse: Callable[[str], Period]
    summary: Callable[..., Any]
    texts: _Source | None = None


_KINDS: Mapping[Kind, _Kind] = {
    "week": _Kind(periods.week, summaries.weekly, ("list_analyses", reports.analyses)),
    "month": _Kind(
        periods.month, summaries.monthly, ("list_monthly_summaries", reports.monthly_summaries)
    ),
    "quarter": _Kind(periods.quarter, summaries.quarterly),
    "year": _Kind(periods.year, summaries.yearly),
}

Unit = Annotated[str, Query(max_length=20)]
Name = Annotated[str, Query(max_length=10)]
Sort = Annotated[str, Query(max_length=40)]
# None: as it fits the unit; empty: from the first; else after which text it goes on.
Texts = Annotated[str | None, Query(max_length=500)]


@router.get("/week", operation_id="week_page")
async def week(
    visit: Signed, unit: Unit = "", week: Name = "", sort: Sort = "", texts: Texts = None
) -> Response:
    """A week of a unit."""
    return await _shown(visit, "week", unit, week, sort, texts)


@router.get("/month", operation_id="month_page")
async def month(
    visit: Signed, unit: Unit = "", month: Name = "", sort: Sort = "", texts: Texts = None
) -> Response:
    """A month of a unit."""
    return await _shown(visit, "month", unit, month, sort, texts)


@router.get("/quarter", operation_id="quarter_page")
async def quarter(visit: Signed, unit: Unit = "", quarter: Name = "", sort: Sort = "") -> Response:
    """A quarter of a unit."""
    return await _shown(visit, "quarter", unit, quarter, sort)


@router.get("/year", operation_id="year_page")
async def year(visit: Signed, unit: Unit = "", year: Name = "", sort: Sort = "") -> Response:
    """A year of a unit."""
    return await _shown(visit, "year", unit, year, sort)


async def _shown(
    visit: Visit, kind: Kind, unit: str, name: str, sort: str, texts: str | None = None
) -> Response:
    caller, today = visit.caller, visit.caller.today
    period = named_period(_KINDS[kind].parse, name) if name else last_whole(kind, today)
    unit = unit or visit.own_unit() or ""
    in_scope(caller, unit)
    asked = await asyncio.gather(
        _KINDS[kind].summary(visit.request, caller, unit, period.name),
        trend.trend(visit.request, visit.to("summary_trend"), unit, kind, _POINTS, period.last),
        _texts(visit, kind, unit, period.name, texts),
        path_to(visit, unit),
        _words(visit),
    )
    found: Summary = asked[0]
    _, went, page_of_texts, path, words = asked
    before, after = neighbours(period, kind, today)
    is_over = period.ends <= caller.now
    seals_it = kind in seals.SEALED and may_settle(caller.posts, unit, caller.now)
    return visit.page(
        "summary.html",
        kind=kind,
        unit=unit,
        period=period,
        is_over=is_over,
        before=before,
        after=after,
        summary=found,
        view=view_of(found, went, period, words),
        units=sorted_units(found.units, sort),
        sort=sort,
        text_fields=TEXT_FIELDS.get(kind, ()),
        arrived_labels=ARRIVED,
        has_texts=_source(visit, kind) is not None,
        texts=page_of_texts,
        path_up=path,
        may_seal=seals_it and is_over and not found.sealed,
        may_unseal=seals_it and found.seal is not None and found.seal.unit == unit,
        which=seals.SEALED.get(kind),
    )


async def _texts(
    visit: Visit, kind: Kind, unit: str, name: str, after: str | None
) -> TextPage | None:
    """The texts of grids; None where nobody asked for those of so many."""
    source = _source(visit, kind)
    if source is None:
        return None
    if after is None and visit.caller.tree.height(unit) > _READ_AT_ONCE:
        return None
    operation, read = source
    found: TextPage = await read(
        visit.request, visit.to(operation), name, unit, _TEXTS, after or None
    )
    return found


def _source(visit: Visit, kind: Kind) -> _Source | None:
    """Where the texts of a period come from that the visitor may read."""
    source = _KINDS[kind].texts
    return source if source is not None and visit.may(source[0]) else None


async def _words(visit: Visit) -> Any:
    """The words of duties and severities in both languages."""
    async with visit.state.database.reading() as connection:
        return (await current_reference_data(connection)).vocabulary
