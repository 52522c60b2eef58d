"""Signing in, and what the tokens are worth."""

import json
from typing import Any

import pytest
from jose import jwt

from service.identity.tokens import make_key
from simulator.places import NOW, PASSWORD, SUPERVISOR
from sync_protocol.ids import server_device_id
from tests.world import GRID, SECRETARY, WORKER, World

DEVICE = "0192f3a1-0000-7000-8000-000000000001"


async def sign_in(world: World, **form: str) -> Any:
    return await world.client.post(
        "/v1/auth/token",
        data={"grant_type": "password", "username": WORKER, "password": PASSWORD} | form,
    )


async def read_week(world: World, token: str) -> Any:
    query = {"unit": "1502", "week": "2026-W47"}
    return await world.client.get(
        "/v1/summaries/weekly", params=query, headers={"Authorization": f"Bearer {token}"}
    )


async def test_tokens_are_es256_and_check_against_the_published_keys(world: World) -> None:
    answer = (await sign_in(world, device_id=DEVICE)).json()
    keys = (await world.client.get("/.well-known/jwks.json")).json()
    header = jwt.get_unverified_header(answer["access_token"])
    [key] = [key for key in keys["keys"] if key["kid"] == header["kid"]]
    claims = jwt.decode(
        answer["access_token"],
        key,
        algorithms=["ES256"],
        issuer="gridloop",
        options={"verify_exp": False},
    )
    assert (header["alg"], claims["sub"], claims["device"]) == ("ES256", WORKER, DEVICE)
    assert claims["exp"] - int(NOW.timestamp()) == 15 * 60 == answer["expires_in"]
    assert "d" not in key


@pytest.mark.parametrize(
    "form", [{"password": "wrong"}, {"username": "nobody"}, {"username": ""}, {"password": ""}]
)
async def test_wrong_credentials_give_one_and_the_same_answer(
    world: World, form: dict[str, str]
) -> None:
    response = await sign_in(world, **form)
    assert (response.status_code, response.json()["type"]) == (401, "/problems/sign-in-failed")


async def test_demo_accounts_exist_only_in_the_demo(world: World) -> None:
    world.state.settings.demo = False
    assert (await sign_in(world)).status_code == 401


async def test_a_refresh_gives_another_refresh_token(world: World) -> None:
    first = (await sign_in(world)).json()
    renew = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = await world.client.post("/v1/auth/token", data=renew)
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]


async def test_reuse_of_an_old_refresh_token_ends_the_whole_family(world: World) -> None:
    first = (await sign_in(world)).json()
    renew = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = (await world.client.post("/v1/auth/token", data=renew)).json()
    await read_week(world, second["access_token"])  # the phone has the successor
    assert (await world.client.post("/v1/auth/token", data=renew)).json()[
        "type"
    ] == "/problems/grant-refused"
    third = await world.client.post(
        "/v1/auth/token", data=renew | {"refresh_token": second["refresh_token"]}
    )
    assert (third.status_code, third.json()["error"]) == (400, "invalid_grant")


async def test_an_expired_token_says_so(world: World) -> None:
    token = (await sign_in(world, username=SUPERVISOR)).json()["access_token"]
    world.clock.forward(minutes=15, seconds=59)
    assert (await read_week(world, token)).json()["type"] == "/problems/not-found"
    world.clock.forward(seconds=2)
    response = await read_week(world, token)
    assert (response.status_code, response.json()["type"]) == (401, "/problems/token-expired")
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_foreign_tampered_and_unsigned_tokens_are_refused(world: World) -> None:
    token = (await sign_in(world)).json()["access_token"]
    claims = jwt.get_unverified_claims(token)
    kid, private, _ = make_key()
    ours = jwt.get_unverified_header(token)["kid"]
    header, payload, signature = token.split(".")
    raised = jwt.encode(
        {**claims, "sub": "admin"}, private, algorithm="ES256", headers={"kid": ours}
    ).split(".")[1]
    public = (await world.client.get("/.well-known/jwks.json")).text
    forged = [
        jwt.encode(claims, private, algorithm="ES256", headers={"kid": kid}),
        jwt.encode(claims, private, algorithm="ES256", headers={"kid": ours}),
        jwt.encode(claims, json.dumps(public), algorithm="HS256", headers={"kid": ours}),
        f"{header}.{raised}.{signature}",
        f"{header}.{payload}.",
        "nonsense",
    ]
    for bad in forged:
        response = await read_week(world, bad)
        assert (response.status_code, response.json()["type"]) == (
            401,
            "/problems/token-invalid",
        ), bad


async def test_a_device_belongs_to_one_cadre(world: World) -> None:
    await sign_in(world, device_id=DEVICE)
    response = await sign_in(world, device_id=DEVICE, username=SUPERVISOR)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_only_a_device_syncs(world: World) -> None:
    token = (await sign_in(world)).json()["access_token"]
    response = await world.client.post(
        "/v1/sync", json={}, headers={"Authorization": f"Bearer {token}"}
    )
    assert (response.status_code, response.json()["type"]) == (403, "/problems/device-needed")
    assert (await world.client.post("/v1/sync", json={})).json()[
        "type"
    ] == "/problems/token-missing"


@pytest.mark.parametrize(
    "form",
    [
        {"device_id": "phone"},
        {"device_name": "a\0"},
        {"grant_type": "magic"},
        {"username": "x" * 1000},
    ],
)
async def test_a_form_that_cannot_be_used_is_a_problem_not_a_crash(
    world: World, form: dict[str, str]
) -> None:
    response = await sign_in(world, **form)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


async def test_nobody_signs_in_as_the_device_that_carries_somebody_elses_writes(
    world: World,
) -> None:
    device = server_device_id(SECRETARY)
    known: list[dict[str, str]] = [{"device_id": device}, {"device_id": device.upper()}]
    for form in [*known, {"platform": "server"}, {"device_id": DEVICE, "platform": "Server "}]:
        refused = await sign_in(world, **form)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid"), form
    assert await world.fetch("SELECT FROM device WHERE id = ANY($1)", [device, DEVICE]) == []


async def test_the_server_side_device_is_the_cadres_whoever_bound_it_before(world: World) -> None:
    signed_in = (await sign_in(world, device_id=DEVICE)).json()
    device = server_device_id(SECRETARY)
    await world.fetch("UPDATE refresh_token SET device = NULL")
    await world.fetch("UPDATE device SET id = $1, acked_seq = 7 WHERE id = $2", device, DEVICE)
    await world.fetch("UPDATE refresh_token SET device = $1", device)

    fields = {"title": "水管", "duty": "emergency"}
    raised = await world.post("/v1/problems", {"grid": GRID, "fields": fields}, SECRETARY)
    assert raised.status_code == 201, raised.text
    [row] = await world.fetch(
        "SELECT staff_code, platform, acked_seq::int FROM device WHERE id = $1", device
    )
    assert tuple(row) == (SECRETARY, "server", 8)
    assert device not in [item["id"] for item in (await world.get("/v1/devices")).json()["items"]]
    renewed = await world.client.post(
        "/v1/auth/token",
        data={"grant_type": "refresh_token", "refresh_token": signed_in["refresh_token"]},
    )
    assert (renewed.status_code, renewed.json()["type"]) == (400, "/problems/grant-refused")
