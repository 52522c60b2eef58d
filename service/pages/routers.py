"""All pages: a file each, listed here."""

from fastapi.routing import APIRoute

from service.pages import help, home, password, seals, second_factor, sign_in, summary, units

ROUTERS = (
    sign_in.router,
    password.router,
    second_factor.router,
    home.router,
    summary.router,
    seals.router,
    units.router,
    help.router,
)
# The first parts of their paths.
SEGMENTS = frozenset(
    route.path[1:].partition("/")[0]
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
)
