"""Connections as real clients and unfair ones use them, over a real socket: nobody who is slow
shuts out anybody else.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from service.http import body as bodies
from service.http import connections
from service.http.connection_limits import Limits
from service.http.load_shedding import LoadShedding
from service.runtime.admission import ConcurrencyLimit
from tests.sockets import Wire, serving
from tests.world import GRID, SECRETARY, WORKER, World, until_none

IMPATIENT = Limits(
    head_s=0.2,
    head_bytes=4096,
    grace_s=1.0,
    answer_s=0.5,
    answer_rate=1e9,
    linger_s=0.2,
    connections=40,
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that a test can wait for."""
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    monkeypatch.setattr(bodies, "FREE_S", 0.3)
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 1.5)


@asynccontextmanager
async def served(
    world: World, limits: Limits = IMPATIENT, concurrency: int = 8
) -> AsyncIterator[int]:
    world.app.state.concurrency = ConcurrencyLimit(concurrency)
    async with serving(
        LoadShedding(world.app, world.app.state.concurrency, limits=limits), keep_alive_s=5
    ) as port:
        yield port


async def wire_to(port: int, stack: AsyncExitStack) -> Wire:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    stack.callback(wire.writer.close)
    return wire


async def phone_of(
    world: World, staff_code: str = WORKER, device: str | None = None
) -> tuple[str, bytes]:
    """The Authorization line of a phone, and the body of an exchange that hands in nothing."""
    token = await world.token(staff_code, device or str(uuid.uuid4()))
    return f"Authorization: Bearer {token}", exchange(world)


def exchange(world: World) -> bytes:
    body: dict[str, Any] = {
        "protocol": 1,
        "sent_at": world.clock.now().isoformat(),
        "cursor": None,
        "limit": 1,
    }
    return json.dumps(body).encode()


# -------------------------------------------------------------------------------- slow, large, many


async def test_a_head_that_does_not_come_ends_its_connection(world: World, impatient: None) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        silent, slow, blank, kept = [await wire_to(port, stack) for _ in range(4)]
        slow.writer.write(b"GET /healthz HTTP/1.1\r\nHost: he")
        kept.post(path="/healthz", method="GET", body=b"")
        assert (await kept.answer())[0] == 200

        async def drip() -> None:
            while True:
                for wire in (blank, kept):
                    wire.writer.write(b"\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        for wire in (silent, slow, blank, kept):
            assert await ends(wire)
        dripping.cancel()


async def connected() -> list[Any]:
    return connections.open_connections()


async def ends(wire: Wire) -> bool:
    try:
        return await wire.is_over()
    except ConnectionError:
        return True


async def test_a_head_that_is_too_large_is_refused_before_it_is_all_here(
    world: World, impatient: None
) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        for part in (b"GET /" + b"a" * 100_000, b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000):
            wire = await wire_to(port, stack)
            wire.writer.write(part)
            await asyncio.sleep(0.02)
            wire.writer.write(b"a")
            status, _, body = await wire.answer()
            assert (status, json.loads(body)["type"]) == (431, "/problems/head-too-large")
        wire = await wire_to(port, stack)
        wire.post(*[f"X-{number}: {'a' * 100}" for number in range(50)])
        assert (await wire.answer())[0] == 431


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "pieces",
    ["x: %b\r\n", "%b", ";%b", "0%b"],
    ids=["trailers", "one trailer", "an extension", "a size"],
)
@pytest.mark.parametrize("signed_in", [False, True], ids=["anybody", "a phone"])
async def test_what_frames_a_body_has_a_limit(
    world: World, impatient: None, pieces: str, signed_in: bool
) -> None:
    last = {"x: %b\r\n": b"0\r\n", "%b": b"0\r\nx: ", ";%b": b"1", "0%b": b""}[pieces]
    async with served(world) as port, AsyncExitStack() as stack:
        line = (await phone_of(world))[0] if signed_in else "X: none"
        wire = await wire_to(port, stack)
        wire.post(line, CHUNKED, body=b"2\r\n{}\r\n" + last)
        if not signed_in:
            assert (await wire.answer())[0] == 401
        filler = (b"0" if pieces == "0%b" else b"y") * 60
        for _ in range(IMPATIENT.head_bytes // 20):
            wire.writer.write(pieces.encode() % filler)
            await asyncio.sleep(0)
        if signed_in:
            status, _, body = await wire.answer()
            assert (status, json.loads(body)["type"]) == (431, "/problems/head-too-large")
        assert await ends(wire)
        assert len(bodies.ARRIVING) == 0
        await until_none(connected)  # although the client has not hung up


async def test_a_body_in_many_small_chunks_is_taken(world: World, impatient: None) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world)
        chunks = b"".join(b"1;of=one\r\n%c\r\n" % byte for byte in body.ljust(2000))
        wire = await wire_to(port, stack)
        wire.post(line, CHUNKED, body=chunks + b"0\r\nDigest: none\r\n\r\n")
        assert (await wire.answer())[0] == 200


