"""A unit's page of administration: made, renamed, moved, split, merged, closed as over REST."""

import re
from typing import Any

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.administering import ADMIN, HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import somebody_with
from tests.pages.test_numbers import rows_of
from tests.world import FAR_GRID, GRID, OTHER_GRID, World

PATH = f"/admin/units/{GRID}"


async def unit_of(world: World, code: str) -> dict[str, object]:
    found: dict[str, object] = (await world.get(f"/v1/units/{code}", ADMIN)).json()
    return found


async def test_a_unit_is_renamed_and_keeps_its_former_name(world: World) -> None:
    browser = await browser_of(world)
    before = await unit_of(world, GRID)
    page = await browser.get(PATH)
    fields = {"name": HOSTILE[:28], "party_group": "branch", "go_live": "2026-12-01"}
    page = await send(browser, page, "unit-change", **fields)
    found = await unit_of(world, GRID)
    assert (found["name"], found["party_group"]) == (HOSTILE[:28], "branch")
    assert found["go_live"] == "2026-12-01"
    assert str(before["name"]) in page.text
    assert "<img" not in page.text
    assert "更改" in rows_or_text(page.text)


def rows_or_text(text: str) -> str:
    """The table of what was done to a unit."""
    [table] = re.findall(r'<table[^>]*data-table="unit-history".*?</table>', text, re.DOTALL)
    return str(table)


async def test_a_grid_is_made_below_a_village(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(f"/admin/units/{VILLAGE}")
    made = await send(browser, page, "unit-create", name="新网格", since="2026-11-24")
    assert "新建" in said(made)
    [code] = re.findall(r'action="/admin/units/(\d{15})"', made.text)
    assert code.startswith(VILLAGE)
    assert (await unit_of(world, code))["name"] == "新网格"
    again = await browser.send(page, "unit-create", name="")
    assert again.status_code == 422
    assert 'data-action="unit-create"' in (await browser.get(f"/admin/units/{TOWNSHIP}")).text
    assert 'data-action="unit-create"' not in (await browser.get(PATH)).text


async def test_a_village_moves_from_a_day_to_come(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(f"/admin/units/{VILLAGE}")
    to = FAR_GRID[:9]
    today = await browser.send(page, "unit-move", to=to, **{"from": "2026-11-01"})
    assert today.status_code == 422
    assert f'value="{to}"' in today.text
    page = await send(browser, page, "unit-move", to=to, **{"from": "2026-12-01"})
    parents = (await unit_of(world, VILLAGE))["parents"]
    assert isinstance(parents, list)
    assert parents[-1]["parent"] == to
    assert (await browser.send(page, "unit-move", to=to)).status_code == 422


async def test_a_grid_is_split_after_a_trial(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(f"{PATH}/split")
    ids = re.findall(r'name="households" value="([0-9a-f-]{36})"', page.text)
    assert ids
    fields: dict[str, Any] = {"name": "分出来的网格", "households": ids[:2]}
    tried = await browser.send(page, "unit-split", **fields, dry_run="yes")
    assert tried.status_code == 200
    assert len(re.findall(r'name="households" value="[0-9a-f-]{36}" checked', tried.text)) == 2
    count = len(rows_of((await browser.get("/admin/units", unit=VILLAGE)).text, "units"))
    done = await send(browser, tried, "unit-split", **fields)
    assert "分出来的网格" in done.text
    after = rows_of((await browser.get("/admin/units", unit=VILLAGE)).text, "units")
    assert len(after) == count + 1
    nothing = await browser.send(page, "unit-split", name="空")
    assert nothing.status_code == 422
    assert (await browser.get(f"/admin/units/{VILLAGE}/split")).status_code == 422


async def test_a_grid_is_merged_and_another_closed(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(PATH)
    tried = await browser.send(page, "unit-merge", to=OTHER_GRID, dry_run="yes")
    assert tried.status_code == 200
    assert (await unit_of(world, GRID))["closed"] is None
    done = await browser.send(tried, "unit-merge", to=OTHER_GRID)
    assert done.status_code in (200, 303)
    assert (await unit_of(world, GRID))["closed"] is not None
    full = await browser.send(await browser.get(f"/admin/units/{OTHER_GRID}"), "unit-close")
    assert full.status_code == 409
    assert said(full)
    assert 'data-action="unit-close"' not in (await browser.get(PATH)).text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_is_offered_what_it_may_change(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for code in (GRID, VILLAGE, TOWNSHIP, FAR_GRID):
        page = await browser.get(f"/admin/units/{code}")
        rest = await world.client.get(f"/v1/units/{code}", headers=headers)
        assert page.status_code == rest.status_code, code
        offered = set(re.findall(r'data-action="(unit-\w+)"', page.text))
        wanted = {"unit-change", "unit-move", "unit-merge", "unit-close"} if code == GRID else set()
        wanted |= {"unit-create"} if code == VILLAGE else set()
        # The topmost of those that one administers is changed from above.
        assert offered == (wanted if role == "admin" else set()), code
    if role == "admin":
        assert await forged(browser, f"/admin/units/{FAR_GRID}", name="x") == 404
        return
    for path in ("", "/below", "/move", "/merge", "/close", "/split"):
        assert await forged(browser, PATH + path, name="x", to=OTHER_GRID) == 403, path


async def test_a_unit_is_typed_by_its_name_and_one_of_several_by_the_unit_above(
    world: World,
) -> None:
    other = FAR_GRID[:12]
    for code, name in ((VILLAGE, "同名村"), (other, "同名村"), (VILLAGE[:9], "东镇")):
        await world.fetch("UPDATE unit SET name = $2 WHERE code = $1", code, name)
    browser = await browser_of(world)
    page = await browser.get("/admin/hire")
    fields = {"name": "新人", "staff_code": "N-1", "role": "village_committee"}
    for typed, named in (
        ("同名村", (VILLAGE, other, "东镇 · 同名村")),
        ("同名", (VILLAGE, other)),
        ("没有的村", ("没有的村",)),
        ("没有的镇 同名村", ("没有的镇 同名村",)),
    ):
        refused = await browser.send(page, "cadre-hire", **fields, unit=typed)
        assert refused.status_code == 422, typed
        assert all(one in said(refused) for one in named), said(refused)
        assert f'name="unit" value="{typed}"' in refused.text
    hired = await browser.send(page, "cadre-hire", **fields, unit="东镇 · 同名村")
    assert hired.status_code == 303, hired.text
    posts = (await world.get("/v1/cadres/N-1", ADMIN)).json()["posts"]
    assert [post["unit"] for post in posts] == [VILLAGE]
    [grid] = await world.fetch("SELECT name FROM unit WHERE code = $1", OTHER_GRID)
    tried = await browser.send(
        await browser.get(PATH), "unit-merge", to=f"同名村 {grid['name']}", dry_run="yes"
    )
    assert tried.status_code == 200, said(tried)
