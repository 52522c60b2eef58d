"""Words, limits, indicators and the calendar: kept by administrators of the topmost unit, shown to
everybody as REST has them.
"""

import re
from typing import Any

import httpx
import pytest

from simulator.places import VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.administering import ADMIN, HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import Browser, form_of, somebody_with
from tests.pages.test_numbers import rows_of
from tests.world import World


async def terms(world: World, name: str) -> dict[str, Any]:
    items = (await world.get("/v1/vocabulary", ADMIN, list=name)).json()["items"]
    return {item["code"]: item for item in items}


async def test_a_list_is_that_of_rest(world: World) -> None:
    browser = await browser_of(world)
    for name in ("duty", "category", "dispute_kind", "tag", "severity", "role"):
        page = await browser.get("/admin/vocabulary", list=name)
        ids = [item["id"] for item in (await terms(world, name)).values()]
        assert [*rows_of(page.text, "terms")] == ids


async def test_a_word_is_written_changed_and_ended(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get("/admin/vocabulary", list="tag")
    names = {"name_zh": HOSTILE[:30], "name_en": "orphan"}
    page = await send(browser, page, "term-put", code="orphan", **names)
    assert "写入" in said(page)
    assert "<img" not in page.text
    assert (await terms(world, "tag"))["orphan"]["name_zh"] == HOSTILE[:30]
    [form] = re.findall(
        r'<form[^>]*action="/admin/vocabulary/tag/orphan".*?</form>', page.text, re.DOTALL
    )
    fields = form_of(form, "term-change").fields | {"name_zh": "孤儿", "name_en": "orphan"}
    await browser.post("/admin/vocabulary/tag/orphan", fields | {"valid_to": "2027-01-01"})
    found = (await terms(world, "tag"))["orphan"]
    assert (found["name_zh"], found["valid_to"]) == ("孤儿", "2027-01-01")
    odd = await browser.send(page, "term-put", code="Ä", **names)
    assert odd.status_code == 422
    assert 'value="Ä"' in odd.text
    closed = await browser.get("/admin/vocabulary", list="severity")
    refused = await browser.send(closed, "term-put", code="odd", **names)
    assert refused.status_code == 422


async def test_a_limit_a_deadline_and_ranks_are_set(world: World) -> None:
    browser = await browser_of(world)

    async def change(path: str, **fields: str) -> httpx.Response:
        page = await browser.get("/admin/limits")
        token = form_of(page.text, "signout").fields["csrf"]
        assert f'action="/admin/limits/{path}"' in page.text
        return await browser.post(f"/admin/limits/{path}", {"csrf": token} | fields)

    assert (await change("limit/urgent", amount="5", by="working_days")).status_code in (200, 303)
    await change("deadline/monthly_summary", amount="4", hour="12", working_days="yes")
    await change("rank/cadre_table", shown="yes")
    values = {item["code"]: item["attributes"] for item in (await terms(world, "limit")).values()}
    assert values["urgent"] == {"working_days": 5}
    deadline = [
        item
        for item in (await world.get("/v1/vocabulary", ADMIN, list="deadline")).json()["items"]
        if item["code"] == "monthly_summary"
    ][-1]
    assert deadline["attributes"] == {"days": 4, "hour": 12, "working_days": True}
    assert "5 个工作日" in (await browser.get("/admin/limits")).text
    assert (await change("limit/urgent", amount="x")).status_code == 422
    assert (await change("limit/urgent", amount="5", valid_from="2020-01-01")).status_code == 422


async def test_an_indicator_is_written_and_changed(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get("/admin/indicators")
    fields: dict[str, Any] = {"code": "income", "name_zh": "收入<b>", "name_en": "income"}
    fields |= {"measure": "万元", "period": "year", "level": "village", "aggregate": "sum"}
    fields |= {"reporters": ["village_secretary", "first_secretary"], "target": "1,000.5"}
    page = await send(browser, page, "indicator-put", **fields)
    [found] = (await world.get("/v1/indicators", ADMIN)).json()["items"]
    assert (found["target"], found["reporters"]) == (1000.5, fields["reporters"])
    assert "收入&lt;b&gt;" in page.text
    again = await browser.get("/admin/indicators", code="income")
    assert 'value="1000.5"' in again.text
    odd = await browser.send(page, "indicator-put", **fields | {"target": "viel"})
    assert odd.status_code == 422
    assert 'value="viel"' in odd.text


async def upload(browser: Browser, page: httpx.Response, content: str) -> httpx.Response:
    form = form_of(page.text, "calendar")
    return await browser.client.post(
        form.path,
        data=form.fields,
        files={"file": ("日历.csv", content.encode(), "text/csv")},
        headers={"Origin": browser.origin, "Accept": "text/html"},
    )


async def test_a_calendar_is_shown_taken_in_and_taken_away(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get("/admin/calendar", year="2027")
    rest = await world.get("/v1/calendar", ADMIN, **{"from": "2027-01-01", "to": "2027-12-31"})
    days = rest.json()["days"]
    shown = dict(re.findall(r'data-day="([\d-]+)" data-works="(yes|no)"', page.text))
    assert shown == {day["day"]: "yes" if day["works"] else "no" for day in days}
    wrong = await upload(browser, page, "2027-02-05,也许,春节\n2028-01-01,休,元旦\n")
    assert wrong.status_code == 422
    assert "也许" in wrong.text
    assert "2028-01-01" in wrong.text
    taken = await upload(browser, page, "日期,安排,名称\n2027-02-08,休,<b>春节\n2027-02-13,班,\n")
    assert taken.status_code == 200
    assert "&lt;b&gt;春节" in taken.text
    assert 'data-day="2027-02-13" data-works="yes"' in taken.text
    gone = await browser.send(taken, "calendar-delete")
    assert gone.status_code == 200
    again = await browser.get("/admin/calendar", year="2027")
    assert dict(re.findall(r'data-day="([\d-]+)" data-works="(yes|no)"', again.text)) == shown


@pytest.mark.parametrize("role", list(ROLES))
async def test_lists_are_shown_to_everybody_and_changed_by_administrators_of_the_top(
    world: World, role: str
) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None or role == "app_client":  # to whom no post is given
        return
    browser, _ = somebody
    for path in ("/admin/vocabulary", "/admin/limits", "/admin/calendar"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert set(re.findall(r'data-action="([\w-]+)"', page.text)) == {"signout"}
    names = {"name_zh": "x", "name_en": "x"}
    assert await forged(browser, "/admin/vocabulary/tag", code="x", **names) == 403
    assert await forged(browser, "/admin/vocabulary/tag/veteran", **names) == 403
    assert await forged(browser, "/admin/limits/limit/urgent", amount="1") == 403
    indicator = {"code": "x", "measure": "x", "period": "year", "level": "village"}
    indicator |= {"aggregate": "sum", "reporters": "village_secretary"}
    assert await forged(browser, "/admin/indicators", **names, **indicator) == 403
    assert await forged(browser, "/admin/calendar/delete", year="2027") == 403
    local = await browser.get("/admin/calendar", unit=VILLAGE, year="2027")
    assert ('data-action="calendar"' in local.text) == (role == "admin")
    if role == "admin":
        taken = await upload(browser, local, "2027-07-11,休,那达慕\n")
        assert "那达慕" in taken.text