async def test_trailers_are_no_headers(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world, SECRETARY)
        trailers = [
            line,
            "X-Request-ID: trailer",
            "Accept-Language: zh",
            "X-Forwarded-For: 10.9.9.9",
            "",
        ]
        wire = await wire_to(port, stack)
        for sent_in_parts in (False, True):
            wire.post(
                CHUNKED, path="/v1/auth/me", method="GET", body=b"" if sent_in_parts else b"0\r\n"
            )
            if sent_in_parts:
                await asyncio.sleep(0.02)
                wire.writer.write(b"0\r\n")
            wire.writer.write("\r\n".join([*trailers, ""]).encode())
            status, headers, _ = await wire.answer()
            assert (status, headers["content-language"], headers["x-request-id"] == "trailer") == (
                401,
                "en",
                False,
            )
        wire.post(
            line, path="/v1/auth/me", method="GET", body=b""
        )  # and what comes next is not read as a part of it
        assert (await wire.answer())[0] == 200


async def test_slow_bodies_of_one_account_take_no_place_and_end(
    world: World, impatient: None
) -> None:
    async with served(world, concurrency=2) as port, AsyncExitStack() as stack:
        slow = []
        for _ in range(16):
            line, _ = await phone_of(world, WORKER)
            wire = await wire_to(port, stack)
            wire.writer.write(
                f"POST /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length:"
                " 100000\r\n\r\n{".encode()
            )
            slow.append(wire)
        await asyncio.sleep(0.1)
        line, body = await phone_of(world, SECRETARY)
        wire = await wire_to(port, stack)
        for _ in range(3):
            wire.post(line, body=body)
            assert (await wire.answer())[0] == 200
        for one in slow:
            status, headers, said = await one.answer()
            assert (status, json.loads(said)["type"], headers["connection"]) == (
                408,
                "/problems/too-slow",
                "close",
            )
        assert len(bodies.ARRIVING) == 0
        assert bodies.ARRIVING.bytes == 0


async def test_a_body_that_comes_steadily_at_a_bad_line_is_taken(
    world: World, impatient: None
) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world)
        body = body.ljust(2000)
        wire = await wire_to(port, stack)
        wire.writer.write(
            f"POST /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length:"
            f" {len(body)}\r\n\r\n".encode()
        )
        for begin in range(0, len(body), 200):  # for longer than a body may take that does not come
            wire.writer.write(body[begin : begin + 200])
            await asyncio.sleep(0.06)
        assert (await wire.answer())[0] == 200


async def test_who_was_refused_and_goes_on_dripping_is_hung_up_on(
    world: World, impatient: None
) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        wire.writer.write(
            b"POST /v1/sync HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n{"
        )
        assert (await wire.answer())[0] == 401

        async def drip() -> None:
            while True:
                wire.writer.write(b" ")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await ends(wire)
        dripping.cancel()


async def test_a_phone_that_lost_its_line_is_not_shut_out_by_its_own_old_requests(
    world: World,
) -> None:
    device = str(uuid.uuid4())
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world, WORKER, device)
        lost = [await wire_to(port, stack) for _ in range(3)]
        for wire in lost:
            wire.writer.write(
                f"POST /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length:"
                " 5000\r\n\r\n{".encode()
            )
            await asyncio.sleep(0.05)
        assert len(bodies.ARRIVING) == 2
        assert (await lost[0].answer())[0] == 408
        wire = await wire_to(port, stack)
        wire.post(line, body=body)
        assert (await wire.answer())[0] == 200


