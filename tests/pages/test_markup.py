"""What every page has: headers of security, no inline script or style, and files that are kept for
good.
"""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from service.pages import templates
from service.pages.assets import assets
from service.pages.routers import ROUTERS
from tests.pages.browsing import Browser
from tests.world import World

ROOT = Path(__file__).parents[2]
VENDORED = ("service/pages/static/vendor", "tests/browser/vendor")
# Attributes that a strict policy refuses, and tags that bring scripts or styles along.
INLINE = re.compile(
    r"<[^>]+\s(?:on[a-z]+|style)\s*=|<style|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE
)


def paths() -> list[str]:
    """The paths of all pages that are asked for."""
    found = [
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    ]
    assert len(found) > 5
    return found


def policy_of(header: str) -> dict[str, list[str]]:
    """A Content-Security-Policy by its directives."""
    parts = (part.split() for part in header.split(";"))
    return {name: values for name, *values in parts}


async def test_every_page_has_a_strict_policy_and_nothing_inline(world: World) -> None:
    nobody, browser = Browser(world), Browser(world)
    await browser.sign_in("S1502")
    pages = [await browser.get(path) for path in paths()]
    pages += [await nobody.get(path) for path in (*paths(), "/nowhere")]
    pages.append(await nobody.sign_in("S1502", password="wrong"))
    for page in pages:
        policy = policy_of(page.headers["content-security-policy"])
        assert policy["default-src"] == ["'none'"]
        assert policy["script-src"] == policy["style-src"] == ["'self'"]
        assert policy["form-action"] == ["'self'"]
        assert policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        assert not INLINE.search(page.text), page.url


@pytest.mark.parametrize(
    "text",
    [
        *('<p style="x">', "<p onclick='x'>", "<script>x", "<style>", "<a href='javascript:x'>"),
        *("<rect x='1' onload=x>",),
    ],
)
def test_what_is_inline_is_noticed(text: str) -> None:
    assert INLINE.search(text)
    assert not INLINE.search('<script src="/x"></script><p class="style">on x</p>')


async def test_every_form_that_is_posted_carries_a_token_and_says_what_it_does(
    world: World,
) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    seen = set()
    for path in paths():
        page = await browser.get(path)
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", page.text, re.DOTALL):
            assert re.search(r'name="csrf" value="[0-9a-f.]{60,}"', form), path
            seen.add(re.findall(r'data-action="([\w-]+)"', form)[0])
    assert seen >= {"signout", "seal"}


async def test_nothing_is_loaded_from_elsewhere(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    for path in paths():
        page = await browser.get(path)
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page.text)
        assert all(one.startswith("/static/") for one in loaded), loaded


async def test_files_are_sent_under_a_hash_of_their_content_and_kept_for_good(
    world: World,
) -> None:
    for name, asset in assets().items():
        sent = await world.client.get(asset.path)
        assert sent.status_code == 200, name
        assert hashlib.sha256(sent.content).hexdigest()[:12] in asset.path
        assert sent.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert sent.headers["content-encoding"] == "gzip"
        assert gzip.decompress(asset.packed) == asset.plain == sent.content
        plain = await world.client.get(asset.path, headers={"Accept-Encoding": "identity"})
        assert plain.content == asset.plain
        assert "content-encoding" not in plain.headers
    for path in ("/static/0/pages.css", "/static/pages.css", "/static/0/../../pages.py"):
        assert (await world.client.get(path)).status_code == 404


def test_the_first_view_is_small() -> None:
    assert sum(len(asset.packed) for asset in assets().values()) < 60_000


@pytest.mark.parametrize("folder", VENDORED)
def test_what_is_vendored_is_as_its_table_says(folder: str) -> None:
    here = ROOT / folder
    table = (here / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([\w.-]+)` \| .+? \| ([\d.]+) \| .+?`([\w.-]+LICENSE)` \| `([0-9a-f]{64})` \|$",
        table,
        re.MULTILINE,
    )
    licences = {licence for _, _, licence, _ in rows}
    assert {file.name for file in here.iterdir()} == {"README.md"} | licences | {
        name for name, *_ in rows
    }
    for name, version, _, checksum in rows:
        content = (here / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum, name
        assert version.encode() in content, name


def test_templates_hold_no_words_of_their_own() -> None:
    """Every word comes from the catalogue: what lies between tags and expressions is no letter."""
    wrong = []
    for file in sorted(templates.FOLDER.glob("*.html")):
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", text, flags=re.DOTALL)
        text = re.sub(r"\{\{.*?\}\}", "", text, flags=re.DOTALL)
        text = re.sub(r"<[^>]*>", "\n", text, flags=re.DOTALL)
        wrong += [(file.name, word) for word in re.findall(r"[^\W\d_]{2,}", text)]
    assert wrong == []
