"""A real Chromium in front of the real service. These tests take part only when they are asked for
by name, as in `make browser-test`: they need a program that is large.
"""

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.app import create_app
from service.kit.settings import Settings
from service.runtime.postgres import as_role, fresh_database
from simulator.places import NOW, PASSWORD
from simulator.throwaway import ROLES
from tests.browser.city import some_weeks
from tests.browser.looks import SUPERVISOR_OF_CITY
from tests.browser.serving import FLAGS, chromium_or_skip, served
from tests.conftest import keep_from_temporary_tables

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves the tests out unless this folder, or a file of it, is named."""
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    if any(one == HERE or HERE in one.parents for one in named):
        return None
    return HERE in collection_path.parents


class Ticking:
    """A clock on which each look comes a millisecond after the one before, so that what people do
    one after the other has its order; `ahead`: how far a test has set it.
    """

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._looks = itertools.count(1)

    def now(self) -> datetime:
        """The moment."""
        return NOW + self.ahead + timedelta(milliseconds=next(self._looks))


class City:
    """The service with a city in it: its address, its clock, and the ids that addresses need."""

    def __init__(self, url: str, clock: Ticking, places: dict[str, str]) -> None:
        self.url = url
        self.clock = clock
        self.places = places
        self._signed_in: dict[str, Any] = {}

    def rest(self, path: str, **query: Any) -> Any:
        """An answer of REST."""
        form = {"grant_type": "password", "username": SUPERVISOR_OF_CITY, "password": PASSWORD}
        token = httpx.post(f"{self.url}/v1/auth/token", data=form).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(self.url + path, params=query, headers=headers).json()

    def cookies_of(self, staff_code: str, chromium: "Browser") -> Any:
        """The cookies of somebody who has signed in by the form, once for all tests that do not
        sign out.
        """
        if staff_code not in self._signed_in:
            context = chromium.new_context()
            Window(self, context).sign_in(staff_code)
            self._signed_in[staff_code] = context.storage_state()
            context.close()
        return self._signed_in[staff_code]


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """The browser."""
    path = chromium_or_skip()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def city(server: str, template: str) -> Iterator[City]:
    """A city with some weeks of work."""
    chromium_or_skip()
    url = _in_thread(lambda: asyncio.run(_database(server, template)))
    settings = Settings(
        database_url=as_role(url, ROLES.service),
        owner_database_url=as_role(url, ROLES.owner),
        demo=True,
        attempts_here="10000/minute",
    )
    with tempfile.TemporaryDirectory() as folder:
        places = _in_thread(lambda: asyncio.run(some_weeks(settings, Path(folder))))
    clock = Ticking()
    with served(create_app(settings, clock.now)) as address:
        yield City(address, clock, places)


async def _database(server: str, template: str) -> str:
    url = await fresh_database(server, "gridloop_browser", template)
    await keep_from_temporary_tables(url)
    return url


def _in_thread(work: Callable[[], Any]) -> Any:
    """What a thread of its own makes: that of the tests has an event loop of the browser's."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


class Window:
    """A window of the browser at the pages; what goes wrong in it fails the test."""

    def __init__(self, city: City, context: "BrowserContext") -> None:
        self.city = city
        self.context = context
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("dialog", self._on_dialog)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_dialog(self, dialog: Any) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _on_console(self, message: Any) -> None:
        # Answers that are no 200 are what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def open(self, path: str) -> int:
        """Opens a page; returns its status."""
        answer = self.page.goto(self.city.url + path)
        assert answer is not None
        status: int = answer.status
        return status

    def sign_in(self, staff_code: str) -> None:
        """Signs in by the form."""
        self.open("/signin")
        self.page.fill("input[name=username]", staff_code)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("main button")
        self.page.wait_for_selector("form[data-action=signout]")


@pytest.fixture
def window(city: City, chromium: "Browser") -> Iterator[Callable[..., Window]]:
    """Opens windows, each with cookies of its own; with those of somebody who is signed in, if one
    is named.
    """
    opened: list[Window] = []

    def open_one(who: str | None = None, **options: Any) -> Window:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        if who is not None:
            options["storage_state"] = city.cookies_of(who, chromium)
        found = Window(city, chromium.new_context(**options))
        opened.append(found)
        return found

    yield open_one
    for one in opened:
        one.context.close()
    city.clock.ahead = timedelta()
    assert [wrong for one in opened for wrong in one.wrong] == []
