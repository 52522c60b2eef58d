"""The pages of periods: the numbers are those of REST, for who may see them there."""

import json
import random
from typing import Any

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.identity.test_rights import SOMEBODY, appoint
from tests.pages.browsing import Browser, figures
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

REST = {
    "week": "/v1/summaries/weekly",
    "month": "/v1/summaries/monthly",
    "quarter": "/v1/summaries/quarterly",
    "year": "/v1/summaries/yearly",
}
NAMES = {"week": "2026-W47", "month": "2026-11", "quarter": "2026-Q4", "year": "2026"}


async def work_of(world: World, count: int = 5) -> None:
    """Some visits and problems, straight from a phone."""
    wire = world.wire(WORKER)
    rng = random.Random(7)
    now = world.clock.now().isoformat()
    [house, *_] = await world.fetch("SELECT id::text FROM household WHERE grid = $1", GRID)
    duties = ["emergency", "public_order", "social_relief"]
    visit = {"household_id": house["id"], "visited_at": now, "content": "<b>走访</b>"}
    mutations = []
    for number in range(1, count + 1):
        duty = rng.choice(duties)
        fields = visit | {"duties": {"add": [duty]}}
        mutations.append(wire.mutation(2 * number - 1, "visit", grid=GRID, fields=fields))
        fields = {"title": "<script>alert(1)</script>", "duty": duty, "raised_at": now}
        fields |= {"severity": rng.choice(["ordinary", "urgent"])}
        mutations.append(wire.mutation(2 * number, "problem", grid=GRID, fields=fields))
    await wire.send(*mutations)


def same(raw: str, value: Any) -> bool:
    """Whether a page has the number that JSON has."""
    return raw == "" if value is None else json.loads(raw) == value


@pytest.mark.parametrize("kind", list(REST))
async def test_every_number_of_a_page_is_that_of_rest(world: World, kind: str) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for unit in ("1502", GRID[:6], TOWNSHIP, VILLAGE, GRID):
        asked = {"unit": unit, kind: NAMES[kind]}
        page = await browser.get(f"/{kind}", **asked)
        assert page.status_code == 200
        shown = figures(page.text)
        summary = (await world.get(REST[kind], "S1502", **asked)).json()
        assert summary["totals"]["visits"] == 5
        for key, value in summary["totals"].items():
            assert same(shown[key], value), (unit, key)
        for key, value in summary["previous"].items():
            if key == "resolution_rate":
                continue  # the same as `flow_resolution_rate`
            assert same(shown[f"previous.{key}"], value), (unit, key)
        assert same(shown["late_arrivals"], summary["late_arrivals"])
        assert same(shown["loop.silent_count"], summary["loop"]["silent_count"])
        for key in ("escalated_problems", "open_conflicts", "held_mutations"):
            assert same(shown[f"decisions.{key}"], summary["decisions"][key])
        rows = rows_of(page.text, "units")
        assert [row for row in rows if row != unit] == [
            one["unit"]["code"] for one in summary["units"]
        ]
        for one in summary["units"]:
            for key, raw in figures(rows[one["unit"]["code"]]).items():
                assert same(raw, one["totals"][key]), (one["unit"], key)


def rows_of(text: str, table: str) -> dict[str, str]:
    """The rows of a table by their `data-id`."""
    _, found, rest = text.partition(f'data-table="{table}"')
    if not found:
        return {}
    rows = rest.partition("</table>")[0].split('<tr data-id="')[1:]
    return {row.partition('"')[0]: row for row in rows}


