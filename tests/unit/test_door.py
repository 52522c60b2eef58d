"""The door: so many inside, and a clear word for who comes above that."""

import asyncio
import json
from typing import Any

import pytest

from service.sync.door import PATH, Door


class House:
    """An app that answers when it is told to."""

    def __init__(self, at_once: int) -> None:
        self.open = asyncio.Event()
        self.served = 0
        self.door = Door(self.app, at_once)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.open.wait()
        self.served += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(self, path: str = PATH) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            pytest.fail("the door reads nothing of a request")

        await self.door({"type": "http", "path": path, "method": "POST"}, receive, send)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"]


async def test_one_too_many_is_asked_to_come_again() -> None:
    house = House(2)
    inside = [asyncio.create_task(house.ask()) for _ in range(2)]
    await asyncio.sleep(0)
    status, headers, body = await house.ask()
    assert status == 503
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == "/problems/unavailable"
    assert f"in {headers['retry-after']} seconds" in json.loads(body)["detail"]
    house.open.set()
    assert [answer[0] for answer in await asyncio.gather(*inside)] == [200, 200]
    assert (await house.ask())[0] == 200
    assert house.served == 3


async def test_those_sent_away_do_not_come_back_together() -> None:
    house = House(1)
    inside = asyncio.create_task(house.ask())
    await asyncio.sleep(0)
    seconds = [int((await house.ask())[1]["retry-after"]) for _ in range(200)]
    assert len(set(seconds)) > 5
    assert min(seconds) >= 1
    house.open.set()
    await inside


async def test_other_requests_pass_and_a_failure_leaves_its_place() -> None:
    house = House(1)
    house.open.set()
    assert (await house.ask("/v1/visits"))[0] == 200
    plain = house.app

    async def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    house.door._app = fail
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await house.ask()
    house.door._app = plain
    assert (await house.ask())[0] == 200
