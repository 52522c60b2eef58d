"""Builders for tests of administration: who is signed in, and forms that are sent."""

import html
import re
from typing import Any

import httpx

from tests.pages.browsing import Browser, form_of
from tests.world import World

ADMIN = "admin"
HOSTILE = "<img src=x onerror=alert(1)>\"'"


async def browser_of(world: World, staff_code: str = ADMIN) -> Browser:
    """Somebody who is signed in."""
    browser = Browser(world)
    assert (await browser.sign_in(staff_code)).status_code == 303
    return browser


async def send(browser: Browser, page: httpx.Response, action: str, **fields: Any) -> Any:
    """Sends a form of a page; follows where it leads."""
    answer = await browser.send(page, action, **fields)
    if answer.status_code == 303:
        return await browser.get(answer.headers["location"])
    return answer


def said(page: httpx.Response) -> str:
    """What a page says to have been done, or why it was not."""
    found = re.findall(r'<p class="notice (?:good|bad)" role="\w+">(.*?)</p>', page.text, re.DOTALL)
    return html.unescape(" ".join(found))


async def forged(browser: Browser, path: str, **fields: Any) -> int:
    """The status of a form that no page has offered, with a token of one's own."""
    page = await browser.get("/help")
    token = form_of(page.text, "signout").fields["csrf"]
    return (await browser.post(path, {"csrf": token} | fields)).status_code
