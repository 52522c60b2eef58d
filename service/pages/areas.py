"""The pages of administration, in order; each shows a way to those that the visitor may see."""

from typing import NamedTuple

from service.accounts.app_accounts import administers_whole
from service.pages.page import Visit
from sync_protocol.texts import Text


class Area(NamedTuple):
    """A page of administration. `operation`: by whose right it is shown; `is_of_all`: only to who
    has it for the whole city.
    """

    operation: str
    path: str
    label: Text
    meaning: Text
    is_of_all: bool = False


AREAS = (
    Area(
        "imports_page",
        "/admin/imports",
        Text("Imports"),
        Text("Take in units, people, posts and households from workbooks; try it first."),
    ),
    Area(
        "admin_units_page",
        "/admin/units",
        Text("Units"),
        Text("The tree of units: make, rename, move, split, merge and close them."),
    ),
    Area(
        "admin_cadres_page",
        "/admin/cadres",
        Text("Cadres and their posts"),
        Text("Who holds which post; give, change and end posts, hand over, help with passwords."),
    ),
    Area(
        "admin_posts_page",
        "/admin/posts",
        Text("Posts"),
        Text("Every post of a unit: at present, to come, and ended."),
    ),
    Area(
        "slips_page",
        "/admin/slips",
        Text("Passwords and slips"),
        Text("One-time codes for everybody who has no password yet, on slips to cut off."),
    ),
    Area(
        "vocabulary_page",
        "/admin/vocabulary",
        Text("Lists of words"),
        Text("Duties, kinds of problems, household tags and other lists, with their days."),
    ),
    Area(
        "admin_indicators_page",
        "/admin/indicators",
        Text("What is reported"),
        Text("The indicators: measure, period, who reports them, and the target for all."),
    ),
    Area(
        "limits_page",
        "/admin/limits",
        Text("Limits"),
        Text("How long problems may take, when logs are due, and whether ranks are shown."),
    ),
    Area(
        "calendar_page",
        "/admin/calendar",
        Text("Calendar"),
        Text("Which days are worked; take in the official list of a year, or local holidays."),
    ),
    Area(
        "seals_page",
        "/admin/seals",
        Text("Seals"),
        Text("Which weeks and months are sealed, by whom, and why a seal was lifted."),
    ),
    Area(
        "admin_articles_page",
        "/admin/articles",
        Text("Articles"),
        Text("Write, look at, publish and withdraw articles; how often they were read."),
    ),
    Area(
        "apps_page",
        "/admin/apps",
        Text("Apps"),
        Text("Accounts of apps: what each may do, another secret, and the end of it."),
        is_of_all=True,
    ),
    Area(
        "trail_page",
        "/admin/trail",
        Text("Trail"),
        Text("Who read, changed or exported what, and when."),
    ),
)


def areas(visit: Visit) -> list[Area]:
    """Those of the pages that the visitor may see."""
    return [
        area
        for area in AREAS
        if visit.may(area.operation)
        and (not area.is_of_all or administers_whole(visit.to(area.operation)))
    ]
