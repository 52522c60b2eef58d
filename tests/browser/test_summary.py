"""The pages of periods in a real browser: down the tree, sorted, sealed, found."""

import json
from collections.abc import Callable

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.browser.conftest import City, Window
from tests.world import GRID

Open = Callable[..., Window]


@pytest.mark.parametrize("scripts", [True, False])
def test_one_signs_in_drills_down_from_city_to_grid_and_signs_out(
    window: Open, scripts: bool
) -> None:
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
    page.click("form[data-action=signout] button")
    page.wait_for_selector("input[name=username]")
    at.open("/week")
    assert "/signin" in page.url


@pytest.mark.parametrize("scripts", [True, False])
def test_a_table_is_sorted_both_ways(window: Open, scripts: bool) -> None:
    at = window("S1502", java_script_enabled=scripts)
    page = at.page
    at.open("/week?unit=1502&week=2026-W47")
    page.click('[data-table=units] th a[href*="sort=visits"]')
    page.wait_for_selector("[data-table=units] th[aria-sort=descending]")
    rows = page.locator("[data-table=units] tbody tr")
    assert rows.first.get_attribute("data-id") == VILLAGE[:6]
    page.click('[data-table=units] th a[href*="sort=-visits"]')
    page.wait_for_selector("[data-table=units] th[aria-sort=ascending]")
    assert rows.last.get_attribute("data-id") == VILLAGE[:6]
    assert "sort=-visits" in page.url


def test_sorting_by_script_leaves_the_rest_of_the_page_alone(window: Open) -> None:
    at = window("S1502")
    at.open("/cadres?unit=1502&month=2026-11")
    at.page.evaluate("window.stayed = true")
    at.page.click('[data-table=cadres] th a[href*="sort=visits"]')
    at.page.wait_for_selector("[data-table=cadres] th[aria-sort=descending]")
    assert at.page.evaluate("window.stayed") is True


@pytest.mark.parametrize("unit", ["1502", TOWNSHIP, VILLAGE, GRID])
def test_what_is_seen_is_what_rest_says(window: Open, city: City, unit: str) -> None:
    at = window("S1502")
    for kind, path, name in (
        ("week", "weekly", "2026-W46"),
        ("week", "weekly", "2026-W47"),
        ("month", "monthly", "2026-10"),
    ):
        assert at.open(f"/{kind}?unit={unit}&{kind}={name}") == 200
        totals = city.rest(f"/v1/summaries/{path}", unit=unit, **{kind: name})["totals"]
        for key, value in totals.items():
            found = at.page.locator(f'[data-figure="{key}"]').first
            raw = found.get_attribute("data-value") or ""
            assert (json.loads(raw) if raw else None) == value, key
            assert found.is_visible()


@pytest.mark.parametrize(("scripts", "week"), [(True, "2026-W43"), (False, "2026-W42")])
def test_a_week_is_sealed_and_seen_to_be_sealed(window: Open, scripts: bool, week: str) -> None:
    at = window("S1502", java_script_enabled=scripts)
    page = at.page
    address = f"/week?unit={GRID}&week={week}"
    at.open(address)
    assert page.locator(".tag.good").count() == 0
    page.click("form[data-action=seal] button")
    page.wait_for_selector("form[data-action=unseal]")
    assert "已封存" in page.locator(".title .tag.good").inner_text()
    at.open(f"/admin/seals?unit={GRID}")
    row = page.locator(f'[data-table=seals] tr[data-id="{week}"]')
    assert row.get_attribute("data-sealed") == "whole"
    at.open(address)
    page.fill("input[name=reason]", "补录两次走访")
    page.click("form[data-action=unseal] button")
    page.wait_for_selector("form[data-action=seal]")
    assert page.locator(".title .tag.good").count() == 0


def test_a_unit_is_found_while_its_name_is_typed(window: Open) -> None:
    at = window("S1502")
    at.open("/month?unit=1502&month=2026-10")
    at.page.type("#unit-text", "东河")
    at.page.click("#units-found a[href^='/month?unit=150202&']")
    at.page.wait_for_url("**/month?unit=150202&month=2026-10")


def test_texts_of_a_city_come_when_they_are_asked_for(window: Open) -> None:
    at = window("S1502")
    at.open("/week?unit=1502&week=2026-W46")
    at.page.click("#texts a")
    at.page.wait_for_selector("#texts article")


def test_english_stays_until_chinese_is_asked_for(window: Open) -> None:
    at = window()
    at.sign_in(SUPERVISOR)
    at.page.click(".languages a")
    at.page.wait_for_selector("html[lang=en]")
    at.open("/help")
    assert "What the numbers mean" in at.page.locator("h1").inner_text()
    at.page.click(".languages a")
    at.page.wait_for_selector("html[lang=zh-CN]")


def test_one_reaches_the_table_of_units_by_keys_alone(window: Open) -> None:
    at = window("S1502")
    at.open("/week?unit=1502&week=2026-W47")
    at.page.keyboard.press("Tab")
    assert at.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(80):
        at.page.keyboard.press("Tab")
        row = at.page.evaluate("document.activeElement.closest('tbody tr')?.dataset.id ?? ''")
        if row:
            break
    assert row == "150202"
    at.page.keyboard.press("Enter")
    at.page.wait_for_url("**unit=150202**")