async def test_bodies_hold_no_more_memory_than_there_is_for_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.ARRIVING, "max_bytes", 200_000)
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        wires = []
        for _ in range(6):
            line, _ = await phone_of(world)
            wire = await wire_to(port, stack)
            wire.writer.write(
                f"POST /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length:"
                " 90000\r\n\r\n".encode()
                + b" " * 80_000
            )
            await asyncio.sleep(0.05)
            wires.append(wire)
        assert bodies.ARRIVING.bytes <= 200_000
        assert [(await wire.answer())[0] for wire in wires[:4]] == [408] * 4
        for wire in wires[4:]:
            wire.writer.write(b" " * 10_000)
            assert (await wire.answer())[0] == 400  # all of it is here, and it is no JSON


BEGUN = "POST {} HTTP/1.1\r\nHost: here\r\n{}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


async def test_what_needs_no_body_or_a_token_is_answered_before_the_body_is_here(
    world: World,
) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world, SECRETARY)
        for path, given, wanted in (
            ("/nothing", "X: none", 404),
            ("/v1/syncs", line, 404),
            ("/healthz", "X: none", 405),
            ("/v1/problems", "X: none", 401),
            ("/v1/problems", "Authorization: Bearer a.b.c", 401),
            ("/v1/auth/sign-out", line, 200),
        ):
            wire = await wire_to(port, stack)
            wire.writer.write(BEGUN.format(path, given, JSON, 1_000_000).encode() + b" " * 500_000)
            assert (await wire.answer())[0] == wanted, path
            assert (len(bodies.ARRIVING), len(bodies.ANONYMOUS)) == (0, 0)


async def test_forms_of_anybody_are_small_and_push_out_no_phone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.ARRIVING, "max_bytes", 100_000)
    monkeypatch.setattr(bodies.ANONYMOUS, "max_bytes", 100_000)
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world)
        phone = await wire_to(port, stack)
        phone.writer.write(
            BEGUN.format("/v1/sync", line, JSON, 80_000).encode() + body.ljust(79_999)
        )
        await asyncio.sleep(0.05)
        large = await wire_to(port, stack)
        large.post(
            "X: none", f"Content-Type: {FORM}", path="/v1/auth/token", body=b"a=" + b"a" * 70_000
        )
        status, _, said = await large.answer()
        assert (status, json.loads(said)["type"]) == (413, "/problems/too-large")
        for _ in range(10):
            wire = await wire_to(port, stack)
            wire.writer.write(
                BEGUN.format("/v1/auth/token", "X: none", FORM, 60_001).encode() + b"a" * 60_000
            )
            await asyncio.sleep(0.02)
        assert bodies.ANONYMOUS.bytes <= 100_000
        phone.writer.write(b" ")
        assert (await phone.answer())[0] == 200


async def test_an_account_with_many_devices_pushes_out_its_own_bodies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.ARRIVING, "max_bytes", 200_000)
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world, SECRETARY)
        slow = await wire_to(port, stack)
        slow.writer.write(
            BEGUN.format("/v1/sync", line, JSON, 50_000).encode() + body.ljust(49_999)
        )
        for _ in range(10):
            line, _ = await phone_of(world, WORKER)
            wire = await wire_to(port, stack)
            wire.writer.write(BEGUN.format("/v1/sync", line, JSON, 60_001).encode() + b" " * 60_000)
            await asyncio.sleep(0.02)
        assert bodies.ARRIVING.bytes <= 200_000
        slow.writer.write(b" ")
        assert (await slow.answer())[0] == 200


async def test_idle_connections_make_room_for_new_ones(world: World) -> None:
    async with served(world, Limits(connections=20)) as port, AsyncExitStack() as stack:
        for _ in range(60):
            await wire_to(port, stack)
        wire = await wire_to(port, stack)
        wire.post(path="/healthz", method="GET", body=b"")
        assert (await wire.answer())[0] == 200


async def test_an_answer_that_nobody_takes_ends_its_connection(
    world: World, impatient: None
) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            wire.writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n")

        await until_none(connected)


async def test_a_slow_reader_who_goes_on_taking_is_not_cut(world: World, impatient: None) -> None:
    async with served(world) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        for _ in range(30):
            wire.writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n")
        for _ in range(30):
            status, _, body = await wire.answer()
            assert (status, len(body) > 100_000) == (200, True)
            await asyncio.sleep(0.03)


