"""The pages of households, visits and texts: what REST shows, with its masks and its lines in the
trail.
"""

import re
from datetime import timedelta
from typing import Any

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, somebody_with
from tests.pages.deciding import HOSTILE, a_household, next_seq
from tests.pages.test_numbers import rows_of
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

PHONE = "13812345678"
# Who is tied to a household, by somebody else.
COLLEAGUE = f"C{VILLAGE}-2"


async def browser_of(world: World, staff_code: str) -> Browser:
    browser = Browser(world)
    await browser.sign_in(staff_code)
    return browser


async def a_village(world: World) -> list[str]:
    """Households: one tied to people and visited twenty days ago, one special, one that moved
    away.
    """
    wire = world.wire()
    tied = {"contact_member": COLLEAGUE, "lead_member": WORKER, "phone": PHONE}
    secretary = world.wire(SECRETARY)
    one, _ = await a_household(secretary, head_name="苏和巴图", address="三道街一号", **tied)
    two, _ = await a_household(wire, head_name="王秀兰", tags={"add": ["elderly_alone"]})
    three, _ = await a_household(wire, head_name="李四", state="away", state_since="2026-10-01")
    when = world.clock.now() - timedelta(days=20)
    fields: dict[str, Any] = {"household_id": one, "visited_at": when.isoformat()}
    fields |= {"content": "走访一户"}
    fields |= {"duties": {"add": ["emergency"]}, "people_met": {"add": ["老人"]}}
    await wire.send(wire.mutation(await next_seq(wire), "visit", fields=fields))
    fields = fields | {"visited_at": world.clock.now().isoformat(), "household_id": two}
    fields |= {"duties": {"add": ["social_relief"]}, "content": "送药"}
    await wire.send(wire.mutation(await next_seq(wire), "visit", fields=fields))
    return [one, two, three]


HOUSEHOLDS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"special": "yes"}, {"special": True}),
    ({"tag": "elderly_alone"}, {"tag": "elderly_alone"}),
    ({"days": "14"}, {"not_visited_days": 14}),
    ({"special": "yes", "days": "30"}, {"special": True, "not_visited_days": 30}),
    ({"contact_member": COLLEAGUE}, {"contact_member": COLLEAGUE}),
    ({"lead_member": WORKER}, {"lead_member": WORKER}),
    ({"state": "away"}, {"state": "away"}),
    ({"state": "any", "text": "李四"}, {"state": "any", "text": "李四"}),
    ({"text": "苏和巴图"}, {"text": "苏和巴图"}),
    ({"text": "%"}, {"text": "%"}),
    ({"unit": GRID, "text": "", "days": "", "tag": "", "state": ""}, {"unit": GRID}),
    ({"days": "0"}, {}),
]


async def test_households_are_those_of_rest_for_each_filter(world: World) -> None:
    one, two, three = await a_village(world)
    browser = await browser_of(world, SUPERVISOR)
    for asked, rest in HOUSEHOLDS:
        page = await browser.get("/households", **({"unit": VILLAGE} | asked))
        assert page.status_code == 200, asked
        answer = await world.get("/v1/households", SUPERVISOR, **({"unit": VILLAGE} | rest))
        items = answer.json()["items"]
        assert list(rows_of(page.text, "households")) == [item["id"] for item in items], asked
    found = await browser.get("/households", unit=VILLAGE, text="苏和巴图")
    assert list(rows_of(found.text, "households")) == [one]
    away = await browser.get("/households", unit=VILLAGE, state="away")
    assert list(rows_of(away.text, "households")) == [three]
    special = await browser.get("/households", unit=VILLAGE, tag="elderly_alone")
    assert two in rows_of(special.text, "households")


async def test_a_household_says_when_it_was_visited_and_who_is_tied_to_it(world: World) -> None:
    one, _, _ = await a_village(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/households", unit=VILLAGE, text="苏和巴图")
    row = rows_of(page.text, "households")[one]
    assert "2026年10月31日" in row
    assert re.search(r'data-label="未走访天数">20</td>', row)
    assert f"contact_member={COLLEAGUE}" in row
    assert f"lead_member={WORKER}" in row
    assert PHONE in row


async def test_masks_are_those_of_rest(world: World) -> None:
    await a_village(world)
    township = await browser_of(world, SUPERVISOR)
    page = await township.get("/households", unit=VILLAGE, text="苏和巴图")
    assert "138****5678" in page.text
    assert PHONE not in page.text
    assert "三道街一号" not in page.text
    city = await browser_of(world, "S1502")
    page = await city.get("/households", unit=VILLAGE)
    assert 'name="tag"' not in page.text
    assert 'name="special"' not in page.text
    refused = await city.get("/households", unit=VILLAGE, tag="elderly_alone")
    assert refused.status_code == 403
    assert "<main" in refused.text


VISITS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"duty": "emergency"}, {"duty": "emergency"}),
    ({"cadre": WORKER}, {"cadre": WORKER}),
    ({"cadre": SECRETARY}, {"cadre": SECRETARY}),
    ({"from": "2026-11-01", "to": "2026-11-30"}, {"from": "2026-11-01", "to": "2026-11-30"}),
    ({"to": "2026-10-31"}, {"to": "2026-10-31"}),
    ({"unit": GRID, "from": "", "to": "", "cadre": "", "duty": ""}, {"unit": GRID}),
]


