"""All pages: a file each, listed here."""

from fastapi.routing import APIRoute

from service.pages import (
    analyses,
    help,
    home,
    households,
    inbox,
    password,
    problems,
    seals,
    second_factor,
    sign_in,
    summary,
    units,
    visits,
)

ROUTERS = (
    sign_in.router,
    password.router,
    second_factor.router,
    home.router,
    summary.router,
    seals.router,
    units.router,
    help.router,
    inbox.router,
    problems.router,
    households.router,
    visits.router,
    analyses.router,
)
# The first parts of their paths.
SEGMENTS = frozenset(
    route.path[1:].partition("/")[0]
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
)
