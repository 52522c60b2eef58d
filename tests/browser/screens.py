"""Pictures of every page: `make screens` writes them into a folder, for people to look at.

Of each page there is one on a desktop, one on a phone, one in the dark, and its paper as PDF. A few
of them go into the documents as well: `make screens ARGS='build/screens docs/images'`.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image

from migrations.roles import migrate
from service.app import create_app
from service.demo.fill import fill
from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.organisation.load import load
from service.runtime.postgres import as_role, embedded, fresh_database, temporary_folder
from service.writes import timelines
from simulator.places import PASSWORD
from simulator.throwaway import CHEAP, ROLES, TEST_CONFIG, quickest_disk
from sync_protocol.periods import midnight
from tests.browser.city import PLAIN, what_waits
from tests.browser.looks import LOOKS, Look
from tests.browser.serving import FLAGS, chromium_or_skip, served
from tests.conftest import running
from tests.world import Clock, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A Monday, with the weeks before it filled.
TODAY = date(2026, 11, 23)
_VISITS, _PROBLEMS, _DAYS = 40_000, 1_200, 100


class Kind(NamedTuple):
    """A kind of picture: how wide the window is, and its colours."""

    width: int
    scheme: str


KINDS = {"desktop": Kind(1440, "light"), "phone": Kind(390, "light"), "dark": Kind(1440, "dark")}


class Shown(NamedTuple):
    """A picture of the documents: which look, of which kind, and how high."""

    name: str
    look: str
    kind: str
    height: int


SHOWN = (
    Shown("week", "week-city", "desktop", 1000),
    Shown("board", "problems-board", "desktop", 800),
    Shown("decision", "inbox-conflict", "desktop", 620),
    Shown("phone", "week-village", "phone", 844),
)
_COLOURS = 128


async def _fill(url: str, folder: Path) -> dict[str, str]:
    """Fills the city; returns the ids that addresses need."""
    settings = Settings(database_url=url, households_per_grid=4)
    pool = await open_pool(url, 2, init=timelines.note_timeline)
    try:
        database = Database(pool)
        await load(database, settings, midnight(TODAY), password=CHEAP.hash(PASSWORD))
        last = TODAY - timedelta(days=1)
        await fill(database, settings, _VISITS, _PROBLEMS, last, _DAYS, lambda *_: None)
    finally:
        await pool.close()
    clock = Clock(midnight(TODAY) + timedelta(hours=7))
    settings = Settings(database_url=as_role(url, ROLES.service), demo=True)
    app = create_app(settings, clock.now)
    async with running(app) as client:
        world = World(app, client, clock, folder)
        try:
            return await what_waits(world, PLAIN)
        finally:
            await world.close()


class Camera:
    """Takes the pictures."""

    def __init__(self, browser: "Browser", address: str, places: dict[str, str]) -> None:
        self._browser = browser
        self._address = address
        self._places = places
        self._cookies: dict[str, Any] = {}

    def _cookies_of(self, who: str) -> Any:
        if who not in self._cookies:
            context = self._browser.new_context()
            page = context.new_page()
            page.goto(f"{self._address}/signin")
            page.fill("input[name=username]", who)
            page.fill("input[name=password]", PASSWORD)
            page.click("main button")
            page.wait_for_selector("form[data-action=signout]")
            self._cookies[who] = context.storage_state()
            context.close()
        return self._cookies[who]

    def page(self, look: Look, kind: Kind, height: int = 900) -> "Page":
        """A look in a window of its own."""
        context = self._browser.new_context(
            viewport={"width": kind.width, "height": height},
            color_scheme="dark" if kind.scheme == "dark" else "light",
            locale="zh-CN",
            storage_state=self._cookies_of(look.who) if look.who else None,
        )
        page: Page = context.new_page()
        page.goto(self._address + look.address(self._places))
        return page

    def take(self, looks: Sequence[Look], folder: Path) -> None:
        """Every picture of some looks."""
        for look in looks:
            for name, kind in KINDS.items():
                page = self.page(look, kind)
                page.screenshot(path=folder / f"{look.name}-{name}.png", full_page=True)
                if name == "desktop":
                    file = folder / f"{look.name}-print.pdf"
                    page.pdf(path=file, format="A4", prefer_css_page_size=True)
                page.context.close()

    def show(self, folder: Path) -> None:
        """The few pictures of the documents, small enough to be loaded at once."""
        looks = {look.name: look for look in LOOKS}
        for one in SHOWN:
            page = self.page(looks[one.look], KINDS[one.kind], one.height)
            file = folder / f"{one.name}.png"
            page.screenshot(path=file)
            page.context.close()
            with Image.open(file) as image:
                image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
                    file, optimize=True
                )


def main(folder: Path, documents: Path | None, names: str) -> None:
    """Makes a city, looks at each page, and writes the pictures."""
    try:
        path = chromium_or_skip()
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        sys.exit(str(why))
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    looks = [look for look in LOOKS if fnmatch(look.name, names)]
    with temporary_folder("screens", quickest_disk()) as data, embedded(data, TEST_CONFIG) as root:
        url = asyncio.run(fresh_database(root, "gridloop_screens"))
        migrate(url, ROLES)
        places = asyncio.run(_fill(url, folder))
        clock = Clock(midnight(TODAY) + timedelta(hours=9))
        settings = Settings(database_url=as_role(url, ROLES.service), demo=True)
        with served(create_app(settings, clock.now)) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
            camera = Camera(browser, address, places)
            camera.take(looks, folder)
            if documents is not None:
                documents.mkdir(parents=True, exist_ok=True)
                camera.show(documents)
            browser.close()
    for file in folder.glob("*.sqlite3*"):
        file.unlink()
    print(f"{len(looks) * len(KINDS)} pictures, and a PDF of each page, are in {folder}.")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", nargs="?", default="build/screens", type=Path)
    asked.add_argument("documents", nargs="?", type=Path, help="where those of the documents go")
    asked.add_argument("--names", default="*", help="only looks of such names, as week-*")
    given = asked.parse_args()
    main(given.folder, given.documents, given.names)
