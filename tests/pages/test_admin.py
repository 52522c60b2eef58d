"""Administration: the lists are those of REST, for who may see them there."""

import re

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, somebody_with
from tests.pages.test_numbers import rows_of
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World


async def test_units_cadres_and_posts_are_those_of_rest(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    for unit in ("1502", GRID[:6], TOWNSHIP, VILLAGE):
        page = await browser.get("/admin/units", unit=unit)
        rest = (await world.get("/v1/units", "S1502", parent=unit, limit=1000)).json()
        rows = rows_of(page.text, "units")
        assert [*rows] == [item["code"] for item in rest["items"]]
    for path, rest_path, key, asked in (
        ("/admin/cadres", "/v1/cadres", "staff_code", {"unit": VILLAGE}),
        ("/admin/cadres", "/v1/cadres", "staff_code", {"unit": VILLAGE, "role": "grid_worker"}),
        ("/admin/cadres", "/v1/cadres", "staff_code", {"text": SECRETARY}),
        ("/admin/posts", "/v1/posts", "id", {"unit": VILLAGE}),
        ("/admin/posts", "/v1/posts", "id", {"unit": VILLAGE, "role": "village_secretary"}),
    ):
        page = await browser.get(path, **asked)
        rest = (await world.get(rest_path, "S1502", **asked)).json()
        table = "roster" if path == "/admin/cadres" else "posts"
        rows = rows_of(page.text, table)
        assert rows
        assert [*rows] == [item[key] for item in rest["items"]]
        for item in rest["items"]:
            # Masked where REST masks it.
            assert item.get("phone", "") in rows[item[key]]


async def test_ended_posts_are_listed_when_they_are_asked_for(world: World) -> None:
    await world.transfer(WORKER, FAR_GRID)
    browser = Browser(world)
    await browser.sign_in("S1502")
    now = rows_of((await browser.get("/admin/posts", unit=GRID)).text, "posts")
    all_of_them = rows_of((await browser.get("/admin/posts", unit=GRID, ended="yes")).text, "posts")
    rest = (await world.get("/v1/posts", "S1502", unit=GRID, ended="true")).json()
    assert [*all_of_them] == [item["id"] for item in rest["items"]]
    assert len(now) < len(all_of_them)


async def test_seals_are_listed_with_their_history(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "week": "2026-W46"}
    await browser.send(await browser.get("/week", **asked), "seal")
    page = await browser.get("/admin/seals", unit="1502")
    assert 'data-id="2026-W46" data-sealed="whole"' in page.text
    assert 'data-id="2026-W45" data-sealed="none"' in page.text
    below = await browser.get("/admin/seals", unit=VILLAGE)
    assert 'data-id="2026-W46" data-sealed="whole"' in below.text
    await browser.send(await browser.get("/week", **asked), "unseal", reason="<i>补录</i>")
    history = await browser.get("/admin/seals", unit="1502", name="2026-W46")
    assert "&lt;i&gt;补录&lt;/i&gt;" in history.text
    assert 'data-sealed="whole"' not in history.text
    for odd in ("2026-W99", "2026-11", "x"):
        assert (await browser.get("/admin/seals", unit="1502", name=odd)).status_code == 422
    months = await browser.get("/admin/seals", unit="1502", kind="month")
    assert 'data-id="2026-10"' in months.text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_lists_that_rest_shows_it(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody

    async def rest(path: str, **asked: str) -> int:
        found = await world.client.get(path, params=asked, headers=headers)
        return found.status_code

    for unit in (VILLAGE, GRID, TOWNSHIP, FAR_GRID):
        for page, path in (
            *(("/admin/cadres", "/v1/cadres"), ("/admin/posts", "/v1/posts")),
            ("/admin/seals", "/v1/summaries/trend"),
        ):
            found = await browser.get(page, unit=unit)
            assert found.status_code == await rest(path, unit=unit), (page, unit)
    assert (await browser.get("/admin/imports")).status_code == await rest("/v1/imports")
    first = await browser.get("/admin")
    assert first.status_code == 200
    if role == "app_client":  # no person holds it
        return
    for path in re.findall(r'<h2><a href="(/admin/[a-z]+)">', first.text):
        assert (await browser.get(path)).status_code == 200, path
    led = re.findall(r'<nav class="pages".*?</nav>', first.text, re.DOTALL)
    assert ('href="/admin"' in "".join(led)) == (
        role in ("village_secretary", "first_secretary", "supervisor", "admin", "auditor")
    )
    nowhere = "00000000-0000-7000-8000-000000000000"
    found = await browser.get(f"/admin/imports/{nowhere}")
    assert found.status_code == await rest(f"/v1/imports/{nowhere}")