# --------------------------------------------------------------------------------- as clients speak


async def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world)
        offers = (
            (
                "Connection: Upgrade, HTTP2-Settings",
                "Upgrade: h2c",
                "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
            ),
            (
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ),
        )
        wire = await wire_to(port, stack)
        for offer in offers:
            for _ in range(2):
                wire.post(line, *offer, body=body)
                status, headers, said = await wire.answer()
                assert (status, json.loads(said)["verdicts"], "upgrade" in headers) == (
                    200,
                    [],
                    False,
                )
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        wire.post(line, *offers[0], "Transfer-Encoding: chunked", body=chunked)
        assert (await wire.answer())[0] == 200
        head = (
            f"POST /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length: {len(body)}\r\n"
            + "\r\n".join(offers[0])
            + "\r\n\r\n"
        )
        for part in (head.encode(), body[:10], body[10:]):
            wire.writer.write(part)
            await asyncio.sleep(0.02)
        assert (await wire.answer())[0] == 200
        wire.post(line, "Connection: close, Upgrade", "Upgrade: h2c", body=body)
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await wire.is_over()


OFFER = b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"
PLAIN = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.mark.parametrize("path", ["/v1/auth/token", "/v1/sync"])
async def test_a_body_that_is_cut_off_is_the_clients_doing(
    world: World, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO, "gridloop")
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world)
        begun = (
            f"POST {path} HTTP/1.1\r\nHost: here\r\n{line}\r\nContent-Length: 40\r\n\r\nabc"
        ).encode()
        gone = await wire_to(port, stack)
        gone.writer.write(begun)
        await asyncio.sleep(0.05)
        gone.writer.close()
        await until_none(connected)
        listening = await wire_to(port, stack)
        listening.writer.write(PLAIN + begun)
        listening.writer.write_eof()
        assert (await listening.answer())[0] == 200
        status, _, body = await listening.answer()
        assert (status, json.loads(body)["type"]) == (400, "/problems/no-http")
        assert await listening.is_over()
    lines: list[Any] = [record for record in caplog.records if record.name == "gridloop.requests"]
    counted = [line.status for line in lines if line.route != "/healthz"]
    assert set(counted) <= {200, 499}
    assert 499 in counted
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == []


@pytest.mark.parametrize("request_", [OFFER, PLAIN], ids=["offers", "plain"])
async def test_requests_without_end_in_one_piece_are_answered_up_to_a_number(
    world: World, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    limits = Limits()
    async with served(world, limits) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        wire.writer.write(request_ * 500)
        for _ in range(1 + limits.pipelined):
            assert (await wire.answer())[0] == 200
        status, _, body = await wire.answer()
        assert (status, json.loads(body)["type"]) == (429, "/problems/too-many-requests")
        assert await wire.is_over()
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == []


async def test_a_head_has_the_headers_of_a_get_and_no_body(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world, SECRETARY)
        wire = await wire_to(port, stack)
        for path in ("/healthz", "/v1/units?limit=2", "/v1/problems", "/openapi.json"):
            wire.post(line, path=path, method="GET", body=b"")
            status, headers, body = await wire.answer()
            assert (status, len(body) > 0) == (200, True)
            wire.writer.write(f"HEAD {path} HTTP/1.1\r\nHost: here\r\n{line}\r\n\r\n".encode())
            raw = (await wire.head()).lower()
            for name in ("content-length", "content-type", "etag"):
                if name in headers:
                    assert f"{name}: {headers[name]}".lower() in raw
        wire.writer.write(f"HEAD /v1/sync HTTP/1.1\r\nHost: here\r\n{line}\r\n\r\n".encode())
        assert "405" in await wire.head()


async def test_who_sends_no_more_still_gets_the_answer(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world, SECRETARY)
        wire = await wire_to(port, stack)
        wire.post(line, path="/v1/units?limit=2", method="GET", body=b"")
        wire.writer.write_eof()
        status, _, body = await wire.answer()
        assert (status, len(body) > 0) == (200, True)
        assert await wire.is_over()


async def test_what_cannot_be_read_is_answered_after_what_came_before_it(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world, SECRETARY)
        body = json.dumps({"grid": GRID, "fields": {"title": "水管", "duty": "emergency"}}).encode()
        wire = await wire_to(port, stack)
        wire.writer.write(
            BEGUN.format("/v1/problems", line, JSON, len(body)).encode() + body + b"\0\0"
        )
        assert (await wire.answer())[0] == 201
        assert (await wire.answer())[0] == 400
        assert await wire.is_over()
    assert len(await world.fetch("SELECT FROM problem")) == 1


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [([], 400), (["Host: a", "Host: b"], 400), (["Host: a"], 200)],
    ids=["none", "two", "one"],
)
async def test_a_request_has_one_host(world: World, lines: list[str], wanted: int) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        wire.writer.write("\r\n".join(["GET /healthz HTTP/1.1", *lines, "", ""]).encode())
        assert (await wire.answer())[0] == wanted
        old = await wire_to(port, stack)
        old.writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")  # which knew of no hosts
        assert (await old.answer())[0] == 200