async def test_the_lines_show_the_trend_of_rest(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/week", unit="1502", week="2026-W47")
    trend = (
        await world.get("/v1/summaries/trend", "S1502", unit="1502", until="2026-11-22")
    ).json()
    rows = rows_of(page.text, "trend")
    assert [*rows] == [point["period"] for point in reversed(trend["points"])]
    for point in trend["points"]:
        for key, raw in figures(rows[point["period"]]).items():
            assert same(raw, point["totals"][key])
    assert page.text.count("<polyline points=") > 2


async def test_units_are_sorted_by_links_that_keep_the_rest_of_the_address(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "week": "2026-W47"}
    plain = [*rows_of((await browser.get("/week", **asked)).text, "units")]
    by_visits = await browser.get("/week", **asked, sort="visits")
    found = [*rows_of(by_visits.text, "units")]
    assert found[0] == GRID[:6]
    assert sorted(found) == sorted(plain)
    assert "/week?unit=1502&amp;week=2026-W47&amp;sort=-visits" in by_visits.text
    lowest = [*rows_of((await browser.get("/week", **asked, sort="-visits")).text, "units")]
    assert lowest[-2] == GRID[:6]  # before the sums
    for odd in ("x", "-", "visits;drop", "median_hours_to_resolve", "name", "-name"):
        assert (await browser.get("/week", **asked, sort=odd)).status_code == 200


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_pages_of_the_units_of_which_rest_shows_it_the_numbers(
    world: World, role: str
) -> None:
    token = await appoint(world, role, VILLAGE)
    browser = Browser(world)
    signed = await browser.sign_in(SOMEBODY)
    if signed.status_code != 303:
        assert role == "app_client"  # which is no role of a person
        return
    for unit in (VILLAGE, GRID, TOWNSHIP, FAR_GRID, "1502", "9", "x"):
        for kind, path in REST.items():
            asked = {"unit": unit, kind: NAMES[kind]}
            rest = await world.client.get(
                path, params=asked, headers={"Authorization": f"Bearer {token}"}
            )
            page = await browser.get(f"/{kind}", **asked)
            assert page.status_code == rest.status_code, (unit, kind)
            assert page.headers["content-type"].startswith("text/html")
    assert (await browser.get("/help")).status_code == 200
    first = await browser.get("/")
    where = "/admin/trail" if role == "auditor" else "/help"  # who sees no numbers
    assert first.headers["location"].partition("?")[0] in ("/week", where)
    assert (await browser.get(first.headers["location"])).status_code == 200


async def test_texts_of_grids_are_shown_to_who_reads_them_over_rest(world: World) -> None:
    phone = world.phone(WORKER)
    phone.put("weekly_analysis", {"week": "2026-W46", "situation": "<i>平稳</i>"}, grid=GRID)
    await phone.sync()
    browser = Browser(world)
    await browser.sign_in(SECRETARY)
    page = await browser.get("/week", unit=VILLAGE, week="2026-W46")
    assert "&lt;i&gt;平稳&lt;/i&gt;" in page.text
    member = Browser(world)
    await appoint(world, "contact_member", VILLAGE)
    await member.sign_in(SOMEBODY)
    assert "平稳" not in (await member.get("/week", unit=VILLAGE, week="2026-W46")).text


async def test_of_a_city_texts_are_shown_when_they_are_asked_for(world: World) -> None:
    phone = world.phone(WORKER)
    phone.put("weekly_analysis", {"week": "2026-W46", "situation": "平稳"}, grid=GRID)
    await phone.sync()
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "week": "2026-W46"}
    assert "平稳" not in (await browser.get("/week", **asked)).text
    assert "平稳" in (await browser.get("/week", **asked, texts="")).text


async def test_a_page_leaves_the_lines_in_the_trail_that_rest_leaves(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in(SUPERVISOR)
    await browser.get("/week", unit=TOWNSHIP, week="2026-W46")
    rows = await world.fetch(
        "SELECT action, subjects FROM audit WHERE staff_code = $1 AND action <> 'signed-in'",
        SUPERVISOR,
    )
    assert {row["action"] for row in rows} == {"summary", "analyses"}


async def test_a_week_is_sealed_and_unsealed_where_one_may(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": "1502", "week": "2026-W46"}
    page = await browser.get("/week", **asked)
    assert 'data-action="unseal"' not in page.text
    done = await browser.send(page, "seal")
    assert done.headers["location"] == "/week?unit=1502&week=2026-W46"
    sealed = await browser.get(done.headers["location"])
    assert 'data-action="seal"' not in sealed.text
    await browser.send(sealed, "unseal", reason="补录")
    assert 'data-action="seal"' in (await browser.get("/week", **asked)).text
    worker = Browser(world)
    await worker.sign_in(WORKER)
    page = await worker.get("/week", unit=GRID, week="2026-W46")
    assert 'data-action="seal"' not in page.text
    form = {"csrf": page.text.partition('name="csrf" value="')[2].partition('"')[0]}
    form |= {"kind": "week", "name": "2026-W46", "unit": GRID}
    assert (await worker.post("/seal", form)).status_code == 403


async def test_a_week_under_way_is_not_sealed(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/week", unit="1502", week="2026-W47")
    assert 'data-action="seal"' not in page.text


async def test_steps_lead_to_the_periods_before_and_after_and_no_further(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    first = await browser.get("/year", unit="1502", year="2000")
    assert 'rel="prev"' not in first.text
    assert "year=2001" in first.text
    last = await browser.get("/week", unit="1502", week="2026-W47")
    assert "week=2026-W46" in last.text
    assert 'rel="next"' not in last.text


@pytest.mark.parametrize(
    "path",
    [
        *("/week?week=2026-W99", "/month?month=2026-W47", "/year?year=abcd"),
        *("/quarter?quarter=2026-Q9", "/week?week=" + "9" * 50, "/week?unit=" + "1" * 50),
        *("/week?texts=%25%25", "/units?text=%25_", "/units?unit=9", "/week?utm_source=x"),
    ],
)
async def test_odd_addresses_are_answered_by_a_page(world: World, path: str) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get(path)
    assert page.status_code in (200, 404, 422)
    assert "<main" in page.text


async def test_units_are_found_by_name_within_ones_scope(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    found = await browser.get(
        "/units", text="东河", to="/month?month=2026-10&unit=1502&sort=visits"
    )
    assert "/month?unit=150202&amp;month=2026-10" in found.text
    part = await browser.client.get("/units", params={"text": "东河"}, headers={"HX-Request": "1"})
    assert "<main" not in part.text
    assert "/week?unit=150202" in part.text
    worker = Browser(world)
    await worker.sign_in(WORKER)
    assert "unit=150202&" not in (await worker.get("/units", text="东河")).text
    outside = await browser.get("/units", text="东河", to="//evil.test/x")
    assert "evil.test/x?" not in outside.text
