"""The requests whose reading is measured: at least one for every GET route of the OpenAPI document,
with filters on and off where it has some.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sync_protocol.periods import (
    Period,
    half_around,
    month,
    month_of,
    previous,
    quarter_of,
    week,
    week_of,
)

OPENAPI: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "openapi" / "openapi.json").read_text(encoding="utf-8")
)
CITY, BANNER, TOWNSHIP, VILLAGE = "1502", "150221", "150221104", "150221104200"
# The routes that are not measured, and why.
NOT_MEASURED = {
    "list_keys": "reads no table",
    "healthz": "reads no table",
    "metrics": "reads no table of the field work",
    "readyz": "looks at the database, not at its tables",
    "get_article": "a made-up year has no articles",
    "held_original": "a made-up year has nothing held",
    "get_import": "a made-up year has no imports",
    "article_reads": "a made-up year has no articles",
    "indicator_values": "a made-up year has no indicators",
    "list_apps": "a few rows",
    "list_webhooks": "some rows that an administrator has made",
    "list_webhook_deliveries": "a made-up year has no webhooks",
    "list_jobs": "some rows of the last day",
    "get_job": "one row by its key",
    "get_job_content": "a made-up year has no results of jobs",
    "list_requests": "for machine accounts, a page by an index",
    "get_request": "for machine accounts, one row by its key",
    "list_villages": "for machine accounts; what it reads is in the summaries",
    "village_statistics": "for machine accounts; what it reads is in the summaries",
}


class Facts(NamedTuple):
    """What the requests name: the days up to which there is work, and some records."""

    last_week: Period
    last_month: Period
    household: str
    problem: str
    visit: str
    cadre: str
    grid: str

    @property
    def year(self) -> str:
        """The year in which most of the work lies."""
        return str(self.last_month.first.year)


# Who asks: staff of the city, its administrator, or staff of a township.
STAFF, ADMIN = "S1502", "admin"
# Tags of single households are shown from the township down.
TOWNSHIP_STAFF = f"S{TOWNSHIP}"


class Case(NamedTuple):
    """A request of a route by its operation id, the most that it may take, in milliseconds, and who
    asks.
    """

    name: str
    operation: str
    given: dict[str, Any]
    target_ms: float
    by: str = STAFF

    @property
    def path(self) -> str:
        """The path, with its parameters filled in."""
        path, _ = ROUTES[self.operation]
        return path.format(**self.given)

    @property
    def query(self) -> dict[str, Any]:
        """What is left for the query."""
        path, _ = ROUTES[self.operation]
        return {name: value for name, value in self.given.items() if f"{{{name}}}" not in path}


ROUTES: dict[str, tuple[str, Any]] = {
    operation["operationId"]: (path, operation)
    for path, item in OPENAPI["paths"].items()
    for method, operation in item.items()
    if method == "get"
}


def cases(of: Facts) -> list[Case]:
    """The requests: first those of a Monday's work, with what was asked of them."""
    week, month = {"week": of.last_week.name}, {"month": of.last_month.name}
    quarter = {"quarter": quarter_of(of.last_month.first)}
    half, year = {"half": half_around(of.last_month.first).name}, {"year": of.year}
    days = {"from": of.last_month.first - timedelta(days=20), "to": of.last_month.last}
    city, banner, village = {"unit": CITY}, {"unit": BANNER}, {"unit": VILLAGE}
    township = {"unit": TOWNSHIP}
    some: list[tuple[Any, ...]] = [
        ("week of the city with its banners", "weekly_summary", city | week, 15),
        ("month of the city with its banners", "monthly_summary", city | month, 20),
        ("quarter of the city with its banners", "quarterly_summary", city | quarter, 30),
        ("half-year of the city with its banners", "half_year_summary", city | half, 40),
        ("year of the city with its banners", "yearly_summary", city | year, 50),
        ("day of the city with its banners", "daily_summary", city | _day(of), 100),
        ("51 days of the city, from a day to a day", "period_summary", city | days, 3_000),
        ("12 weeks of the city and its banners, a trend", "summary_trend",
         city | {"period": "week", "count": 12, "below": True}, 40),
        ("8 quarters of the city and its banners, a trend", "summary_trend",
         city | {"period": "quarter", "count": 8, "below": True}, 150),
        ("week of a village with its grids", "weekly_summary", village | week, 5),
        ("100 best cadres of the city, a year", "cadre_table", city | year | {"limit": 100}, 50),
        ("100 best committee members, a year", "cadre_table",
         city | year | {"limit": 100, "role": "village_committee"}, 60),
        ("100 best party members, a week", "cadre_table",
         city | week | {"limit": 100, "party_member": True}, 30),
        ("a cadre's own page, a month", "cadre_summary", month | {"staff_code": of.cadre}, 20),
        ("members with contact households", "member_table",
         city | month | {"role": "contact"}, 400),
        ("members with contracted households", "member_table",
         city | month | {"role": "lead"}, 400),
        ("loop of a banner, a month", "loop", banner | month, 50),
        ("loop of the city, only what is missing", "loop",
         city | week | {"gaps": "missing", "limit": 100}, 60),
        ("seals of a week of the city", "list_seals",
         city | {"which": "weekly", "name": of.last_week.name}, 5),
        ("analyses of a week of the city, a page", "list_analyses", city | week, 20),
        ("summaries of a month of the city, a page", "list_monthly_summaries", city | month, 20),
        ("problems of the city, a page", "list_problems", city, 10),
        ("open problems of a banner, a page", "list_problems", banner | {"open": True, "limit": 20},
         10),
        ("overdue problems of the city, a page", "list_problems",
         city | {"open": True, "overdue": True, "limit": 20}, 10),
        ("problems that a cadre has to do with", "list_problems", city | {"cadre": of.cadre}, 10),
        ("problems resolved in a month", "list_problems", city | month | {"by": "resolved"}, 10),
        ("a problem with its steps", "get_problem", {"id": of.problem}, 5),
        ("visits of the city, a page", "list_visits", city, 10),
        ("visits of a banner about emergencies", "list_visits", banner | {"duty": "emergency"}, 10),
        ("visits of a village, a page", "list_visits", village, 10),
        ("visits of a cadre, a page", "list_visits", city | {"cadre": of.cadre}, 10),
        ("visits of a household, a page", "list_visits", city | {"household": of.household}, 10),
        ("households of the city, a page", "list_households", city, 10),
        ("special households of a township, a page", "list_households",
         township | {"special": True}, 10, TOWNSHIP_STAFF),
        ("special households not visited for 30 days", "list_households",
         township | {"special": True, "not_visited_days": 30}, 10, TOWNSHIP_STAFF),
        ("a household", "get_household", {"id": of.household}, 5),
        ("households like one", "household_duplicates", {"id": of.household}, 20),
        ("everything about a household", "export_household", {"id": of.household}, 50),
        ("history of a visit", "record_history", {"kind": "visit", "id": of.visit}, 10),
        ("draft of a week", "weekly_draft", week | {"grid": of.grid}, 20),
        ("draft of a month", "monthly_draft", month | {"grid": of.grid}, 40),
        ("visit ledger of a village, a week", "export_ledger",
         village | week | {"which": "visits"}, 100),
        ("problem ledger of a banner, a month", "export_ledger",
         banner | month | {"which": "problems"}, 1_000),
        ("weekly ledger of the city", "export_ledger", city | week | {"which": "weekly"}, 60),
        ("loop ledger of the city, a month", "export_ledger",
         city | month | {"which": "loop"}, 1_500),
        ("special households of a township as a ledger", "export_ledger",
         {"unit": TOWNSHIP} | month | {"which": "special"}, 1_000),
        ("special households of a township not visited for 30 days, a ledger", "export_ledger",
         {"unit": TOWNSHIP} | month | {"which": "special", "not_visited_days": 30}, 1_000),
        ("roster of a township", "export_roster", {"unit": TOWNSHIP}, 2_000),
        ("cadres of the city, a page", "list_cadres", city, 20),
        ("a cadre", "get_cadre", {"staff_code": of.cadre}, 10),
        ("everything about a cadre", "export_cadre", {"staff_code": of.cadre}, 2_000, ADMIN),
        ("what a cadre has in hand", "in_hand", {"staff_code": of.cadre}, 20),
        ("posts of the city, a page", "list_posts", city, 20),
        ("devices of the city, a page", "list_devices", city, 20),
        ("units of the city, a page", "list_units", city, 20),
        ("a unit", "get_unit", {"code": BANNER}, 5),
        ("levels", "list_levels", {}, 5),
        ("indicators", "list_indicators", {}, 10),
        ("marks of villages", "list_marks", city, 10),
        ("who visited whom in a banner, a month", "visiting", banner | month, 400),
        ("ties of a banner, a page", "list_ties", banner, 20),
        ("checks of a visit", "list_visit_checks", {"id": of.visit}, 5),
        ("vocabulary", "list_vocabulary", {}, 10),
        ("calendar", "get_calendar", {}, 10),
        ("who I am", "who_am_i", {}, 5),
        ("my sessions", "list_own_sessions", {}, 5),
        ("articles", "list_articles", {}, 10),
        ("conflicts of the city", "list_conflicts", city, 10),
        ("held mutations of the city", "list_held", city, 10),
        ("imports", "list_imports", {}, 10, ADMIN),
        ("the trail, a page", "list_audit", {}, 20, ADMIN),
    ]  # fmt: skip
    return [Case(*one) for one in some]


def _day(of: Facts) -> dict[str, str]:
    return {"day": of.last_week.first.isoformat()}


def periods_up_to(yesterday: Any) -> tuple[Period, Period]:
    """The last week and the last month that are over."""
    return previous(week(week_of(yesterday))), previous(month(month_of(yesterday)))
