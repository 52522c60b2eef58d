"""Requests that two readers could take for two different things, and methods that nobody should
answer.
"""

import asyncio
import json
import re
from pathlib import Path

import pytest

from service.http.load_shedding import LoadShedding
from service.kit.settings import Settings
from service.runtime.admission import ConcurrencyLimit
from tests.sockets import serving
from tests.world import World

ROOT = Path(__file__).parents[2]
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


async def raw_answer(world: World, request: bytes) -> bytes:
    """All that comes back on a connection until the server closes it."""
    world.app.state.concurrency = ConcurrencyLimit(8)
    shedding = LoadShedding(world.app, world.app.state.concurrency)
    async with serving(shedding) as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize(
    "lengths",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 60"),
        ("Transfer-Encoding: xchunked", "Content-Length: 4"),
        ("Content-Length : 4",),
    ],
)
async def test_a_request_of_two_lengths_is_refused_and_nothing_behind_it_is_answered(
    world: World, lengths: tuple[str, ...]
) -> None:
    head = "\r\n".join(["POST /v1/auth/token HTTP/1.1", "Host: here", *lengths, "", ""])
    answer = await raw_answer(world, head.encode() + b"0\r\n\r\n" + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_trace_is_answered_by_nobody(world: World) -> None:
    for path in ("/healthz", "/v1/problems", "/v1/sync"):
        answer = await world.client.request("TRACE", path, headers={"X-Secret": "not to be told"})
        assert answer.status_code == 405
        assert "not to be told" not in answer.text


def test_an_idle_connection_of_the_proxy_is_closed_by_the_proxy_and_not_under_a_request() -> None:
    profile = (ROOT / "deploy" / "nginx" / "gridloop.conf").read_text(encoding="utf-8")
    upstream = profile[profile.index("upstream") : profile.index("}")]
    found = re.search(r"keepalive_timeout (\d+)s", upstream)
    assert found is not None
    assert int(found[1]) < Settings.model_fields["keep_alive_seconds"].default


def test_the_protocol_tells_a_phone_what_to_do_about_every_refusal_of_a_sign_in() -> None:
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    answer = document["paths"]["/v1/sync"]["post"]["responses"]["401"]
    slugs = set(answer["content"]["application/problem+json"]["examples"])
    protocol = (ROOT / "sync_protocol" / "PROTOCOL.md").read_text(encoding="utf-8")
    assert "session-ended" in slugs
    slugs.remove("token-missing")  # no phone sends a push without one
    assert {slug for slug in slugs if f"`{slug}`" not in protocol} == set()
