"""Every page as it is looked at: one list, from which pictures, checks for those who see or move
less, widths, policies and the walk with hostile texts are made. A page that is added gets its line
here; `tests/pages/test_every_page.py` notices one that is missing.
"""

from collections.abc import Mapping
from typing import NamedTuple

from simulator.places import TOWNSHIP, VILLAGE
from tests.world import GRID, WORKER

SUPERVISOR_OF_CITY = "S1502"
ADMINISTRATOR = "admin"


class Look(NamedTuple):
    """An address to look at. `name`: what its pictures are called; `path`: with what only a filled
    city knows in braces, see `city.py`; `who` is signed in, None: nobody; `status`: of its
    answer.
    """

    name: str
    path: str
    who: str | None = SUPERVISOR_OF_CITY
    status: int = 200

    def address(self, places: Mapping[str, str]) -> str:
        """The address in a city."""
        return self.path.format_map(places)


_WEEK = "week=2026-W47"
LOOKS = (
    Look("signin", "/signin", None),
    Look("week-city", f"/week?unit=1502&{_WEEK}"),
    Look("week-township", f"/week?unit={TOWNSHIP}&{_WEEK}"),
    Look("week-village", f"/week?unit={VILLAGE}&week=2026-W46"),
    Look("week-grid", f"/week?unit={GRID}&week=2026-W46"),
    Look("week-empty", f"/week?unit={VILLAGE}&week=2020-W10"),
    Look("week-english", f"/week?unit=1502&{_WEEK}&lang=en"),
    Look("month", "/month?unit=1502&month=2026-10"),
    Look("quarter", "/quarter?unit=1502&quarter=2026-Q4"),
    Look("year", "/year?unit=1502&year=2026"),
    Look("units", "/units"),
    Look("units-found", "/units?text=河"),
    Look("inbox", "/inbox"),
    Look("inbox-conflict", "/inbox?conflict={conflict}"),
    Look("inbox-held", "/inbox?held={held}"),
    Look("inbox-empty", "/inbox?unit=150221"),
    Look("problems", "/problems"),
    Look("problems-board", "/problems?view=board"),
    Look("problems-none", "/problems?text=没有这样的问题"),
    Look("problem", "/problems/{problem}"),
    Look("households", f"/households?unit={VILLAGE}"),
    Look("visits", f"/visits?unit={VILLAGE}"),
    Look("analyses", f"/analyses?unit={VILLAGE}&week=2026-W46"),
    Look("summaries", f"/analyses?unit={VILLAGE}&month=2026-10"),
    Look("cadres", f"/cadres?unit={VILLAGE}&{_WEEK}"),
    Look("cadres-city", "/cadres?unit=1502&month=2026-11"),
    Look("cadre", f"/cadres/{WORKER}?month=2026-11"),
    Look("loop-week", f"/loop?unit={VILLAGE}&week=2026-W46"),
    Look("loop-month", f"/loop?unit={TOWNSHIP}&month=2026-11"),
    Look("trend", "/trend?unit=1502&figure=visits&kind=week&count=12"),
    Look("ledgers", f"/ledgers?unit={VILLAGE}&{_WEEK}"),
    Look("ledger-weekly", f"/ledgers/weekly?unit={TOWNSHIP}&{_WEEK}"),
    Look("ledger-visits", f"/ledgers/visits?unit={VILLAGE}&week=2026-W46"),
    Look("ledger-problems", f"/ledgers/problems?unit={VILLAGE}&month=2026-11"),
    Look("ledger-special", f"/ledgers/special?unit={VILLAGE}&{_WEEK}"),
    Look("ledger-cadres", f"/ledgers/cadres?unit={VILLAGE}&month=2026-11"),
    Look("devices", f"/devices?unit={VILLAGE}"),
    Look("admin", "/admin", ADMINISTRATOR),
    Look("admin-seals", "/admin/seals?unit=1502&name=2026-W45", ADMINISTRATOR),
    Look("admin-units", f"/admin/units?unit={TOWNSHIP}", ADMINISTRATOR),
    Look("admin-cadres", f"/admin/cadres?unit={VILLAGE}", ADMINISTRATOR),
    Look("admin-posts", f"/admin/posts?unit={VILLAGE}&ended=yes", ADMINISTRATOR),
    Look("admin-unit", f"/admin/units/{VILLAGE}", ADMINISTRATOR),
    Look("admin-unit-split", f"/admin/units/{GRID}/split", ADMINISTRATOR),
    Look("admin-cadre", f"/admin/cadres/{WORKER}", ADMINISTRATOR),
    Look("admin-hire", f"/admin/hire?unit={VILLAGE}", ADMINISTRATOR),
    Look("admin-slips", f"/admin/slips?unit={VILLAGE}", ADMINISTRATOR),
    Look("admin-vocabulary", "/admin/vocabulary", ADMINISTRATOR),
    Look("admin-words", "/admin/vocabulary?list=tag", ADMINISTRATOR),
    Look("admin-limits", "/admin/limits", ADMINISTRATOR),
    Look("admin-calendar", "/admin/calendar?year=2026", ADMINISTRATOR),
    Look("admin-articles", "/admin/articles", ADMINISTRATOR),
    Look("admin-article-new", "/admin/articles/new", ADMINISTRATOR),
    Look("admin-indicators", "/admin/indicators", ADMINISTRATOR),
    Look("admin-apps", "/admin/apps", ADMINISTRATOR),
    Look("admin-trail", "/admin/trail", ADMINISTRATOR),
    Look("indicators", f"/indicators?unit={TOWNSHIP}&year=2026"),
    Look("indicator", f"/indicators/income?unit={TOWNSHIP}&year=2026"),
    Look("imports", "/admin/imports", ADMINISTRATOR),
    Look("import", "/admin/imports/{import}", ADMINISTRATOR),
    Look("password", "/password"),
    Look("second-factor", "/second-factor"),
    Look("help", "/help"),
    Look("absent", "/week?unit=9", status=404),
    Look("nowhere", "/nowhere", status=404),
)

# Pages that nobody can look at, and why.
NOT_LOOKED_AT = {
    "home_page": "it leads to the week of one's own unit",
    "admin_article_page": "the form of a new article with its words in it",
    "import_progress": "a part of the page of an import",
    "ledger_file": "a file to download",
    "asked_ledgers": "a part of the page of ledgers",
    "asked_ledger_file": "a file to download",
    "roster_file": "a file to download",
}
