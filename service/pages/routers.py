"""All pages: a file each, listed here."""

from fastapi.routing import APIRoute

from service.pages import (
    admin,
    analyses,
    cadres,
    devices,
    help,
    home,
    households,
    imports,
    inbox,
    ledgers,
    loop,
    password,
    problems,
    seals,
    second_factor,
    sign_in,
    summary,
    trend,
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
    cadres.router,
    loop.router,
    trend.router,
    ledgers.router,
    devices.router,
    admin.router,
    imports.router,
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
