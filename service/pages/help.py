"""What each number means, in words."""

from fastapi import APIRouter
from fastapi.responses import Response

from service.pages.glossary import FIGURES, TERMS
from service.pages.page import Signed, pages_router

router: APIRouter = pages_router()
# Under an older key the same number once more.
_TWICE = frozenset({"flow_resolution_rate"})


@router.get("/help", operation_id="help_page")
async def help_page(visit: Signed) -> Response:
    """Every number with its key, and the words beside the numbers."""
    figures = {key: figure for key, figure in FIGURES.items() if key not in _TWICE}
    return visit.page("help.html", figures=figures, terms=TERMS)
