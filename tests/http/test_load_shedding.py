"""Load shedding: so many at once, and a clear answer for who comes above that."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from service.http.load_shedding import PATH, LoadShedding
from service.http.origins import cross_origin
from service.runtime.admission import ConcurrencyLimit
from tests.sockets import Wire, serving

PAGES = "https://pages.example"


class FakeServer:
    """An app that answers when it is told to."""

    def __init__(self, at_once: int) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.served = 0
        self.is_broken = False
        self.shedding = LoadShedding(
            self.app, ConcurrencyLimit(at_once), partial(cross_origin, origins=[PAGES])
        )

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if (scope["path"], scope["method"]) == (PATH, "POST"):
            async with self.shedding.concurrency.slot(str(scope["headers"]), "account"):
                self.entered.set()
                await self.open.wait()
                if self.is_broken:
                    raise RuntimeError("broken")
        self.served += 1
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        )
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(self, path: str = PATH) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            pytest.fail("load shedding reads nothing of a request")

        await self.shedding(
            {"type": "http", "path": path, "method": "POST", "headers": []}, receive, send
        )
        return (
            sent[0]["status"],
            {name.decode(): value.decode() for name, value in sent[0]["headers"]},
            sent[1]["body"],
        )


async def test_one_too_many_is_asked_to_come_again() -> None:
    server = FakeServer(2)
    inside = [asyncio.create_task(server.ask()) for _ in range(2)]
    await asyncio.sleep(0)
    status, headers, body = await server.ask()
    assert status == 503
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == "/problems/unavailable"
    assert f"in {headers['retry-after']} seconds" in json.loads(body)["detail"]
    server.open.set()
    assert [answer[0] for answer in await asyncio.gather(*inside)] == [200, 200]
    assert (await server.ask())[0] == 200
    assert server.served == 3


async def test_those_sent_away_do_not_come_back_together() -> None:
    server = FakeServer(1)
    inside = asyncio.create_task(server.ask())
    await asyncio.sleep(0)
    seconds = [int((await server.ask())[1]["retry-after"]) for _ in range(200)]
    assert len(set(seconds)) > 5
    assert min(seconds) >= 1
    server.open.set()
    await inside


async def test_other_requests_pass_and_a_failure_leaves_its_place() -> None:
    server = FakeServer(1)
    server.open.set()
    assert (await server.ask("/v1/visits"))[0] == 200
    server.is_broken = True
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await server.ask()
    server.is_broken = False
    assert (await server.ask())[0] == 200


# ------------------------------------------------------------------------------------ over the wire


@asynccontextmanager
async def served(server: FakeServer) -> AsyncIterator[int]:
    """The port of a house that a real server serves."""
    async with serving(server.shedding) as port:
        try:
            yield port
        finally:
            server.open.set()


@asynccontextmanager
async def full_house() -> AsyncIterator[tuple[FakeServer, Wire, Wire]]:
    """A house with room for one, who is inside and waits; their connection and one of somebody
    else.
    """
    server = FakeServer(1)
    async with served(server) as port:
        wires = [Wire(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        wires[0].post()
        await server.entered.wait()
        yield server, wires[0], wires[1]
        for wire in wires:
            wire.writer.close()


async def test_who_is_sent_away_comes_back_on_the_same_connection() -> None:
    async with full_house() as (server, inside, wire):
        for body in (b"{}", b"", b"POST /v1/sync HTTP/1.1\r\n\r\n", b"x" * 1_500_000):
            wire.post(body=body)
            status, headers, said = await wire.answer()
            assert (status, json.loads(said)["type"]) == (503, "/problems/unavailable")
            assert f"in {headers['retry-after']} seconds" in json.loads(said)["detail"]
        wire.post("Transfer-Encoding: chunked", body=b"3\r\n{ }\r\n0\r\n\r\n")
        assert (await wire.answer())[0] == 503
        assert server.served == 0
        server.open.set()
        assert (await inside.answer())[0] == 200
        wire.post()
        assert (await wire.answer())[0] == 200
        assert server.served == 2


async def test_both_ways_give_the_same_answer() -> None:
    async with full_house() as (_, __, wire):
        wire.post()
        status, headers, said = await wire.answer()
        wire.post("Connection: close")
        other_status, other_headers, other_said = await wire.answer()
        assert await wire.is_over()
        assert status == other_status == 503
        assert "date" in headers
        # No cache keeps either, so that it is all the same what they vary by.
        differ = dict.fromkeys(
            ("connection", "retry-after", "content-length", "date", "vary", "x-request-id"), ""
        )
        assert {**headers, **differ} == {**other_headers, **differ}
        assert json.loads(said).keys() == json.loads(other_said).keys()


async def test_an_old_client_is_sent_away_too() -> None:
    async with full_house() as (server, _, wire):
        wire.post(version="1.0")
        assert (await wire.answer())[0] == 503
        assert await wire.is_over()
        assert server.served == 0


async def test_who_was_sent_away_and_stays_silent_is_hung_up_on() -> None:
    async with full_house() as (_, __, wire):
        wire.post(body=b"x" * 1_500_000)
        assert (await wire.answer())[0] == 503
        assert await wire.is_over()


async def test_answers_keep_the_order_of_requests() -> None:
    async with full_house() as (server, inside, wire):
        wire.post()
        wire.post()
        assert [(await wire.answer())[0] for _ in range(2)] == [503, 503]
        inside.post()  # behind one that is not answered yet
        for _ in range(2):  # by now it has come
            wire.post()
            assert (await wire.answer())[0] == 503
        server.open.set()
        assert [(await inside.answer())[0] for _ in range(2)] == [200, 200]


async def test_a_page_of_another_origin_may_read_that_it_is_sent_away() -> None:
    async with full_house() as (server, _, wire):
        wire.post(f"Origin: {PAGES}")
        status, headers, __ = await wire.answer()
        assert (status, headers["access-control-allow-origin"]) == (503, PAGES)
        assert "Retry-After" in headers["access-control-expose-headers"]
        wire.post("Origin: https://other.example")
        status, headers, __ = await wire.answer()
        assert status == 503
        assert "access-control-allow-origin" not in headers
        server.open.set()
        wire.post(f"Origin: {PAGES}", method="OPTIONS")
        assert (await wire.answer())[0] == 200


async def test_a_page_may_ask_for_the_way_to_a_full_house() -> None:
    async with full_house() as (server, _, wire):
        for more in ((), (f"Origin: {PAGES}",)):
            wire.post(*more, method="OPTIONS")
            assert (await wire.answer())[0] == 200
        wire.post(path="/v1/visits")
        assert (await wire.answer())[0] == 200
        assert server.shedding.concurrency.is_full


async def test_who_leaves_at_the_door_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with full_house() as (server, inside, wire):
        wire.post()
        assert (await wire.answer())[0] == 503
        wire.post(body=b"")
        wire.writer.transport.abort()
        server.open.set()
        assert (await inside.answer())[0] == 200
        assert not server.shedding.concurrency.is_full
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
