"""The weekly analyses and monthly summaries of grids, readable one after another: `/analyses`."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from service.organisation.units import named_period
from service.pages.filters import After, UnitCode
from service.pages.names import names_of
from service.pages.page import Signed, pages_router
from service.pages.periods import last_whole, neighbours
from service.pages.summary_view import TEXT_FIELDS
from service.pages.units import path_to
from service.summaries import reports
from sync_protocol import periods

router: APIRouter = pages_router()
_TEXTS = 30

Name = Annotated[str, Query(max_length=10)]


@router.get("/analyses", operation_id="analyses_page")
async def analyses_page(
    visit: Signed, unit: UnitCode = "", week: Name = "", month: Name = "", after: After = ""
) -> Response:
    """The texts of a week, or of a month if that is asked for."""
    kind = "month" if month else "week"
    today = visit.caller.today
    if month:
        period = named_period(periods.month, month)
        found = await reports.monthly_summaries(
            visit.request,
            visit.to("list_monthly_summaries"),
            period.name,
            unit or None,
            _TEXTS,
            after or None,
        )
    else:
        period = named_period(periods.week, week) if week else last_whole("week", today)
        found = await reports.analyses(
            visit.request,
            visit.to("list_analyses"),
            period.name,
            unit or None,
            _TEXTS,
            after or None,
        )
    earlier, later = neighbours(period, kind, today)
    return visit.page(
        "analysis_list.html",
        unit=unit,
        path_up=await path_to(visit, unit) if unit else [],
        kind=kind,
        period=period,
        earlier=earlier,
        later=later,
        months=last_whole("month", today),
        found=found,
        names=await names_of(visit, [item.grid for item in found.items]),
        text_fields=TEXT_FIELDS[kind],
    )