async def test_headers_have_a_number_and_count_with_what_stands_around_them(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        for head in (b"a:\r\n" * 30_000, b"a:\r\n" * Limits().headers):
            wire = await wire_to(port, stack)
            wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\n" + head + b"\r\n")
            status, _, body = await wire.answer()
            assert (status, json.loads(body)["type"]) == (431, "/problems/head-too-large")
        wire = await wire_to(port, stack)
        wire.writer.write(
            b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
            + b"a:\r\n" * (Limits().headers - 1)
            + b"\r\n"
        )
        assert (await wire.answer())[0] == 200


async def test_a_refused_head_has_no_body(world: World) -> None:
    async with served(world, Limits()) as port, AsyncExitStack() as stack:
        wire = await wire_to(port, stack)
        wire.writer.write(b"HEAD / HTTP/1.1\r\nA: " + b"a" * 100_000)
        assert " 431 " in await wire.head()
        assert await wire.is_over()


async def test_one_connection_too_many_is_told_so_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(world, Limits(connections=2)) as port, AsyncExitStack() as stack:
        line, _ = await phone_of(world)
        busy = [await wire_to(port, stack) for _ in range(2)]
        for wire in busy:
            wire.writer.write(BEGUN.format("/v1/sync", line, JSON, 100).encode())
        await asyncio.sleep(0.05)
        for asks in [True, False] * 10:
            wire = await wire_to(port, stack)
            if asks:
                wire.writer.write(PLAIN)
            status, headers, body = await wire.answer()
            assert (status, json.loads(body)["type"], headers["retry-after"]) == (
                503,
                "/problems/unavailable",
                "5",
            )
            assert headers["content-type"] == "application/problem+json"
            wire.writer.close()
        assert (
            len(
                [
                    record
                    for record in caplog.records
                    if "too many connections" in record.getMessage()
                ]
            )
            <= 1
        )
        busy[0].writer.close()
        await asyncio.sleep(0.05)
        wire = await wire_to(port, stack)
        wire.writer.write(PLAIN)
        assert (await wire.answer())[0] == 200


async def test_a_path_with_a_slash_too_many_is_no_path(world: World) -> None:
    for path in ("/readyz/", "/v1/problems/"):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-path"), path


async def test_what_is_refused_before_the_app_has_the_same_headers(world: World) -> None:
    async with served(world, Limits(), concurrency=0) as port, AsyncExitStack() as stack:
        line, body = await phone_of(world)
        full = await wire_to(port, stack)
        full.post(line, body=body)
        odd = await wire_to(port, stack)
        odd.writer.write(b"hello there\r\n\r\n")
        large = await wire_to(port, stack)
        large.writer.write(b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000)
        for wire, wanted in ((full, 503), (odd, 400), (large, 431)):
            status, headers, said = await wire.answer()
            assert (status, headers["content-type"]) == (wanted, "application/problem+json")
            assert json.loads(said)["detail"]
            assert (headers["x-content-type-options"], headers["cache-control"]) == (
                "nosniff",
                "no-store",
            )
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-request-id"]
        again = await wire_to(port, stack)
        again.post(line, "X-Request-ID: of-the-phone", body=body)
        assert (await again.answer())[1]["x-request-id"] == "of-the-phone"
