"""Decisions in a real browser: by mouse, without scripts, and by keys alone."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import City, Window
from tests.world import GRID, OTHER_GRID, SECRETARY

Open = Callable[..., Window]
FOCUS = """() => {
  const at = document.activeElement;
  const style = getComputedStyle(at);
  return {
    action: at.closest("form")?.dataset.action ?? "",
    tag: at.tagName,
    href: at.getAttribute("href") ?? "",
    seen: at.matches(":focus-visible") && style.outlineStyle !== "none",
  };
}"""


def decided(city: City, id: str) -> Any:
    """A conflict as REST has it."""
    items = city.rest("/v1/conflicts", unit=GRID[:12], limit=200)["items"]
    return next(one for one in items if one["id"] == id)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_conflict_is_decided_by_one_click_and_a_note(
    window: Open, city: City, scripts: bool
) -> None:
    at = window("S1502", java_script_enabled=scripts)
    page = at.page
    id = city.places["conflict-on" if scripts else "conflict-off"]
    at.open(f"/inbox?conflict={id}")
    row = page.locator(f'[data-table=conflicts] tr[data-id="{id}"]')
    assert row.locator(".side").count() == 2
    assert row.locator(".side mark").all_inner_texts() == ["新", "旧"]
    form = row.locator("form[data-action=conflict-lost]")
    form.locator("input[name=note]").fill("户主说的")
    form.locator("button").click()
    page.wait_for_selector("main [role=status]")
    assert row.count() == 0
    found = decided(city, id)
    assert (found["choice"], found["note"]) == ("lost", "户主说的")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_held_visit_is_corrected_and_released(window: Open, city: City, scripts: bool) -> None:
    at = window(SECRETARY, java_script_enabled=scripts)
    page = at.page
    id = city.places["held-on" if scripts else "held-off"]
    at.open(f"/inbox?held={id}")
    row = page.locator(f'[data-table=held] tr[data-id="{id}"]')
    assert "昨天" in row.inner_text()
    day = "2026-11-19T10:00" if scripts else "2026-11-18T10:00"
    row.locator('input[name="field.visited_at"]').fill(day)
    row.locator('form[data-action=held-release] textarea[name="field.content"]').fill("看望老人")
    row.locator("form[data-action=held-release] button").click()
    page.wait_for_selector("main [role=status]")
    assert row.count() == 0
    at.open(f"/visits?unit={GRID}&from={day[:10]}&to={day[:10]}")
    assert "看望老人" in page.locator("[data-table=visits]").inner_text()


def test_one_goes_through_the_inbox_by_keys_alone(window: Open, city: City) -> None:
    """By Tab and Enter, each step with a ring around what has the focus."""
    at = window("S1502")
    page = at.page
    at.open(f"/inbox?unit={OTHER_GRID}")
    left = {city.places["conflict-keys"], city.places["conflict-keys-2"]}
    while left:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # past the head
        for _ in range(40):
            page.keyboard.press("Tab")
            focus = page.evaluate(FOCUS)
            assert focus["seen"], focus
            if focus["tag"] == "BUTTON" and focus["action"] == "conflict-kept":
                break
        else:
            pytest.fail("the button was not reached")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        found = {id for id in left if decided(city, id)["choice"] == "kept"}
        assert len(found) == 1
        left -= found
    assert page.locator("[data-table=conflicts]").count() == 0
