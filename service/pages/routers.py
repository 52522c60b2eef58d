"""All pages: a file each, listed here."""

from fastapi.routing import APIRoute

from service.pages import (
    admin,
    analyses,
    apps,
    articles,
    cadre_admin,
    cadres,
    calendar,
    credentials,
    devices,
    help,
    home,
    households,
    imports,
    inbox,
    indicator_admin,
    indicators,
    large_ledgers,
    ledgers,
    loop,
    password,
    post_forms,
    problems,
    seals,
    second_factor,
    sign_in,
    summary,
    trail,
    trend,
    unit_admin,
    units,
    visits,
    vocabulary,
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
    # Before the ledgers, whose names it looks like.
    large_ledgers.router,
    ledgers.router,
    devices.router,
    admin.router,
    imports.router,
    unit_admin.router,
    cadre_admin.router,
    post_forms.router,
    credentials.router,
    vocabulary.router,
    indicator_admin.router,
    calendar.router,
    articles.router,
    apps.router,
    trail.router,
    indicators.router,
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
