"""Pictures of every page: `make screens` writes them into a folder, for people to look at.

Of each page there is one on a desktop, one on a phone, one in the dark, and its paper as PDF.
"""

import asyncio
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from migrations.roles import migrate
from service.app import create_app
from service.demo.fill import fill
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from service.writes import timelines
from simulator.places import PASSWORD, TOWNSHIP, VILLAGE
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG, quickest_disk
from sync_protocol.periods import midnight
from tests.browser.serving import FLAGS, chromium_or_skip, served
from tests.world import Clock

# A Monday, with the weeks before it filled.
TODAY = date(2026, 11, 23)
_VISITS, _PROBLEMS, _DAYS = 40_000, 1_200, 100
PAGES = {
    "signin": "/signin",
    "week-city": "/week?unit=1502&week=2026-W47",
    "week-township": f"/week?unit={TOWNSHIP}&week=2026-W47",
    "week-village": f"/week?unit={VILLAGE}&week=2026-W47",
    "week-empty": f"/week?unit={VILLAGE}&week=2020-W10",
    "week-english": "/week?unit=1502&week=2026-W47&lang=en",
    "month-city": "/month?unit=1502&month=2026-10&lang=zh",
    "quarter-city": "/quarter?unit=1502&quarter=2026-Q3",
    "year-city": "/year?unit=1502&year=2026",
    "units": "/units",
    "units-found": "/units?text=河",
    "help": "/help",
    "password": "/password",
    "second-factor": "/second-factor",
    "absent": "/week?unit=9",
    "inbox": "/inbox",
    "problems": "/problems",
    "board": "/problems?view=board",
    "households": f"/households?unit={VILLAGE}",
    "visits": "/visits",
    "analyses": f"/analyses?unit={VILLAGE}",
    "indicators": f"/indicators?unit={TOWNSHIP}",
    "admin": "/admin",
    "unit": f"/admin/units/{VILLAGE}",
    "lists": "/admin/vocabulary",
    "limits": "/admin/limits",
    "calendar": "/admin/calendar?year=2026",
    "articles": "/admin/articles",
    "article-new": "/admin/articles/new",
}
# Window and colours of each kind of picture.
KINDS = {
    "desktop": (1440, "light"),
    "phone": (390, "light"),
    "dark": (1440, "dark"),
}


async def _fill(url: str) -> None:
    settings = Settings(database_url=url, households_per_grid=4)
    pool = await open_pool(url, 2, init=timelines.note_timeline)
    try:
        database = Database(pool)
        await load(database, settings, midnight(TODAY), password=CHEAP.hash(PASSWORD))
        last = TODAY - timedelta(days=1)
        await fill(database, settings, _VISITS, _PROBLEMS, last, _DAYS, lambda *_: None)
    finally:
        await pool.close()


def _take(address: str, path: str, folder: Path) -> int:
    from playwright.sync_api import sync_playwright

    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        for kind, (width, scheme) in KINDS.items():
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            for name, address_of_page in PAGES.items():
                if name == "week-city":
                    page.fill("input[name=username]", "S1502")
                    page.fill("input[name=password]", PASSWORD)
                    page.click("main button")
                    page.wait_for_selector("form[data-action=signout]")
                page.goto(address + address_of_page)
                page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True)
                count += 1
                if kind == "desktop":
                    page.pdf(path=folder / f"{name}-print.pdf", format="A4")
            context.close()
        browser.close()
    return count


def main(folder: Path) -> None:
    """Makes a city, looks at each page, and writes the pictures."""
    try:
        path = chromium_or_skip()
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        sys.exit(str(why))
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder("screens", quickest_disk()) as data, embedded(data, TEST_CONFIG) as root:
        url = asyncio.run(fresh_database(root, "gridloop_screens"))
        migrate(url, ROLES)
        asyncio.run(_fill(url))
        clock = Clock(midnight(TODAY) + timedelta(hours=9))
        settings = Settings(database_url=as_role(url, ROLES.service), demo=True)
        with served(create_app(settings, clock.now)) as address:
            count = _take(address, path, folder)
    print(f"{count} pictures, and a PDF of each page, are in {folder}.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/screens"))