async def test_visits_are_those_of_rest_for_each_filter(world: World) -> None:
    one, _, _ = await a_village(world)
    browser = await browser_of(world, SUPERVISOR)
    for asked, rest in [*VISITS, ({"household": one}, {"household": one})]:
        page = await browser.get("/visits", **asked)
        assert page.status_code == 200, asked
        items = (await world.get("/v1/visits", SUPERVISOR, **rest)).json()["items"]
        assert list(rows_of(page.text, "visits")) == [item["id"] for item in items], asked
    own = await browser.get("/visits", household=one)
    assert "走访苏和巴图户" in own.text
    assert "走访一户" in own.text
    assert "老人" in own.text


async def test_texts_of_a_week_and_of_a_month_are_those_of_rest(world: World) -> None:
    phone = world.phone(WORKER)
    phone.put("weekly_analysis", {"week": "2026-W46", "situation": "平稳"}, grid=GRID)
    phone.put("monthly_summary", {"month": "2026-10", "results": "有成效"}, grid=GRID)
    await phone.sync()
    browser = await browser_of(world, SUPERVISOR)
    week = await browser.get("/analyses")
    assert "2026年第46周" in week.text
    assert "平稳" in week.text
    assert "week=2026-W45" in week.text
    month = await browser.get("/analyses", unit=VILLAGE, month="2026-10")
    assert "有成效" in month.text
    assert "平稳" not in month.text
    none = await browser.get("/analyses", week="2026-W40")
    assert "<article" not in none.text
    for page, path, asked in (
        (week, "/v1/analyses", {"week": "2026-W46"}),
        (month, "/v1/monthly-summaries", {"month": "2026-10"}),
    ):
        items = (await world.get(path, SUPERVISOR, **asked)).json()["items"]
        ids = re.findall(r'<article class="text" data-id="([^"]+)"', page.text)
        assert ids == [item["id"] for item in items]
        assert ids


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_records_that_rest_shows_it(world: World, role: str) -> None:
    await a_village(world)
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, bearer = somebody
    for unit in ("", VILLAGE, GRID, TOWNSHIP, FAR_GRID, "9", "x"):
        asked = {"unit": unit} if unit else {}
        for table in ("households", "visits"):
            answer = await world.client.get(f"/v1/{table}", params=asked, headers=bearer)
            page = await browser.get(f"/{table}", **asked)
            assert page.status_code == answer.status_code, (table, unit)
            items = answer.json()["items"] if answer.status_code == 200 else []
            assert list(rows_of(page.text, table)) == [item["id"] for item in items]
        answer = await world.client.get(
            "/v1/analyses", params=asked | {"week": "2026-W46"}, headers=bearer
        )
        page = await browser.get("/analyses", week="2026-W46", **asked)
        assert page.status_code == answer.status_code, unit


async def test_reading_leaves_its_lines_in_the_trail(world: World) -> None:
    one, _, _ = await a_village(world)
    browser = await browser_of(world, SUPERVISOR)
    for path in ("/households", "/visits", f"/visits?household={one}", "/analyses"):
        await browser.get(path)
    rows = await world.fetch("SELECT action FROM audit WHERE staff_code = $1", SUPERVISOR)
    assert sorted(row["action"] for row in rows) == [
        *("analyses", "household", "households", "signed-in", "visits", "visits")
    ]


async def test_hostile_texts_of_records_are_shown_as_texts(world: World) -> None:
    wire = world.wire()
    id, _ = await a_household(wire, head_name=HOSTILE[:60], address=HOSTILE)
    fields = {"household_id": id, "visited_at": world.clock.now().isoformat()}
    fields |= {"content": HOSTILE, "people_met": {"add": [HOSTILE[:60]]}}  # type: ignore[dict-item]
    await wire.send(wire.mutation(await next_seq(wire), "visit", fields=fields))
    phone = world.phone(WORKER)
    phone.put("weekly_analysis", {"week": "2026-W46", "situation": HOSTILE}, grid=GRID)
    await phone.sync()
    browser = await browser_of(world, SECRETARY)
    for path in ("/households?text=script", "/visits", f"/visits?household={id}", "/analyses"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "&lt;script&gt;alert" in page.text, path


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/households?days=x",
            "/households?tag=%27",
            "/households?after=x",
            "/households?text=%00",
        ),
        *("/households?days=9999", "/households?state=x", "/households?contact_member=%25"),
        *("/visits?household=x", "/visits?from=2026-99-99", "/visits?to=0001-01-01"),
        *("/visits?household=00000000-0000-7000-8000-000000000000", "/visits?unit=9"),
        *("/analyses?week=2026-W99", "/analyses?month=x", "/analyses?after=x", "/analyses?unit=9"),
    ],
)
async def test_odd_addresses_of_records_are_answered_by_a_page(world: World, path: str) -> None:
    page = await (await browser_of(world, SECRETARY)).get(path)
    assert page.status_code in (200, 404, 422), page.status_code
    assert "<main" in page.text
