"""The service over real HTTP in a thread, and a real Chromium in front of it."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from service.kit.settings import Settings

# How Chromium is started: as root in a container, without anything that asks other servers.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # The databases of tests lie there, and may leave no room.
    "--disable-dev-shm-usage",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WHY = (
    "{what} is not there. On Debian: apt-get install chromium fonts-wqy-microhei; then"
    " make browser-test, which installs requirements/browser.txt."
)
_STARTS_S = 60


def chromium_or_skip() -> str:
    """The program; without it, or without the library that drives it, the tests are skipped, and
    where GRIDLOOP_NO_SKIPS is set (in CI) they fail.
    """
    try:
        import playwright  # noqa: F401
    except ImportError:
        _missing("The package playwright")
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        _missing("Chromium")
    assert found is not None
    return found


def _missing(what: str) -> None:
    why = _WHY.format(what=what)
    if os.environ.get("GRIDLOOP_NO_SKIPS"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an app that is served until the end."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_level="error",
            access_log=False,
            timeout_keep_alive=Settings().keep_alive_seconds,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _STARTS_S
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < end, "the service did not start in time"
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(_STARTS_S)
