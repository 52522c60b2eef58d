"""What else people do on pages, in a real browser: problems through their steps, and imports."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.city import XLSX
from tests.browser.conftest import City, Window
from tests.imports.books import HOUSEHOLDS, book
from tests.world import GRID, WORKER

Open = Callable[..., Window]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_problem_is_accepted_assigned_and_resolved(
    window: Open, city: City, scripts: bool
) -> None:
    at = window("S1502", java_script_enabled=scripts)
    page = at.page
    id = city.places["problem-on" if scripts else "problem-off"]
    at.open(f"/problems/{id}")

    def take(action: str, **fields: str) -> None:
        form = page.locator(f"form[data-action=problem-{action}]")
        if not form.is_visible():
            page.locator("details", has=form).locator("summary").click()
        for name, value in fields.items():
            if name == "note":
                form.locator("textarea[name=note]").fill(value)
            else:
                form.locator(f"select[name={name}]").select_option(value)
        with page.expect_navigation():
            form.locator("button").click()

    for action, state, fields in (
        ("accept", "已受理", {}),
        ("assign", "已分派", {"to_cadre": WORKER, "note": "今天到现场"}),
        ("resolve", "已办结", {"note": "已换新杆"}),
    ):
        take(action, **fields)
        assert page.locator(".tag.state").inner_text() == state
    timeline = page.locator("#timeline").inner_text()
    assert "今天到现场" in timeline
    assert "已换新杆" in timeline
    found = city.rest(f"/v1/problems/{id}")
    assert [one["action"] for one in found["steps"]] == ["accept", "assign", "resolve"]
    assert (found["state"], found["handler_cadre"]) == ("resolved", WORKER)


def test_a_workbook_is_tried_its_report_read_and_written(window: Open, city: City) -> None:
    at = window("admin")
    page = at.page
    content = book({"农牧户": [HOUSEHOLDS, [GRID, "H77", "孙八", "", "1组77号", 2, "低保", ""]]})
    file: Any = {"name": "名册.xlsx", "mimeType": XLSX, "buffer": content}

    def heads() -> list[str]:
        return [
            one["head_name"] for one in city.rest("/v1/households", unit=GRID, limit=200)["items"]
        ]

    at.open("/admin/imports")
    page.set_input_files("form[data-action=import] input[type=file]", files=[file])
    assert page.locator("input[name=dry_run]").is_checked()
    page.click("form[data-action=import] button")
    # The report comes by itself; one may also leave, and come back later.
    page.wait_for_selector("[data-import][data-state=checked]")
    row = page.locator('[data-table=tallies] tr[data-id="households"]')
    assert row.locator("[data-figure=new]").get_attribute("data-value") == "1"
    assert row.locator("[data-figure=bad]").get_attribute("data-value") == "0"
    assert "孙八" not in heads()
    page.click("form[data-action=import-apply] button")  # the files were kept
    page.wait_for_selector("[data-import][data-state=done]")
    assert "孙八" in heads()
    at.open("/admin/imports")
    assert page.locator("[data-table=imports] tbody tr").count() >= 2
