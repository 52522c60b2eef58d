"""What an attacker sends: each gets its documented answer and leaves nothing behind."""

import base64
import json
import uuid
import zlib
from typing import Any

import pytest
from jose import jwt

from simulator.places import PASSWORD, SUPERVISOR, VILLAGE
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

RECORDS = (
    "household",
    "visit",
    "problem",
    "step",
    "weekly_analysis",
    "monthly_summary",
    "mutation",
    "held",
    "conflict",
    "article",
    "receipt",
)


async def footprint(world: World) -> dict[str, int]:
    """How many rows there are of everything that a request could leave behind."""
    return {
        name: (await world.fetch(f"SELECT count(*) FROM {name}"))[0]["count"] for name in RECORDS
    }


async def ask(world: World, method: str, path: str, token: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} | (
        {"Content-Type": "application/json"} if "content" in options else {}
    )
    return await world.client.request(method, path, headers=headers, **options)


# ------------------------------------------------------------------------------- tokens and cursors


@pytest.mark.parametrize("change", ["sub", "device", "exp", "sid", "scope", "client_id"])
async def test_a_token_with_another_claim_is_no_token(world: World, change: str) -> None:
    token = await world.token(WORKER, str(uuid.uuid4()))
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims[change] = {"sub": "admin", "exp": 2**40}.get(change, str(uuid.uuid4()))
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    for text in (f"{header}.{forged}.{signature}", f"{header}.{forged}."):
        response = await ask(world, "GET", "/v1/problems", text)
        assert (response.status_code, response.json()["type"]) == (401, "/problems/token-invalid")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS384"])
async def test_the_algorithm_is_the_servers_to_choose(world: World, algorithm: str) -> None:
    token = await world.token("admin")
    header = jwt.get_unverified_header(token) | {"alg": algorithm}
    payload = token.split(".")[1]
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    assert (await ask(world, "GET", "/v1/problems", f"{head}.{payload}.")).json()[
        "type"
    ] == "/problems/token-invalid"


@pytest.mark.parametrize("text", ["a.b.c", "...", "\u20ac", "x" * 20_000, "e30.e30.e30"])
async def test_what_is_no_token_is_refused_as_such(world: World, text: str) -> None:
    response = await world.client.get(
        "/v1/problems", headers=[(b"authorization", f"Bearer {text}".encode())]
    )
    assert response.status_code == 401


async def test_a_tampered_cursor_is_no_cursor_and_another_phones_neither(world: World) -> None:
    one, two = world.wire(), world.wire()
    whole = (await one.send()).json()
    raw = bytearray(base64.urlsafe_b64decode(one.cursor + "=" * (-len(str(one.cursor)) % 4)))  # type: ignore[operator]
    raw[-1] ^= 1
    for cursor in (
        base64.urlsafe_b64encode(bytes(raw)).decode(),
        "x",
        "é",
        str((await two.send()).json()["cursor"]),
    ):
        answer = (await one.send(cursor=cursor)).json()
        assert (len(answer["changes"]), answer["epoch"]) == (len(whole["changes"]), whole["epoch"])


async def test_a_cursor_that_inflates_without_end_is_no_cursor(world: World) -> None:
    bomb = base64.urlsafe_b64encode(
        b"\0" * 16 + b"\x02" + zlib.compress(b"\0" * 50_000_000)
    ).decode()
    response = await world.wire().send(cursor=bomb)
    assert response.status_code == 200
    assert response.json()["changes"]


# --------------------------------------------------------------------------- what belongs to others


async def test_another_cadres_device_id_gets_no_token(world: World) -> None:
    phone = world.wire()
    await phone.send()
    form = {
        "grant_type": "password",
        "username": SECRETARY,
        "password": PASSWORD,
        "device_id": phone.device,
    }
    response = await world.client.post("/v1/auth/token", data=form)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert (await world.fetch("SELECT staff_code FROM device WHERE id = $1", phone.device))[0][
        "staff_code"
    ] == WORKER


