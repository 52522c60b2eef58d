"""Hostile addresses, and what group robots get."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import socket
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from service.kit.settings import Settings
from service.webhooks.addresses import is_allowed, networks
from service.webhooks.sending import Outgoing, Sender, new_secret
from tests.webhooks.builders import ADMIN, a_problem, a_webhook, deliveries, tell
from tests.webhooks.receiver import Receiver
from tests.world import GRID, World

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
LOOPBACK = networks(["127.0.0.0/8"])
PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_however_they_are_written(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), [])


@pytest.mark.parametrize("address", ["8.8.8.8", "223.5.5.5", "2400:3200::1", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), [])


def test_a_setting_allows_a_network_and_no_other() -> None:
    assert is_allowed(ipaddress.ip_address("10.1.2.3"), networks(["10.1.0.0/16"]))
    assert not is_allowed(ipaddress.ip_address("10.2.2.3"), networks(["10.1.0.0/16"]))


@pytest.mark.parametrize(
    "address",
    [
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::ffff:192.168.0.1]/",
        "https://2130706433.example.invalid:99999/",
        "https://user:word@127.0.0.1/",
        "http://8.8.8.8/hook",
        "ftp://127.0.0.1/hook",
        "file:///etc/passwd",
        "https:///hook",
        "https://127.0.0.1/a b",
        "https://127.0.0.1/#x",
        "gopher://127.0.0.1",
        "",
    ],
)
async def test_no_webhook_is_made_for_such_an_address(world: World, address: str) -> None:
    body = {"name": "x", "unit": GRID, "events": ["problem.changed"], "address": address}
    answer = await world.post("/v1/webhooks", body, ADMIN)
    assert answer.status_code == 422, answer.text


async def test_without_the_setting_nothing_goes_to_the_loopback(receiver: Receiver) -> None:
    assert Settings().webhook_networks == []
    outgoing = Outgoing("id", "standard", receiver.address, new_secret(), "{}")
    assert (await Sender([]).send(outgoing, NOW)).error == "forbidden-address"
    assert receiver.got == []


async def test_a_name_that_leads_elsewhere_by_now_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where one of its addresses is private, none is used."""

    async def looked_up(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", looked_up, raising=False)
    address = f"http://rebound.example.cn:{receiver.port}/"
    outgoing = Outgoing("id", "standard", address, new_secret(), "{}")
    assert (await Sender([]).send(outgoing, NOW)).error == "forbidden-address"
    assert receiver.got == []


async def test_the_connection_goes_to_the_address_that_was_judged(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    async def looked_up(host: str, port: int, **_: Any) -> list[Any]:
        looks.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", looked_up, raising=False)
    address = f"http://app.example.cn:{receiver.port}/hook"
    outgoing = Outgoing("id", "standard", address, new_secret(), "{}")
    assert (await Sender(LOOPBACK).send(outgoing, NOW)).error == ""
    assert [host for host in looks if not host.startswith("127.")] == ["app.example.cn"]
    assert receiver.got[0].headers["host"] == f"app.example.cn:{receiver.port}"


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.answers((302, b""))
    outgoing = Outgoing("id", "standard", receiver.address, new_secret(), "{}")
    assert (await Sender(LOOPBACK).send(outgoing, NOW)).error == "status-302"
    assert len(receiver.got) == 1


async def test_nobody_listens(receiver: Receiver) -> None:
    outgoing = Outgoing("id", "standard", "http://127.0.0.1:1/", new_secret(), "{}")
    assert (await Sender(LOOPBACK).send(outgoing, NOW)).error == "no-connection"


# ------------------------------------------------------------------------------------ group robots


def signature(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


async def test_a_robot_of_dingtalk_gets_a_text_signed_as_it_checks_it(
    world: World, receiver: Receiver
) -> None:
    receiver.answers((200, b'{"errcode":0,"errmsg":"ok"}'))
    address = f"{receiver.address}?access_token=t"
    hook = await a_webhook(world, receiver, format="dingtalk", address=address, secret="SECx")
    assert hook["secret"] is None
    await a_problem(world)
    await tell(world)
    [got] = receiver.got
    query = parse_qs(urlsplit(got.path).query)
    [moment], [sign] = query["timestamp"], query["sign"]
    assert moment == str(int(world.clock.now().timestamp() * 1000))
    assert sign == signature("SECx", f"{moment}\nSECx")
    body = json.loads(got.body)
    assert body["msgtype"] == "text"
    assert "上报" in body["text"]["content"]
    assert "苏和" not in body["text"]["content"]


async def test_a_robot_of_feishu_gets_a_text_signed_as_it_checks_it(
    world: World, receiver: Receiver
) -> None:
    receiver.answers((200, b'{"code":0}'))
    await a_webhook(world, receiver, format="feishu", secret="s")
    await a_problem(world)
    await tell(world)
    body = json.loads(receiver.got[0].body)
    assert body["sign"] == signature(f"{body['timestamp']}\ns", "")
    assert body["msg_type"] == "text"
    assert "上报" in body["content"]["text"]


async def test_a_robot_of_wecom_that_refuses_with_200_is_asked_again(
    world: World, receiver: Receiver
) -> None:
    receiver.answers((200, b'{"errcode":45009}'), (200, b'{"errcode":0}'))
    hook = await a_webhook(world, receiver, format="wecom")
    await a_problem(world)
    await tell(world)
    [waiting] = await deliveries(world, hook["id"])
    assert (waiting["state"], waiting["last_error"]) == ("waiting", "refused-45009")
    world.clock.forward(minutes=1)
    await tell(world)
    [done] = await deliveries(world, hook["id"])
    assert done["state"] == "delivered"
    assert json.loads(receiver.got[0].body)["msgtype"] == "text"


async def test_secrets_that_cannot_be_used_are_refused(world: World, receiver: Receiver) -> None:
    body = {"name": "x", "unit": GRID, "events": ["problem.changed"], "address": receiver.address}
    for more in ({"secret": "short"}, {"format": "wecom", "secret": "x"}):
        assert (await world.post("/v1/webhooks", body | more, ADMIN)).status_code == 422
