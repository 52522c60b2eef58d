"""The pages of cadres: the numbers are those of REST, for who may see them there."""

import random

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.identity.test_rights import SOMEBODY
from tests.pages.browsing import Browser, figures, somebody_with
from tests.pages.test_numbers import rows_of, same, work_of
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

COUNTS = ("visits", "problems_raised", "problems_resolved", "problems_overdue")
PERIODS = (
    *({"week": "2026-W47"}, {"month": "2026-11"}, {"quarter": "2026-Q4"}, {"day": "2026-11-24"}),
    {"from": "2026-11-01", "to": "2026-11-24"},
)


async def test_every_cadre_has_the_numbers_of_rest(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    rng = random.Random(3)
    seen = 0
    for unit in rng.sample(["1502", GRID[:6], TOWNSHIP, VILLAGE, GRID, FAR_GRID], 4):
        asked = {"unit": unit} | rng.choice(PERIODS)
        page = await browser.get("/cadres", **asked)
        assert page.status_code == 200
        rest = (await world.get("/v1/summaries/cadres", "S1502", **asked)).json()
        rows = rows_of(page.text, "cadres")
        assert [*rows] == [row["staff_code"] for row in rest["items"]]
        seen += len(rows)
        for row in rest["items"]:
            shown = figures(rows[row["staff_code"]])
            for key in (*COUNTS, "median_hours_to_resolve"):
                assert same(shown[key], row[key]), (asked, key)
        groups = rows_of(page.text, "groups")
        for group in rest["groups"]:
            shown = figures(groups["party" if group["party_member"] else "others"])
            for key in (*COUNTS, "cadres"):
                assert same(shown[f"groups.{key}"], group[key])
        for key in COUNTS:
            assert same(figures(groups["unassigned"])[f"unassigned.{key}"], rest["unassigned"][key])
    assert seen


async def test_cadres_are_sorted_by_links_and_party_members_stand_apart(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "month": "2026-11"}
    for sort in COUNTS:
        page = await browser.get("/cadres", **asked, sort=sort)
        assert f"month=2026-11&amp;sort={sort}#cadres" in page.text
        rest = (await world.get("/v1/summaries/cadres", "S1502", **asked, sort=sort)).json()
        assert [*rows_of(page.text, "cadres")] == [row["staff_code"] for row in rest["items"]]
    for group, flag in (("party", True), ("others", False)):
        page = await browser.get("/cadres", **asked, group=group)
        rest = (await world.get("/v1/summaries/cadres", "S1502", **asked, party_member=flag)).json()
        assert [*rows_of(page.text, "cadres")] == [row["staff_code"] for row in rest["items"]]
    for odd in ("x", "-", "name;", "median_hours_to_resolve"):
        assert (await browser.get("/cadres", **asked, sort=odd, group=odd)).status_code == 200


async def test_nobody_is_ranked_unless_the_setting_says_so(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "month": "2026-11"}
    assert 'data-figure="rank"' not in (await browser.get("/cadres", **asked)).text
    world.state.settings.rank = True
    page = await browser.get("/cadres", **asked)
    rest = (await world.get("/v1/summaries/cadres", "S1502", **asked)).json()
    rows = rows_of(page.text, "cadres")
    for row in rest["items"]:
        assert row["rank"] is not None
        assert same(figures(rows[row["staff_code"]])["rank"], row["rank"])


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_cadres_that_rest_shows_it(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for unit in (VILLAGE, GRID, TOWNSHIP, FAR_GRID, "1502", "9", "x"):
        asked = {"unit": unit, "week": "2026-W47"}
        rest = await world.client.get("/v1/summaries/cadres", params=asked, headers=headers)
        assert (await browser.get("/cadres", **asked)).status_code == rest.status_code, unit
    for code in (WORKER, SECRETARY, SOMEBODY, "S1502", f"W{FAR_GRID}-1", "nobody"):
        path, asked = f"cadres/{code}", {"week": "2026-W47"}
        rest = await world.client.get(f"/v1/{path}/summary", params=asked, headers=headers)
        assert (await browser.get(f"/{path}", **asked)).status_code == rest.status_code, code


async def test_a_cadres_own_page_has_the_numbers_of_rest(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in(SECRETARY)
    for asked in PERIODS:
        page = await browser.get(f"/cadres/{WORKER}", **asked)
        rest = (await world.get(f"/v1/cadres/{WORKER}/summary", SECRETARY, **asked)).json()
        shown = figures(page.text)
        for key in (*COUNTS, "median_hours_to_resolve", "checks"):
            assert same(shown[key], rest[key]), (asked, key)
        for name in ("contact_households", "contracted_households"):
            for key, value in rest[name].items():
                assert same(shown[f"{name}.{key}"], value)


async def test_a_hostile_name_is_only_text(world: World) -> None:
    await work_of(world)
    await world.fetch("UPDATE cadre SET name = $1 WHERE staff_code = $2", "<img src=x>", WORKER)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for path in ("/cadres?month=2026-11&unit=1502", f"/cadres/{WORKER}?month=2026-11"):
        page = await browser.client.get(path)
        assert "&lt;img src=x&gt;" in page.text
        assert "<img src=x>" not in page.text


async def test_an_empty_period_says_so(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/cadres", unit=FAR_GRID, week="2010-W10")
    assert "本期这里无人开展工作" in page.text
