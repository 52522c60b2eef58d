"""The first page: leads to the week of one's own unit."""

from fastapi import APIRouter
from fastapi.responses import Response

from service.pages.page import Signed, pages_router
from service.pages.periods import last_whole

router: APIRouter = pages_router()


@router.get("/", operation_id="home_page")
async def home(visit: Signed) -> Response:
    """The last week that is over; who sees no numbers is led to the trail, or to the help."""
    unit = visit.own_unit()
    if unit is None:
        return visit.go("/admin/trail" if visit.may("trail_page") else "/help")
    return visit.go("/week", unit=unit, week=last_whole("week", visit.caller.today).name)