async def test_another_grids_records_are_neither_read_nor_written(world: World) -> None:
    far = world.wire(f"W{FAR_GRID}-1")
    house = far.new_id()
    await far.send(
        far.mutation(1, "household", id=house, grid=FAR_GRID, fields={"head_name": "苏和"})
    )
    near = world.wire()
    moved = near.mutation(1, "household", id=house, base=1, fields={"head_name": "x"})
    there = near.mutation(
        2, "household", id=house, grid=FAR_GRID, base=1, fields={"head_name": "y"}
    )
    gone = near.mutation(3, "household", id=house, grid=FAR_GRID, op="delete", base=1)
    answer = (await near.send(moved, there, gone)).json()
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == ["held"] * 3
    assert house not in {change["id"] for change in answer["changes"]}
    [row] = await world.fetch("SELECT head_name, grid, deleted FROM household WHERE id = $1", house)
    assert tuple(row) == ("苏和", FAR_GRID, False)
    token = await world.token(SUPERVISOR)
    for method, path in (
        ("GET", f"/v1/households/{house}"),
        ("GET", f"/v1/history/household/{house}"),
        ("PATCH", f"/v1/households/{house}"),
    ):
        body = {"fields": {"note": "x"}} if method == "PATCH" else None
        assert (await ask(world, method, path, token, json=body)).status_code == 404


# ------------------------------------------------------------------------------------- hostile text

NASTY = [
    "' OR 1=1 --",
    '"; DROP TABLE visit; --',
    "%",
    "_",
    "\\",
    "1502' UNION SELECT password FROM cadre --",
    "{0}",
    "$1",
    "gl1.00000000.AAAA",
]


@pytest.mark.parametrize("text", NASTY)
async def test_sql_in_a_filter_is_only_text(world: World, text: str) -> None:
    before = await footprint(world)
    phone = world.wire()
    await phone.send(
        phone.mutation(1, "household", fields={"head_name": text, "note": text, "phone": text[:40]})
    )
    queries = [
        ("/v1/problems", {"text": text}),
        ("/v1/problems", {"cadre": text}),
        ("/v1/units", {"text": text}),
        ("/v1/cadres", {"text": text}),
    ]
    queries += [
        ("/v1/visits", {"cadre": text}),
        ("/v1/problems", {"unit": text}),
        ("/v1/households", {"contact_member": text[:40]}),
    ]
    queries += [("/v1/devices", {"staff_code": text[:40]}), ("/v1/problems", {"after": text})]
    for path, query in queries:
        response = await world.get(path, SUPERVISOR, **query)
        assert response.status_code in (200, 404, 422), (path, query, response.text)
        if response.status_code == 200 and path == "/v1/units":
            names = {item["name"] for item in response.json()["items"]}
            assert all(text in name for name in names)
    after = await footprint(world)
    assert after == before | {
        "household": before["household"] + 1,
        "mutation": before["mutation"] + 1,
    }
    [row] = await world.fetch(
        "SELECT id::text, head_name, phone FROM household WHERE note = $1", text
    )
    assert (row["head_name"], world.decrypted("household", "phone", row["id"], row["phone"])) == (
        text,
        text[:40],
    )


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 5000])
async def test_text_that_cannot_be_stored_is_refused_over_rest(world: World, text: str) -> None:
    token = await world.token(SECRETARY)
    before = await footprint(world)
    for path, body in (
        ("/v1/problems", {"grid": GRID, "fields": {"title": text, "duty": "emergency"}}),
        ("/v1/articles", {"unit": VILLAGE, "kind": "policy", "title": text, "body": "x"}),
        ("/v1/articles", {"unit": VILLAGE, "kind": "policy", "title": "x", "body": text * 5}),
    ):
        raw = json.dumps(body)
        response = await ask(world, "POST", path, token, content=raw)
        assert response.status_code in (400, 422), (path, response.text)
        assert response.headers["content-type"] == "application/problem+json"
    assert await footprint(world) == before


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        '{"grid": 1e400, "fields": {}}',
        '{"grid": "150202100200001", "fields": {"title": 1' + "0" * 4000 + "}}",
        "\xff\xfe",
        "",
        "null",
    ],
    ids=["brackets", "deep", "infinite", "huge number", "no utf-8", "empty", "null"],
)
async def test_json_that_is_none_or_too_much_is_refused(world: World, body: str) -> None:
    before = await footprint(world)
    device = str(uuid.uuid4())
    for path, token in (
        ("/v1/problems", await world.token(SECRETARY)),
        ("/v1/sync", await world.token(WORKER, device)),
    ):
        response = await ask(world, "POST", path, token, content=body.encode("latin-1"))
        assert response.status_code in (400, 413, 422), (path, response.text)
        assert response.headers["content-type"] == "application/problem+json"
    assert await footprint(world) == before


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "9" * 30},
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "1e3"},
        {"after": "x" * 500},
        {"after": "4pml"},
        {"unit": "1" * 21},
        {"unit": "\u0661\u0665\u0660\u0662"},
    ],
)
async def test_numbers_and_places_out_of_range_are_refused(
    world: World, query: dict[str, str]
) -> None:
    response = await world.get("/v1/problems", SUPERVISOR, **query)
    assert response.status_code in (404, 422), response.text


