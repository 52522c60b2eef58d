"""The targets of villages: the numbers of REST, forms for who may report, set targets and mark."""

import re

import pytest

from service.pages.indicators_view import amount, bar_of
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.indicators.test_indicators import define, report
from tests.pages.administering import HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import figures, somebody_with
from tests.pages.test_numbers import rows_of, same
from tests.world import FAR_GRID, GRID, SECRETARY, World

CODE = "collective_income"
KEYS = ("value", "target", "progress", "units", "reported", "reached", "missing_count")


async def test_numbers_are_those_of_rest(world: World) -> None:
    await define(world)
    await report(world, VILLAGE, 120_000.5, SECRETARY, note=HOSTILE, source="账本")
    browser = await browser_of(world, "S1502")
    for unit in ("1502", GRID[:6], TOWNSHIP, VILLAGE):
        asked = {"unit": unit, "year": "2026"}
        rest = (await world.get(f"/v1/indicators/{CODE}/values", "S1502", **asked)).json()
        for path in ("/indicators", f"/indicators/{CODE}"):
            page = await browser.get(path, **asked)
            assert page.status_code == 200
            assert "<img" not in page.text
            text = page.text if path != "/indicators" else rows_of(page.text, "indicators")[CODE]
            shown = figures(text)
            for key in KEYS:
                assert same(shown[key], rest[key]), (unit, path, key)
            if rest["below"]:
                rows = rows_of(page.text, "units")
                assert [*rows] == [one["unit"]["code"] for one in rest["below"]]
                for one in rest["below"]:
                    found = figures(rows[one["unit"]["code"]])
                    assert same(found["value"], one["value"])
                    assert same(found.get("progress", ""), one["progress"])
        missing = re.findall(r'<li data-id="(\d+)">', page.text)
        assert missing == [one["code"] for one in rest["missing"]]


async def test_without_indicators_the_page_says_so(world: World) -> None:
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/indicators")
    assert page.status_code == 200
    assert "还没有填报指标" in page.text
    await define(world)
    assert "没有每月填报的指标" in (await browser.get("/indicators", month="2026-11")).text
    assert (await browser.get("/indicators/nothing")).status_code == 404
    assert (await browser.get("/indicators", unit="9")).status_code == 404


async def test_a_value_is_reported_by_whom_the_indicator_names(world: World) -> None:
    await define(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(f"/indicators/{CODE}", unit=VILLAGE, year="2026")
    assert "indicator-target" not in page.text
    wrong = await browser.send(page, "indicator-report", value="很多", note=HOSTILE)
    assert wrong.status_code == 422
    assert "很多" in said(wrong)
    assert "<img" not in wrong.text
    done = await send(browser, page, "indicator-report", value="98,000", source="账本", note="好")
    assert figures(done.text)["value"] == "98000.0"
    below = await browser.get(f"/indicators/{CODE}", unit=GRID, year="2026")
    assert "indicator-report" not in below.text


async def test_a_target_is_set_and_taken_back(world: World) -> None:
    await define(world)
    browser = await browser_of(world, SUPERVISOR)
    page = await browser.get(f"/indicators/{CODE}", unit=VILLAGE, year="2026")
    done = await send(browser, page, "indicator-target", target="50000")
    assert figures(done.text)["target"] == "50000.0"
    done = await send(browser, done, "indicator-target", target="")
    assert figures(done.text)["target"] == "100000.0"


async def test_a_village_is_marked_with_a_plan_and_the_plan_goes_on(world: World) -> None:
    browser = await browser_of(world, SUPERVISOR)
    page = await browser.get("/indicators", unit=VILLAGE)
    steps = {"due": ["2026-11-01", "2027-01-31", ""], "text": ["开会", HOSTILE, ""]}
    steps |= {"done_on": ["", "", ""]}
    fields = {"mark": "weak", "valid_from": "2026-10-01", "note": HOSTILE}
    page = await send(browser, page, "mark", **fields, **steps)
    assert "<img" not in page.text
    [mark] = (await world.get("/v1/marks", SUPERVISOR, unit=VILLAGE)).json()["items"]
    assert (mark["mark"], mark["overdue_steps"], len(mark["plan"])) == ("weak", 1, 2)
    assert re.findall(r'<li data-state="(\w+)">', page.text) == ["missing", "not_due"]
    [form] = re.findall(r'<form[^>]*data-action="mark".*?</form>', page.text, re.DOTALL)[:1]
    assert 'value="开会"' in form
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    steps = {"due": ["2026-11-01"], "text": ["开会"], "done_on": ["2026-11-02"]}
    await browser.post("/indicators/marks", hidden | steps)
    [mark] = (await world.get("/v1/marks", SUPERVISOR, unit=VILLAGE)).json()["items"]
    assert [step["done_on"] for step in mark["plan"]] == ["2026-11-02"]
    above = await browser.get("/indicators", unit=TOWNSHIP, mark="weak")
    assert f'data-unit="{VILLAGE}"' in above.text
    assert (
        f'data-unit="{VILLAGE}"'
        not in (await browser.get("/indicators", unit=TOWNSHIP, mark="model")).text
    )
    odd = await browser.post("/indicators/marks", hidden | {"due": "", "text": "没有日期"})
    assert odd.status_code == 422
    assert "没有日期" in odd.text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_and_does_what_it_may_over_rest(world: World, role: str) -> None:
    await define(world)
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for unit in (VILLAGE, TOWNSHIP, FAR_GRID[:12]):
        rest = await world.client.get(
            f"/v1/indicators/{CODE}/values", params={"unit": unit, "year": "2026"}, headers=headers
        )
        for path in ("/indicators", f"/indicators/{CODE}"):
            page = await browser.get(path, unit=unit, year="2026")
            assert page.status_code == rest.status_code, (path, unit)
    page = await browser.get(f"/indicators/{CODE}", unit=VILLAGE, year="2026")
    reports = role in ("village_secretary", "first_secretary")
    supervises = role in ("supervisor", "admin")
    assert ("indicator-report" in page.text) == reports
    assert ("indicator-target" in page.text) == supervises
    assert ('data-action="mark"' in (await browser.get("/indicators", unit=VILLAGE)).text) == (
        supervises
    )
    at = {"unit": VILLAGE, "period": "2026"}
    if not reports:
        assert await forged(browser, f"/indicators/{CODE}/report", **at, value="1") in (403, 422)
    if not supervises:
        assert await forged(browser, f"/indicators/{CODE}/target", **at, target="1") == 403
        assert await forged(browser, "/indicators/marks", unit=VILLAGE, mark="weak") == 403


def test_a_bar_holds_value_and_target() -> None:
    below, beyond = bar_of(50, 200), bar_of(300, 200)
    assert below is not None
    assert (below.length, below.target_at, below.is_reached) == (25, 100, False)
    assert beyond is not None
    assert (beyond.length, beyond.target_at, beyond.is_reached) == (100, 66.7, True)
    assert bar_of(None, 5) is None
    assert bar_of(-3, None) is None
    assert bar_of(0, 0) is None
    assert [amount(value) for value in (1000.0, 0.25, None, -2.5)] == ["1,000", "0.25", "–", "-2.5"]
