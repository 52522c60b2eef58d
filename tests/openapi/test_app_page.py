"""The page for authors of apps does what it says."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.identity import client_queries
from service.identity.rights import SCOPES
from service.webhooks.sending import Outgoing, new_secret, signed
from simulator.throwaway import CHEAP
from tests.world import World

PAGE = (Path(__file__).parents[2] / "openapi" / "app.md").read_text(encoding="utf-8")
PARTS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


class BlockingTransport(httpx.BaseTransport):
    """Lets the page's blocking client call the app under test, which lives in the loop of the
    test.
    """

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.world = world
        self.loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        url = str(request.url).replace("http://127.0.0.1:8000", "http://gridloop.test")
        sent = self.world.client.request(
            request.method, url, content=request.content, headers=request.headers
        )
        answer = asyncio.run_coroutine_threadsafe(sent, self.loop).result(30)
        plain = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("content-encoding", "content-length")
        }
        return httpx.Response(
            answer.status_code, headers=plain, content=answer.content, request=request
        )


async def test_the_httpx_part_runs_from_top_to_bottom(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.state.database.transaction() as connection:
        await client_queries.add_client(
            connection,
            "nongmu",
            "包头农牧",
            CHEAP.hash("secret"),
            list(SCOPES),
            "1502",
            world.clock.now(),
        )
    code = PARTS[0]
    transport = BlockingTransport(world, asyncio.get_running_loop())
    plain = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: plain(**options, transport=transport))
    await asyncio.to_thread(exec, compile(code, "app.md", "exec"), {"SECRET": "secret"})
    said = capsys.readouterr().out
    assert re.search(r"^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4} 已上报$", said, re.M)
    assert "0 visits, 0 problems resolved" in said


async def test_the_receiver_takes_in_what_is_signed_and_nothing_else() -> None:
    secret = new_secret()
    there: dict[str, Any] = {}
    # Without annotations as texts, which FastAPI would look up in a module.
    exec(compile(PARTS[1].replace("whsec_…", secret), "app.md", "exec", dont_inherit=True), there)
    outgoing = Outgoing("one", "standard", "", secret, '{"type":"webhook.test","data":{}}')
    _, headers, body = signed(outgoing, datetime.now(UTC))
    transport = httpx.ASGITransport(there["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as client:
        for content, status in ((body, 204), (body, 204), (body + b" ", 401)):
            answer = await client.post("/hooks/gridloop", content=content, headers=headers)
            assert answer.status_code == status
    assert there["seen"] == {"one"}


def test_every_scope_stands_on_the_page() -> None:
    assert set(re.findall(r"^\| `([a-z:]+)`", PAGE, re.M)) == set(SCOPES)
