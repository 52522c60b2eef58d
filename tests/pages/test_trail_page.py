"""The trail as a page: the lines of REST, with their filters, for administrators and auditors."""

import re

import pytest

from simulator.places import VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.audit.test_trail import lines
from tests.pages.administering import ADMIN, browser_of
from tests.pages.browsing import somebody_with
from tests.pages.test_numbers import rows_of
from tests.world import SECRETARY, WORKER, World


async def test_lines_are_those_of_rest_with_the_same_filters(world: World) -> None:
    await world.get("/v1/households", SECRETARY)
    await world.get(f"/v1/cadres/{WORKER}", ADMIN)
    browser = await browser_of(world)
    for page, rest in (
        ({}, {}),
        ({"who": SECRETARY}, {"staff_code": SECRETARY}),
        ({"action": "cadre"}, {"action": "cadre"}),
        ({"subject": WORKER}, {"subject": WORKER}),
        ({"from": "2026-11-01", "to": "2026-11-30"}, {"from": "2026-11-01", "to": "2026-11-30"}),
        ({"subject": "nobody<b>"}, {"subject": "nobody<b>"}),
    ):
        # The later of the two has the line of the first.
        found = (await world.get("/v1/audit", ADMIN, **rest)).json()["items"]
        shown = rows_of((await browser.get("/admin/trail", **page)).text, "trail") or {}
        assert {item["id"] for item in found} <= shown.keys(), page
    only = await browser.get("/admin/trail", subject=WORKER)
    assert set(re.findall(r'data-act="([\w-]+)"', only.text)) == {"cadre"}
    assert "查看干部" in only.text
    nothing = await browser.get("/admin/trail", subject="<script>x")
    assert "<script>x" not in nothing.text


@pytest.mark.parametrize("role", list(ROLES))
async def test_who_reads_the_trail_over_rest_reads_it_here(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    rest = await world.client.get("/v1/audit", headers=headers)
    assert (await browser.get("/admin/trail")).status_code == rest.status_code
    first = await browser.get("/")
    assert (first.headers["location"] == "/admin/trail") == (role == "auditor")


async def test_every_act_that_leaves_a_line_has_its_words(world: World) -> None:
    """Of the acts of an administrator's first look around."""
    browser = await browser_of(world)
    for path in ("/admin/cadres", "/admin/posts", "/admin/units/1502", "/households", "/devices"):
        await browser.get(path)
    acts = {line["action"] for line in await lines(world)}
    page = await browser.get("/admin/trail")
    shown = re.findall(r'data-act="([\w-]+)".*?<td>.*?</td><td><a[^>]*>(.*?)</a>', page.text)
    assert acts <= {act for act, _ in shown} | {"audit"}
    assert all(act != words for act, words in shown)


async def test_odd_filters_are_answered_by_a_page(world: World) -> None:
    browser = await browser_of(world)
    for path in ("?action=X", "?from=2026-02-30", "?to=x", "?subject=%00", "?after=x"):
        page = await browser.get(f"/admin/trail{path}")
        assert page.status_code == 422, path
        assert "<main" in page.text
