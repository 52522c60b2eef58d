"""The manners of HTTP: ids, ETags, links, limits, repeated requests, headers, figures, logs."""

import asyncio
import gzip
import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.http import body as body_module
from service.http import deprecation
from service.http.request_bodies import MAX_BODY_BYTES
from service.kit.logs import JsonLines, request_id
from service.kit.settings import Settings
from service.problems import queries as problem_queries
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.conftest import running
from tests.world import GRID, SECRETARY, WORKER, Clock, World

FIELDS = {"title": "水管冻裂", "duty": "emergency"}


async def headers_of(world: World, staff_code: str = SECRETARY, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {await world.token(staff_code)}"} | more


# ------------------------------------------------------------------------------------------ reading


async def test_what_has_not_changed_is_not_sent_again(world: World) -> None:
    first = await world.get("/v1/problems", SECRETARY)
    again = await headers_of(world, **{"If-None-Match": first.headers["ETag"]})
    second = await world.client.get("/v1/problems", headers=again)
    assert (second.status_code, second.content, second.headers["ETag"]) == (
        304,
        b"",
        first.headers["ETag"],
    )
    await world.post("/v1/problems", {"grid": GRID, "fields": FIELDS}, SECRETARY)
    third = await world.client.get("/v1/problems", headers=again)
    assert (third.status_code, len(third.json()["items"])) == (200, 1)


async def test_a_page_names_the_next_in_link(world: World) -> None:
    seen: list[str] = []
    url: str | None = f"/v1/units?unit={TOWNSHIP}&limit=7&level=village"
    while url:
        response = await world.client.get(url, headers=await headers_of(world, SUPERVISOR))
        seen += [item["code"] for item in response.json()["items"]]
        url = response.links["next"]["url"] if "next" in response.links else None
    assert seen == sorted(set(seen))
    assert len(seen) == len(await world.fetch("SELECT FROM unit WHERE parent = $1", TOWNSHIP)) > 7


async def test_large_answers_come_compressed(world: World) -> None:
    response = await world.get("/v1/units", SUPERVISOR, limit=500)
    assert response.headers["Content-Encoding"] == "gzip"
    plain = await world.client.get(
        "/v1/units?limit=500",
        headers=await headers_of(world, SUPERVISOR, **{"Accept-Encoding": "identity"}),
    )
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == response.json()


@pytest.mark.parametrize(
    ("header", "gzip_comes"),
    [
        ("gzip", True),
        ("gzip;q=0", False),
        ("deflate, gzip; q=0.000", False),
        ("GZIP;Q=0", False),
        ("br, gzip;q=0.1", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip, *;q=0", True),
        ("xgzip", False),
    ],
)
async def test_gzip_comes_only_to_those_who_take_it(
    world: World, header: str, gzip_comes: bool
) -> None:
    headers = await headers_of(world, SUPERVISOR, **{"Accept-Encoding": header})
    rest = await world.client.get("/v1/units?limit=500", headers=headers)
    body = {"protocol": 1, "sent_at": "2026-11-20T09:00:00+08:00", "cursor": None, "limit": 500}
    phone = str(uuid.uuid4())
    headers["Authorization"] = f"Bearer {await world.token(WORKER, phone)}"
    synced = await world.client.post(
        "/v1/sync", json={**body, "queued": 0, "mutations": []}, headers=headers
    )
    for answer in (rest, synced):
        assert answer.status_code == 200, answer.text
        assert (answer.headers.get("Content-Encoding") == "gzip") == gzip_comes, answer.url
        assert "Accept-Encoding" in answer.headers["Vary"]


# ------------------------------------------------------------------------------------------ writing


async def test_a_repeated_post_with_a_key_happens_once_and_gets_the_first_answer(
    world: World,
) -> None:
    headers = await headers_of(world, **{"Idempotency-Key": str(uuid.uuid4())})
    body = {"grid": GRID, "fields": FIELDS}
    first = await world.client.post("/v1/problems", json=body, headers=headers)
    second = await world.client.post("/v1/problems", json=body, headers=headers)
    assert (first.status_code, second.status_code, second.headers["Idempotency-Replayed"]) == (
        201,
        201,
        "true",
    )
    assert first.json() == second.json()
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_a_key_belongs_to_one_request_of_one_caller(world: World) -> None:
    key = {"Idempotency-Key": "one"}
    body = {"grid": GRID, "fields": FIELDS}
    await world.client.post("/v1/problems", json=body, headers=await headers_of(world, **key))
    other = await world.client.post(
        "/v1/problems",
        json={**body, "fields": FIELDS | {"title": "x"}},
        headers=await headers_of(world, **key),
    )
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    somebody = await world.client.post(
        "/v1/problems", json=body, headers=await headers_of(world, WORKER, **key)
    )
    assert somebody.status_code == 201
    assert "Idempotency-Replayed" not in somebody.headers


async def test_a_request_under_way_is_not_begun_twice_and_one_that_died_is_done_again(
    world: World,
) -> None:
    headers = await headers_of(world, **{"Idempotency-Key": "k"})
    body = {"grid": GRID, "fields": FIELDS}
    first = await world.client.post("/v1/problems", json=body, headers=headers)
    await world.fetch(
        "UPDATE idempotency SET status = NULL, body = NULL"
    )  # the process died before it kept the answer
    busy = await world.client.post("/v1/problems", json=body, headers=headers)
    assert (busy.status_code, busy.json()["type"], busy.headers["Retry-After"]) == (
        409,
        "/problems/request-under-way",
        "2",
    )
    world.clock.forward(minutes=2)
    again = await world.client.post("/v1/problems", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_what_was_refused_for_the_moment_may_be_tried_again_with_the_same_key(
    world: World,
) -> None:
    headers = await headers_of(world, **{"Idempotency-Key": "k"})
    await world.fetch(
        "UPDATE post SET valid_from = valid_from + interval '50 years' WHERE staff_code = $1",
        SECRETARY,
    )
    body = {"grid": GRID, "fields": FIELDS}
    assert (await world.client.post("/v1/problems", json=body, headers=headers)).status_code == 403
    await world.fetch("UPDATE post SET valid_from = '2020-01-01' WHERE staff_code = $1", SECRETARY)
    assert (await world.client.post("/v1/problems", json=body, headers=headers)).status_code == 201


async def test_kept_answers_are_encrypted(world: World) -> None:
    headers = await headers_of(world, **{"Idempotency-Key": "k"})
    await world.client.post("/v1/problems", json={"grid": GRID, "fields": FIELDS}, headers=headers)
    [row] = await world.fetch("SELECT body FROM idempotency")
    assert row["body"].startswith("gl2.")


async def test_bodies_may_come_compressed_but_not_beyond_the_limit(world: World) -> None:
    headers = await headers_of(
        world, **{"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    small = gzip.compress(json.dumps({"grid": GRID, "fields": FIELDS}).encode())
    assert (
        await world.client.post("/v1/problems", content=small, headers=headers)
    ).status_code == 201
    bomb = gzip.compress(b" " * (200 * MAX_BODY_BYTES))
    assert len(bomb) < MAX_BODY_BYTES
    for path in ("/v1/problems", "/v1/auth/token"):
        response = await world.client.post(path, content=bomb, headers=headers)
        assert (response.status_code, response.json()["type"]) == (413, "/problems/too-large"), path
    for behind in (b"x", small, b"\0" * (3 * MAX_BODY_BYTES)):
        for path in ("/v1/problems", "/v1/auth/token"):
            response = await world.client.post(path, content=small + behind, headers=headers)
            assert response.status_code in (400, 413), (path, response.text)
    plain = await world.client.post(
        "/v1/problems", content=b" " * (10 * MAX_BODY_BYTES), headers=await headers_of(world)
    )
    assert plain.status_code == 413


async def test_a_body_that_does_not_come_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "BODY_TIMEOUT_S", 0.05)

    async def drip() -> Any:
        yield b"{"
        await asyncio.sleep(60)

    for path in ("/v1/problems", "/v1/sync"):
        token = await world.token(WORKER, str(uuid.uuid4()))
        response = await world.client.post(
            path, content=drip(), headers={"Authorization": f"Bearer {token}"}
        )
        assert (response.status_code, response.json()["type"]) == (408, "/problems/too-slow")


# ------------------------------------------------------------------------------------------ headers


async def test_every_answer_has_an_id_and_the_headers_that_a_browser_should_see(
    world: World,
) -> None:
    for response in (
        await world.client.get("/healthz"),
        await world.client.get("/nowhere"),
        await world.get("/v1/problems"),
    ):
        assert re.fullmatch(r"[0-9a-f]{16}", response.headers["X-Request-ID"])
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    mine = await world.client.get("/healthz", headers={"X-Request-ID": "call-7"})
    assert mine.headers["X-Request-ID"] == "call-7"
    odd = await world.client.get("/healthz", headers={"X-Request-ID": "a b\tc"})
    assert odd.headers["X-Request-ID"] != "a b\tc"


async def test_pages_of_other_origins_call_only_if_they_are_named(world: World) -> None:
    ask = {"Origin": "https://pages.example", "Access-Control-Request-Method": "GET"}
    assert (
        "Access-Control-Allow-Origin"
        not in (await world.client.options("/v1/problems", headers=ask)).headers
    )
    named = world.state.settings.model_copy(update={"cors_origins": ["https://pages.example"]})
    async with running(create_app(named, world.clock.now)) as client:
        allowed = await client.options("/v1/problems", headers=ask)
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://pages.example"
        other = await client.options(
            "/v1/problems", headers={**ask, "Origin": "https://other.example"}
        )
        assert "Access-Control-Allow-Origin" not in other.headers


async def test_a_route_that_will_go_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    goes = deprecation.Deprecated(
        datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "/v2/problems"
    )
    monkeypatch.setattr(deprecation, "DEPRECATED", {"list_problems": goes})
    headers = (await world.get("/v1/problems")).headers
    assert (headers["Deprecation"], headers["Sunset"]) == (
        "@1767225600",
        "Fri, 01 Jan 2027 00:00:00 GMT",
    )
    assert 'rel="successor-version"' in headers["Link"]
    assert "Deprecation" not in (await world.get("/v1/units")).headers


# --------------------------------------------------------------------------------- figures and logs


def figure(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.M)
    return float(found[1]) if found else 0.0


async def test_the_figures_count_pushes_verdicts_and_conflicts(world: World) -> None:
    before = (await world.client.get("/metrics")).text
    one, two = world.wire(), world.wire()
    house = one.new_id()
    edit = {"kind": "household", "id": house}
    await one.send(
        one.mutation(1, **edit, fields={"head_name": "苏和"}), one.mutation(2, "telegram")
    )
    await two.send(two.mutation(1, **edit, fields={"head_name": "乌云"}))
    after = (await world.client.get("/metrics")).text

    def grown(name: str) -> float:
        return figure(after, name) - figure(before, name)

    assert grown("gridloop_pushes_total") == 2
    assert [
        grown(f'gridloop_mutations_total{{outcome="{name}"}}')
        for name in ("applied", "merged", "held")
    ] == [1, 1, 1]
    [rule] = (await world.fetch("SELECT rule FROM conflict"))[0]
    assert grown(f'gridloop_conflicts_total{{kind="household",rule="{rule}"}}') == 1
    assert grown('gridloop_request_seconds_count{method="POST",route="/v1/sync",status="200"}') == 2
    assert figure(after, 'gridloop_pool_connections{pool="main",state="open"}') >= 1


async def test_the_figures_ask_for_a_token_where_one_is_set(world: World) -> None:
    world.state.settings.metrics_token = "t0ken"
    assert (await world.client.get("/metrics")).status_code == 401
    assert (
        await world.client.get("/metrics", headers={"Authorization": "Bearer t0ken"})
    ).status_code == 200


CLOSED = (
    "/metrics",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/static-offline-docs/swagger-ui.css",
)


async def test_documents_and_figures_are_closed_outside_the_demo(
    settings: Settings, clock: Clock
) -> None:
    async with running(
        create_app(settings.model_copy(update={"demo": False}), clock.now)
    ) as client:
        for method in ("GET", "HEAD", "POST"):
            absent = await client.request(method, "/nothing-of-this-name")
            for path in CLOSED:
                answer = await client.request(method, path)
                assert (path, answer.status_code) == (path, 404)
                assert answer.text.replace(path, "/nothing-of-this-name") == absent.text


@pytest.mark.parametrize(
    ("setting", "opened"),
    [("open_docs", CLOSED[1:]), ("open_metrics", CLOSED[:1]), ("demo", CLOSED)],
)
async def test_a_setting_opens_them(
    settings: Settings, clock: Clock, setting: str, opened: tuple[str, ...]
) -> None:
    closed = {"demo": False, "open_docs": False, "open_metrics": False}
    async with running(
        create_app(settings.model_copy(update=closed | {setting: True}), clock.now)
    ) as client:
        assert {path for path in CLOSED if (await client.get(path)).status_code == 200} == set(
            opened
        )


async def test_a_token_opens_the_figures_to_those_who_send_it(
    settings: Settings, clock: Clock
) -> None:
    given = settings.model_copy(update={"demo": False, "metrics_token": "t0ken"})
    async with running(create_app(given, clock.now)) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (
            await client.get("/metrics", headers={"Authorization": "Bearer t0ken"})
        ).status_code == 200
        assert (await client.get("/docs")).status_code == 404


async def test_a_line_of_the_log_has_the_request_and_no_name(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gridloop.requests"):
        response = await world.get(f"/v1/summaries/weekly?unit={VILLAGE}&week=2026-W46", SUPERVISOR)
    line = json.loads(JsonLines().format(caplog.records[-1]))
    assert (line["route"], line["status"], line["method"]) == ("/v1/summaries/weekly", 200, "GET")
    assert re.fullmatch(r"[0-9a-f]{12}", line["staff"])
    assert SUPERVISOR not in json.dumps(line)
    assert response.headers["X-Request-ID"]


def test_a_line_of_the_log_has_the_fields_that_operators_look_for() -> None:
    made = logging.getLogger("gridloop").makeRecord(
        *("gridloop", logging.WARNING, "here", 1, "%d are late", (3,), None),
        extra={"route": "/v1/sync", "color_message": "for a terminal", "odd": {1}},
    )
    made.created = 1_795_780_800.5
    token = request_id.set("call-7")
    try:
        raise ValueError("it did not go well")
    except ValueError:
        made.exc_info = sys.exc_info()
        line = json.loads(JsonLines().format(made))
    finally:
        request_id.reset(token)
    error = line.pop("error")
    assert error.startswith("Traceback")
    assert error.endswith("ValueError: it did not go well")
    assert line == {
        "time": "2026-11-27T12:00:00.500+00:00",
        "level": "warning",
        "logger": "gridloop",
        "message": "3 are late",
        "request_id": "call-7",
        "route": "/v1/sync",
        "odd": [1],
    }


def test_half_a_character_is_no_reason_to_lose_a_line() -> None:
    made = logging.getLogger("gridloop").makeRecord(
        "gridloop", logging.INFO, "here", 1, "%s", ("a\ud800",), None
    )
    assert json.loads(JsonLines().format(made))["message"] == "a\ud800"


async def test_the_database_being_down_is_a_problem_with_a_time_to_try_again(world: World) -> None:
    nowhere = world.state.settings.model_copy(
        update={"database_url": "postgresql://gridloop@127.0.0.1:1/gridloop"}
    )
    async with running(create_app(nowhere, world.clock.now)) as client:
        response: httpx.Response = await client.get("/readyz")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


# ------------------------------------------------------------------------------------------- shares


async def test_one_sign_in_has_a_few_requests_under_way_and_the_others_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = most = 0
    reading = problem_queries.problems

    async def slowly(*values: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return await reading(*values)

    monkeypatch.setattr(problem_queries, "problems", slowly)
    one, other = await headers_of(world, SECRETARY), await headers_of(world, SUPERVISOR)
    answers = await asyncio.gather(
        *[world.client.get("/v1/problems", headers=one) for _ in range(30)]
    )
    assert ([answer.status_code for answer in answers], most) == ([200] * 30, 4)
    greedy = [asyncio.create_task(world.client.get("/v1/problems", headers=one)) for _ in range(80)]
    await asyncio.sleep(0.01)
    assert (await world.client.get("/v1/units", headers=other)).status_code == 200
    assert not all(task.done() for task in greedy)
    answers = await asyncio.gather(*greedy)
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {(answer.json()["type"], answer.headers["Retry-After"]) for answer in refused} == {
        ("/problems/too-many-requests", "2")
    }


async def test_a_wrong_path_is_told_from_what_is_out_of_scope(world: World) -> None:
    wrong = await world.get("/v1/householdz")
    absent = await world.get(f"/v1/households/{uuid.uuid4()}")
    method = await world.client.delete("/v1/problems", headers=await headers_of(world))
    assert (wrong.status_code, wrong.json()["type"]) == (404, "/problems/no-such-path")
    assert (absent.status_code, absent.json()["type"]) == (404, "/problems/not-found")
    assert (method.status_code, method.json()["type"], method.headers["Allow"]) == (
        405,
        "/problems/method-not-allowed",
        "GET, HEAD, POST",
    )
