"""The pages that the head of every page leads to, in order. A page that is added gets its line
here.
"""

from collections.abc import Callable
from typing import NamedTuple

from sync_protocol.texts import Text


class Entry(NamedTuple):
    """A page in the navigation. `operation`: its operation id, by whose right it is shown;
    `is_of_unit`: whether its address takes the unit that one is looking at; `leads_to`: pages, one
    of which somebody must see for being led there.
    """

    operation: str
    path: str
    label: Text
    is_of_unit: bool = True
    leads_to: tuple[str, ...] = ()

    def is_for(self, may: Callable[[str], bool]) -> bool:
        """Whether somebody is led to the page."""
        return may(self.operation) and (not self.leads_to or any(map(may, self.leads_to)))


ENTRIES = (
    Entry("week_page", "/week", Text("Week")),
    Entry("month_page", "/month", Text("Month")),
    Entry("quarter_page", "/quarter", Text("Quarter")),
    Entry("year_page", "/year", Text("Year")),
    Entry("inbox_page", "/inbox", Text("Decisions")),
    Entry("problems_page", "/problems", Text("Problems")),
    Entry("households_page", "/households", Text("Households")),
    Entry("visits_page", "/visits", Text("Visit log")),
    Entry("analyses_page", "/analyses", Text("Analyses")),
    Entry("cadres_page", "/cadres", Text("Cadres")),
    Entry("loop_page", "/loop", Text("Loop")),
    Entry("trend_page", "/trend", Text("Trend")),
    Entry("indicators_page", "/indicators", Text("Indicators")),
    Entry("ledgers_page", "/ledgers", Text("Ledgers")),
    Entry("devices_page", "/devices", Text("Phones")),
    Entry(
        "admin_page",
        "/admin",
        Text("Administration"),
        is_of_unit=False,
        leads_to=("imports_page", "admin_articles_page", "trail_page"),
    ),
    Entry("help_page", "/help", Text("Help"), is_of_unit=False),
)


def entries(may: Callable[[str], bool]) -> tuple[Entry, ...]:
    """Those of the pages that somebody may see."""
    return tuple(entry for entry in ENTRIES if entry.is_for(may))
