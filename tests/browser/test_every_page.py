"""What holds of every page that there is, in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import City, Window
from tests.browser.looks import LOOKS, Look

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
Open = Callable[..., Window]
# Texts that came from people may hold these tags only as text.
FOREIGN = "main :is(img, b, script, style, iframe), title *"
# What does not fit on paper, or does nothing there.
ON_SCREEN_ONLY = "main :is(button, input, select, textarea), .skip, header nav"


def opened(window: Open, city: City, look: Look, **options: Any) -> Window:
    """A window at a page."""
    at = window(look.who, **options)
    assert at.open(look.address(city.places)) == look.status
    return at


def serious_faults(at: Window, *rules: str) -> list[Any]:
    """What axe finds on a page that keeps people from using it; of all rules, if none are named."""
    # Not by the page itself, whose policy forbids what it is not sent.
    session = at.context.new_cdp_session(at.page)
    session.send("Runtime.evaluate", {"expression": AXE})
    options = {"runOnly": [*rules]} if rules else {}
    found = session.send(
        "Runtime.evaluate",
        {
            "expression": f"axe.run({options}).then(found => found.violations.map(one => "
            "({id: one.id, impact: one.impact, nodes: one.nodes.map(node => node.html)})))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    session.detach()
    assert "exceptionDetails" not in found, found
    return [one for one in found["result"]["value"] if one["impact"] in ("serious", "critical")]


def width(at: Window) -> int:
    """How wide the page is, with all that sticks out of the window."""
    found: int = at.page.evaluate("document.scrollingElement.scrollWidth")
    return found


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_a_page_is_for_every_eye_and_hand_and_shows_hostile_texts_as_they_are(
    window: Open, city: City, look: Look
) -> None:
    """Once opened, it is looked at in the light, in the dark, on a phone and on paper. Dialogs,
    errors and refusals of its policy fail the test at its end.
    """
    at = opened(window, city, look)
    page = at.page
    assert page.locator(FOREIGN).count() == 0
    assert width(at) <= 1440
    assert serious_faults(at) == []
    page.emulate_media(color_scheme="dark")
    assert serious_faults(at, "color-contrast", "link-in-text-block") == []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    assert width(at) <= 390
    page.emulate_media(media="print")
    assert page.locator(f":is({ON_SCREEN_ONLY}):visible").count() == 0


def test_a_fault_is_found_where_there_is_one(window: Open) -> None:
    at = window("S1502")
    at.open("/help")
    at.page.evaluate(
        "document.querySelector('main').innerHTML += '<img src=\"/static/x\"><button></button>'"
    )
    assert {one["id"] for one in serious_faults(at)} >= {"image-alt", "button-name"}
    assert at.page.locator(FOREIGN).count() == 1


def test_hostile_texts_are_there_to_be_seen(window: Open, city: City) -> None:
    at = window("S1502")
    for name in ("week-village", "inbox-conflict", "inbox-held", "problem", "visits", "analyses"):
        look = next(look for look in LOOKS if look.name == name)
        at.open(look.address(city.places))
        assert "<img src=x onerror=alert(1)>" in at.page.locator("main").inner_text(), name


def test_the_policy_refuses_what_is_inline(window: Open) -> None:
    at = window("S1502")
    at.open("/help")
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
