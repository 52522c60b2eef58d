"""Sessions in a real browser: what was typed outlives them."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from simulator.places import PASSWORD
from tests.browser.conftest import City, Window
from tests.world import GRID

Open = Callable[..., Window]


@pytest.mark.parametrize(("scripts", "week"), [(True, "2026-W45"), (False, "2026-W44")])
def test_what_was_typed_when_the_session_ended_is_not_lost(
    window: Open, city: City, scripts: bool, week: str
) -> None:
    at = window(java_script_enabled=scripts)
    at.sign_in("S1502")
    at.open(f"/week?unit={GRID}&week={week}")
    page = at.page
    city.clock.ahead = timedelta(hours=13)
    page.click("form[data-action=seal] button")
    page.wait_for_selector("input[name=username]")
    page.fill("input[name=username]", "S1502")
    page.fill("input[name=password]", PASSWORD)
    # Signing in, and what is sent again after it, are each waited for by themselves.
    with page.expect_response("**/signin"):
        page.click("main button")
    if not scripts:
        page.click("form[data-send-at-once] button")
    page.wait_for_selector("form[data-action=unseal]")
    assert week in page.url
    page.fill("input[name=reason]", "补录")
    page.click("form[data-action=unseal] button")
    page.wait_for_selector("form[data-action=seal]")
