"""Builders for tests of pages: a browser without a window, over HTTP alone."""

import re
from html import unescape
from typing import Any

import httpx

from simulator.places import PASSWORD
from tests.identity.test_rights import SOMEBODY, appoint
from tests.world import World

ORIGIN = "https://gridloop.test"


class Browser:
    """Keeps cookies as a browser does, and sends the forms of pages."""

    def __init__(self, world: World, origin: str = ORIGIN) -> None:
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(world.app, raise_app_exceptions=False), base_url=origin
        )
        self.origin = origin
        self.world = world

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """A page, as a browser asks for it."""
        return await self.client.get(path, params=query or None, headers={"Accept": "text/html"})

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """A form, as a browser sends it, a moment after whatever came before."""
        self.world.clock.forward(milliseconds=1)
        return await self.client.post(
            path, data=fields, headers={"Accept": "text/html", "Origin": self.origin} | headers
        )

    async def sign_in(self, staff_code: str, **fields: str) -> httpx.Response:
        """Signs in; the answer leads to the first page."""
        return await self.post("/signin", {"username": staff_code, "password": PASSWORD} | fields)

    async def send(self, page: httpx.Response, action: str, **fields: str) -> httpx.Response:
        """Sends a form of a page, by its `data-action`, with some fields filled in."""
        form = form_of(page.text, action)
        return await self.post(form.path, form.fields | fields)


async def somebody_with(
    world: World, role: str, unit: str
) -> tuple[Browser, dict[str, str]] | None:
    """Somebody with one post: a browser that is signed in, and the headers by which REST knows
    them. None for a machine, which no page lets in.
    """
    token = await appoint(world, role, unit)
    browser = Browser(world)
    if (await browser.sign_in(SOMEBODY)).status_code != 303:
        assert role == "app_client"
        return None
    return browser, {"Authorization": f"Bearer {token}"}


class Form:
    """A form of a page: where it goes, and the fields that it has."""

    def __init__(self, path: str, fields: dict[str, str]) -> None:
        self.path = path
        self.fields = fields


def form_of(text: str, action: str) -> Form:
    """The form of a page with this `data-action`."""
    [form] = re.findall(rf'<form[^>]*data-action="{action}".*?</form>', text, re.DOTALL)
    return _form(form)


def sent_again(text: str) -> Form:
    """The form that carries what was typed before."""
    [form] = re.findall(r"<form[^>]*data-send-at-once.*?</form>", text, re.DOTALL)
    return _form(form)


def _form(form: str) -> Form:
    path = re.findall(r'action="([^"]*)"', form)[0]
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return Form(unescape(path), {unescape(name): unescape(value) for name, value in fields})


def hidden(text: str, name: str) -> str:
    """The value of the first hidden field of this name."""
    return unescape(re.findall(rf'name="{name}" value="([^"]*)"', text)[0])


def figures(text: str) -> dict[str, str]:
    """The raw numbers of a page by key, the first of each."""
    found: dict[str, str] = {}
    for key, raw in re.findall(r'data-figure="([^"]+)" data-value="([^"]*)"', text):
        found.setdefault(key, raw)
    return found
