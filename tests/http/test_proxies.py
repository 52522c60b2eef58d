"""Who may say where a request came from, and what is said when somebody else does."""

import logging
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.app import app as command
from service.http.forwarded import Forwarded, UnnamedProxies, proxies_from
from tests.world import World

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


async def seen_by_app(
    peer: str, proxies: list[str], unnamed_proxies: UnnamedProxies
) -> tuple[str, str]:
    """The client and the scheme that an app behind the layer sees."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(Forwarded(app, proxies, unnamed_proxies), client=(peer, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        await client.get("/", headers=FORWARDED)
    return seen[0]["client"][0], seen[0]["scheme"]


@pytest.mark.parametrize("proxies", [["10.0.0.5"], ["192.0.2.1", "10.0.0.0/24"], ["*"]])
async def test_a_named_proxy_speaks_for_others(proxies: list[str]) -> None:
    unnamed_proxies = UnnamedProxies()
    assert await seen_by_app("10.0.0.5", proxies, unnamed_proxies) == ("203.0.113.9", "https")
    assert not unnamed_proxies.were_here


async def test_nobody_else_does_and_the_log_names_who_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unnamed_proxies = UnnamedProxies()
    for _ in range(5):
        assert await seen_by_app("10.0.1.5", ["10.0.0.0/24"], unnamed_proxies) == (
            "10.0.1.5",
            "http",
        )
    assert unnamed_proxies.were_here
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "gridloop serve --proxy 10.0.1.5" in line


async def test_readyz_warns_of_it(world: World) -> None:
    answer = (await world.client.get("/readyz")).json()
    assert (answer["status"], answer["warnings"]) == ("ok", [])
    world.app.state.unnamed_proxies.note("10.0.1.5")
    answer = (await world.client.get("/readyz")).json()
    assert answer["status"] == "ok"
    assert "--proxy" in answer["warnings"][0]
    assert "10.0.1.5" not in answer["warnings"][0]


def test_the_older_setting_keeps_working(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.5, 10.0.0.6")
    assert proxies_from([]) == ["10.0.0.5", "10.0.0.6"]
    assert proxies_from(["10.1.0.0/16"]) == ["10.1.0.0/16"]
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    assert proxies_from([]) == ["127.0.0.1"]


def test_what_is_no_address_is_refused() -> None:
    result = CliRunner().invoke(command, ["serve", "--proxy", "front.example"])
    assert result.exit_code == 1
    assert "front.example" in result.output