@pytest.mark.parametrize(
    "query",
    [
        {"from": "0001-01-01", "to": "9999-12-31"},
        {"week": "9999-W53"},
        {"week": "2026-W54"},
        {"month": "0000-00"},
        {"from": "2026-13-01"},
        {"from": "2026-11-02", "to": "2026-11-01"},
    ],
)
async def test_dates_out_of_range_are_refused(world: World, query: dict[str, str]) -> None:
    response = await world.get("/v1/summaries/cadres", SUPERVISOR, unit="150202100", **query)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid")


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_days_at_the_ends_of_time_do_no_harm_to_lists(world: World, day: str) -> None:
    for path in ("/v1/visits", "/v1/audit"):
        for name in ("from", "to"):
            response = await world.get(path, "admin", **{name: day})
            assert response.status_code in (200, 422), (path, name, response.text)


MOMENTS = [
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+00:00",
    "2026-11-20T00:00:00",
    "x",
]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_next_that_no_page_gave_is_refused(world: World, moment: str) -> None:
    after = base64.urlsafe_b64encode(f"{moment}|{uuid.uuid4()}".encode()).decode()
    for path in (
        "/v1/visits",
        "/v1/problems",
        "/v1/conflicts",
        "/v1/held",
        "/v1/audit",
        "/v1/articles",
    ):
        response = await world.get(path, "admin", after=after)
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid"), (
            path,
            response.text,
        )


async def test_a_nul_in_an_address_or_a_body_is_refused_everywhere(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1, "telegram"))
    [held] = await world.fetch("SELECT id::text FROM held")
    token = await world.token(SECRETARY)
    paths = [
        "/v1/households?contact_member=%00",
        "/v1/problems?cadre=a%00b",
        "/v1/devices?staff_code=%00",
    ]
    for path in (*paths, "/v1/cadres/a%00/summary?week=2026-W46"):
        response = await ask(world, "GET", path, token)
        assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid"), path
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/v1/held/{held['id']}/discard"
    for text in (r"a\u0000", r"\\\u0000"):
        response = await world.client.post(path, content=f'{{"reason": "{text}"}}', headers=headers)
        assert (response.status_code, "U+0000" in response.json()["detail"]) == (422, True), text
    assert (await world.fetch("SELECT state FROM held"))[0]["state"] == "open"
    fine = await world.client.post(path, content=r'{"reason": "says \\u0000"}', headers=headers)
    assert fine.status_code == 200, fine.text
