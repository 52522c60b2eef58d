"""That no page is forgotten where all of them are looked at."""

from fastapi.routing import APIRoute
from starlette.routing import Match

from service.pages.routers import ROUTERS
from tests.browser.looks import LOOKS, NOT_LOOKED_AT


def page_routes() -> list[APIRoute]:
    """What answers when a page is asked for."""
    return [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    ]


def operation_at(path: str) -> str:
    """The operation id of the page that answers at a path; empty for none."""
    scope = {"type": "http", "method": "GET", "path": path}
    for route in page_routes():
        if route.matches(scope)[0] is Match.FULL:
            return str(route.operation_id)
    return ""


def test_every_page_is_in_the_list_of_those_that_are_looked_at() -> None:
    pages = {str(route.operation_id) for route in page_routes()}
    looked_at = {operation_at(look.path.partition("?")[0]) for look in LOOKS} - {""}
    assert looked_at.isdisjoint(NOT_LOOKED_AT)
    assert looked_at | set(NOT_LOOKED_AT) == pages, "see tests/browser/looks.py"


def test_every_look_has_a_name_of_its_own() -> None:
    assert len({look.name for look in LOOKS}) == len({look.path for look in LOOKS}) == len(LOOKS)
