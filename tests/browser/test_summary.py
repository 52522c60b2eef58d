"""The pages in a real browser."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.places import PASSWORD, SUPERVISOR, TOWNSHIP, VILLAGE
from tests.browser.conftest import City, Window
from tests.world import GRID

pdfium = pytest.importorskip("pypdfium2")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = (
    *("/week?unit=1502&week=2026-W47", f"/week?unit={VILLAGE}&week=2026-W46"),
    *(f"/month?unit={GRID}&month=2026-11", "/quarter?unit=1502", "/year?unit=1502"),
    *("/help", "/units", "/units?text=东河", "/password", "/second-factor", "/week?unit=9"),
    *("/inbox", "/problems", "/problems?view=board", "/households", "/visits", "/analyses"),
)
Open = Callable[..., Window]


def rest(city: City, path: str, **query: str) -> Any:
    """An answer of REST."""
    form = {"grant_type": "password", "username": "S1502", "password": PASSWORD}
    token = httpx.post(f"{city.url}/v1/auth/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(city.url + path, params=query, headers=headers).json()


@pytest.mark.parametrize("scripts", [True, False])
def test_one_signs_in_drills_down_sorts_and_signs_out(window: Open, scripts: bool) -> None:
    at = window(java_script_enabled=scripts)
    at.sign_in("S1502")
    page = at.page
    assert "/week?unit=1502&week=2026-W46" in page.url
    page.click("a[rel=next]")
    for unit in (VILLAGE[:6], TOWNSHIP, VILLAGE, GRID):
        page.click(f'[data-table=units] tr[data-id="{unit}"] th a')
        page.wait_for_url(f"**unit={unit}**")
    assert "week=2026-W47" in page.url
    assert page.locator("[data-figure=visits]").first.get_attribute("data-value") != "0"
    at.open("/week?unit=1502&week=2026-W47")
    page.click('[data-table=units] th a[href*="sort=visits"]')
    page.wait_for_selector("[data-table=units] th[aria-sort=descending]")
    rows = page.locator("[data-table=units] tbody tr")
    assert rows.first.get_attribute("data-id") == VILLAGE[:6]
    page.click('[data-table=units] th a[href*="sort=-visits"]')
    page.wait_for_selector("[data-table=units] th[aria-sort=ascending]")
    assert rows.last.get_attribute("data-id") == VILLAGE[:6]
    page.click("form[data-action=signout] button")
    page.wait_for_selector("input[name=username]")
    at.open("/week")
    assert "/signin" in page.url


@pytest.mark.parametrize("unit", ["1502", TOWNSHIP, VILLAGE, GRID])
def test_what_is_seen_is_what_rest_says(window: Open, city: City, unit: str) -> None:
    at = window()
    at.sign_in("S1502")
    for kind, path, name in (
        ("week", "weekly", "2026-W46"),
        ("week", "weekly", "2026-W47"),
        ("month", "monthly", "2026-10"),
    ):
        assert at.open(f"/{kind}?unit={unit}&{kind}={name}") == 200
        totals = rest(city, f"/v1/summaries/{path}", unit=unit, **{kind: name})["totals"]
        for key, value in totals.items():
            found = at.page.locator(f'[data-figure="{key}"]').first
            raw = found.get_attribute("data-value") or ""
            assert (json.loads(raw) if raw else None) == value, key
            assert found.is_visible()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_for_those_who_see_or_move_less(
    window: Open, path: str, scheme: str
) -> None:
    at = window(bypass_csp=True, color_scheme=scheme)
    at.sign_in("S1502")
    at.open(path)
    at.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = at.page.evaluate("axe.run()")
    serious = [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_form_of_signing_in_has_no_serious_fault(window: Open) -> None:
    at = window(bypass_csp=True)
    at.open("/signin")
    at.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = at.page.evaluate("axe.run()")
    assert [one["id"] for one in found["violations"] if one["impact"] == "serious"] == []


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_wider_than_a_phone(window: Open, path: str) -> None:
    at = window(viewport={"width": 390, "height": 844})
    at.sign_in("S1502")
    at.open(path)
    assert at.page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_hostile_texts_are_shown_as_they_are(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.open(f"/week?unit={VILLAGE}&week=2026-W46")
    shown = at.page.locator("main").inner_text()
    assert "<img src=x onerror=alert(1)>" in shown
    assert at.page.locator("main img, main b").count() == 0


def test_the_policy_refuses_what_is_inline(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        " document.body.append(s);"
        " const p = document.createElement('p'); p.setAttribute('style', 'color: red');"
        " document.body.append(p)"
    )
    assert at.page.evaluate("window.ran") is None
    refused = [one for one in at.wrong if "Content Security Policy" in one]
    assert len(refused) == 2
    at.wrong.clear()


@pytest.mark.parametrize("scripts", [True, False])
def test_what_was_typed_when_the_session_ended_is_not_lost(
    window: Open, city: City, scripts: bool
) -> None:
    at = window(java_script_enabled=scripts)
    at.sign_in("S1502")
    week = "2026-W45" if scripts else "2026-W44"
    at.open(f"/week?unit={GRID}&week={week}")
    page = at.page
    city.clock.forward(hours=13)
    page.click("form[data-action=seal] button")
    page.wait_for_selector("input[name=username]")
    page.fill("input[name=username]", "S1502")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button")
    if not scripts:
        page.click("form[data-send-at-once] button")
    page.wait_for_selector("form[data-action=unseal]")
    assert week in page.url
    page.fill("input[name=reason]", "补录")
    page.click("form[data-action=unseal] button")
    page.wait_for_selector("form[data-action=seal]")


def test_a_unit_is_found_while_its_name_is_typed(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.open("/month?unit=1502&month=2026-10")
    at.page.type("#unit-text", "东河")
    at.page.click("#units-found a[href^='/month?unit=150202&']")
    at.page.wait_for_url("**/month?unit=150202&month=2026-10")


def test_texts_of_a_city_come_when_they_are_asked_for(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.open("/week?unit=1502&week=2026-W46")
    at.page.click("#texts a")
    at.page.wait_for_selector("#texts article")


def test_english_stays_until_chinese_is_asked_for(window: Open) -> None:
    at = window()
    at.sign_in(SUPERVISOR)
    at.page.click(".languages a")
    assert at.page.locator("html").get_attribute("lang") == "en"
    at.open("/help")
    assert "What the numbers mean" in at.page.locator("h1").inner_text()
    at.page.click(".languages a")
    assert at.page.locator("html").get_attribute("lang") == "zh-CN"


def test_paper_has_unit_period_numbers_and_a_line_to_sign(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.open(f"/week?unit={VILLAGE}&week=2026-W46")
    document = pdfium.PdfDocument(at.page.pdf(format="A4"))
    text = "".join(page.get_textpage().get_text_range() for page in document)
    for word in ("2026年第46周", "走访次数", "合计", "填报人", "审核人"):
        assert word in text, word
    for word in ("退出", "查找", "打印"):
        assert word not in text, word
    width, height = document[0].get_size()
    assert (round(width), round(height)) == (595, 842) or abs(width - 595) < 2


def test_one_reaches_the_table_of_units_by_keys_alone(window: Open) -> None:
    at = window()
    at.sign_in("S1502")
    at.page.keyboard.press("Tab")
    assert at.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(60):
        at.page.keyboard.press("Tab")
        row = at.page.evaluate("document.activeElement.closest('tbody tr')?.dataset.id ?? ''")
        if row:
            break
    assert row == "150202"
    at.page.keyboard.press("Enter")
    at.page.wait_for_url("**unit=150202**")
