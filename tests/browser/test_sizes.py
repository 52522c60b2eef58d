"""How much goes over the line, and that nothing jumps while a page comes. Sizes only: times are the
bench's.
"""

from collections.abc import Callable

import pytest

from tests.browser.conftest import Window

Open = Callable[..., Window]
KB = 1024
# A long table whose columns find their widths while it comes moves by a part of a pixel.
UNSEEN = 0.001
WEEK = "/week?unit=1502&week=2026-W47"
# How far what was drawn already has moved, in shares of the window; without what follows on a key
# or a click.
SHIFTS = """
  window.moved = [];
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) window.moved.push(one.value);
  }).observe({type: "layout-shift", buffered: true});
"""


class Line:
    """Counts what comes over the line to a window, heads and all, as it is packed there."""

    def __init__(self, at: Window) -> None:
        self._session = at.context.new_cdp_session(at.page)
        self._session.send("Network.enable")
        self._session.on("Network.loadingFinished", self._on_loaded)
        self.bytes = 0

    def _on_loaded(self, event: dict[str, float]) -> None:
        self.bytes += int(event["encodedDataLength"])


def test_the_first_view_is_small_and_the_next_ones_smaller(window: Open) -> None:
    at = window()
    line = Line(at)
    at.sign_in("S1502")
    at.open(WEEK)
    at.page.wait_for_load_state("networkidle")
    assert 0 < line.bytes <= 400 * KB
    line.bytes = 0
    at.open(WEEK)
    at.page.wait_for_load_state("networkidle")
    assert 0 < line.bytes <= 120 * KB


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(
    "path", ["/signin", WEEK, "/inbox", "/problems", "/loop?unit=150202100&month=2026-11", "/help"]
)
def test_nothing_jumps_while_a_page_comes(window: Open, path: str, width: int) -> None:
    who = None if path == "/signin" else "S1502"
    at = window(who, viewport={"width": width, "height": 900})
    at.page.add_init_script(SHIFTS)
    at.open(path)
    at.page.wait_for_load_state("networkidle")
    assert sum(at.page.evaluate("window.moved")) < UNSEEN


def test_a_jump_is_noticed(window: Open) -> None:
    at = window("S1502")
    at.page.add_init_script(SHIFTS)
    at.open("/help")
    at.page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
          document.querySelector("h1").insertAdjacentHTML("beforebegin", "<p>x<br>x<br>x<br>x</p>");
          requestAnimationFrame(() => requestAnimationFrame(done));
        })))"""
    )
    assert sum(at.page.evaluate("window.moved")) > UNSEEN
