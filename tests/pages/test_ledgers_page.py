"""Ledgers as files and as pages: the lines of REST's files, for who may have them there."""

import io
import re
from typing import Any

import openpyxl
import pytest

from service.ledgers.jobs import LEDGER
from service.pages import ledgers
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.jobs.builders import runner_of
from tests.pages.browsing import Browser, form_of, somebody_with
from tests.pages.test_numbers import work_of
from tests.world import FAR_GRID, GRID, World

CASES = (
    *(("weekly", {"week": "2026-W47"}), ("monthly", {"month": "2026-11"})),
    *(("problems", {"month": "2026-11"}), ("visits", {"week": "2026-W48"})),
    *(("disputes", {"month": "2026-11"}), ("indicators", {"month": "2026-11"})),
    *(("cadres", {"month": "2026-11"}), ("half-yearly", {"half": "2026-H2"})),
)


def cells(content: bytes) -> list[list[Any]]:
    """The rows of a workbook."""
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert sheet is not None
    return [list(row) for row in sheet.iter_rows(values_only=True)]


@pytest.mark.parametrize(("which", "period"), CASES)
async def test_a_file_is_that_of_rest_and_a_page_has_its_lines(
    world: World, which: str, period: dict[str, str]
) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    asked = {"unit": TOWNSHIP} | period
    file = await browser.get(f"/ledgers/{which}.xlsx", **asked)
    rest = await world.get(f"/v1/exports/{which}.xlsx", "S1502", **asked)
    rows = cells(file.content)
    assert rows == cells(rest.content)
    assert file.headers["cache-control"] == "no-store"
    assert file.headers["content-disposition"] == rest.headers["content-disposition"]
    page = await browser.get(f"/ledgers/{which}", **asked)
    title, heads = rows[0][0], rows[1]
    assert title in page.text
    for head in heads:
        assert f">{head}</th>" in page.text
    body = page.text.partition("<tbody>")[2].partition("</tbody>")[0]
    count = next(place for place, row in enumerate(rows[2:]) if row[0] == "合计")
    assert body.count("<tr>") == count
    assert count or which in ("visits", "disputes", "indicators")
    foot = page.text.partition("<tfoot>")[2].partition("</tfoot>")[0]
    assert "合计" in foot
    assert "填表人" in page.text


async def test_whatever_was_typed_is_only_text(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    for which in ("problems", "visits"):
        page = await browser.get(f"/ledgers/{which}", unit=GRID, month="2026-11")
        assert "<script>alert" not in page.text
        assert "<b>走访</b>" not in page.text
    assert "&lt;b&gt;走访&lt;/b&gt;" in page.text


async def test_of_a_sum_the_page_has_what_the_file_says(world: World) -> None:
    await work_of(world)
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/ledgers/visits", unit=GRID, month="2026-11")
    assert "共 5 条" in page.text
    table = (await world.get("/v1/summaries/cadres", "S1502", unit=GRID, month="2026-11")).json()
    page = await browser.get("/ledgers/cadres", unit=GRID, month="2026-11")
    foot = page.text.partition("<tfoot>")[2].partition("</tfoot>")[0]
    visits = sum(row["visits"] for row in table["items"])
    assert f">{visits}</td>" in foot


async def test_what_is_too_long_to_print_is_offered_as_a_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work_of(world)
    monkeypatch.setattr(ledgers, "MAX_LINES", 3)
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/ledgers/visits", unit=GRID, month="2026-11")
    assert page.status_code == 413
    assert "Excel" in page.text


async def test_the_list_offers_what_the_period_allows(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    week = await browser.get("/ledgers", unit=VILLAGE, week="2026-W47")
    assert f"/ledgers/weekly.xlsx?unit={VILLAGE}&amp;week=2026-W47" in week.text
    assert "/ledgers/monthly.xlsx" not in week.text
    month = await browser.get("/ledgers", unit=VILLAGE, month="2026-11")
    assert "/ledgers/weekly.xlsx" not in month.text
    assert f"/ledgers/monthly?unit={VILLAGE}&amp;month=2026-11" in month.text
    for path in ("/ledgers/weekly?unit=1502&month=2026-11", "/ledgers/x?unit=1502&week=2026-W47"):
        odd = await browser.get(path)
        assert odd.status_code in (404, 422)
        assert "<main" in odd.text


async def test_a_large_ledger_is_there_for_who_asked_when_they_come_back(world: World) -> None:
    await work_of(world)
    browser, other = Browser(world), Browser(world)
    await browser.sign_in("S1502")
    await other.sign_in("admin")
    days = {"unit": TOWNSHIP, "from": "2026-11-01", "to": "2026-11-30"}
    page = await browser.get("/ledgers", **days)
    assert 'data-table="made"' not in page.text
    gone = await browser.send(page, "ledger-ask", which="visits")
    assert gone.status_code == 303, gone.text
    place = gone.headers["location"]
    assert "2026-11-30" in place
    assert place.endswith("#large")
    page = await browser.get(place)
    assert "排队等待" in page.text
    assert "走访台账" in page.text.partition('data-table="made"')[2]
    assert 'hx-get="/ledgers/asked"' in page.text
    part = await browser.client.get("/ledgers/asked", headers={"HX-Request": "true"})
    assert "<main" not in part.text
    assert "排队等待" in part.text
    assert (await browser.get("/ledgers/asked")).headers["location"] == "/ledgers#large"

    await runner_of(world, LEDGER).drain()
    page = await browser.get("/ledgers")
    assert "hx-get" not in page.text.partition('id="made"')[2]
    [path] = re.findall(r'href="(/ledgers/asked/[^"]+)"', page.text)
    made = await browser.get(path)
    assert made.headers["cache-control"] == "no-store"
    assert cells(made.content) == cells((await browser.get("/ledgers/visits.xlsx", **days)).content)
    assert (await other.get(path)).status_code == 404
    assert 'data-table="made"' not in (await other.get("/ledgers")).text

    week = {"unit": TOWNSHIP, "period": "2026-W47"}
    form = form_of(page.text, "ledger-ask").fields | week
    for wrong in ({"which": "monthly"}, {"period": "2026-W99"}, {"unit": "9"}, {"which": "x"}):
        refused = await browser.post("/ledgers/asked", form | {"which": "cadres"} | wrong)
        assert refused.status_code in (404, 422), wrong
        assert "<main" in refused.text


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_gets_the_ledgers_that_rest_gives_it(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    for unit in (VILLAGE, TOWNSHIP, FAR_GRID):
        asked = {"unit": unit, "week": "2026-W47"}
        rest = await world.client.get("/v1/exports/cadres.xlsx", params=asked, headers=headers)
        for path in ("/ledgers", "/ledgers/cadres", "/ledgers/cadres.xlsx"):
            assert (await browser.get(path, **asked)).status_code == rest.status_code, unit
        roster = await world.client.get(
            "/v1/exports/roster.xlsx", params={"unit": unit}, headers=headers
        )
        file = await browser.get("/ledgers/roster.xlsx", unit=unit)
        assert file.status_code == roster.status_code
