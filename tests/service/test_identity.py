"""Signing in, and what the tokens are worth."""

import json
from typing import Any

import pytest
from jose import jwt

from service.identity.tokens import make_key
from sync_protocol.ids import server_device_id
from tests.world import NOW, PASSWORD, SECRETARY, SUPERVISOR, WORKER, World

DEVICE = "0192f3a1-0000-7000-8000-000000000001"


async def sign_in(world: World, **form: str) -> Any:
    return await world.client.post("/v1/auth/token", data={"grant_type": "password", "username": WORKER, "password": PASSWORD} | form)


async def read_week(world: World, token: str) -> Any:
    query = {"unit": "1502", "week": "2026-W47"}
    return await world.client.get("/v1/summaries/weekly", params=query, headers={"Authorization": f"Bearer {token}"})


async def test_tokens_are_es256_and_check_against_the_published_keys(world: World) -> None:
    answer = (await sign_in(world, device_id=DEVICE)).json()
    keys = (await world.client.get("/.well-known/jwks.json")).json()
    header = jwt.get_unverified_header(answer["access_token"])
    [key] = [key for key in keys["keys"] if key["kid"] == header["kid"]]
    claims = jwt.decode(answer["access_token"], key, algorithms=["ES256"], issuer="gridloop", options={"verify_exp": False})
    assert (header["alg"], claims["sub"], claims["device"]) == ("ES256", WORKER, DEVICE)
    assert claims["exp"] - int(NOW.timestamp()) == 15 * 60 == answer["expires_in"]
    assert "d" not in key


@pytest.mark.parametrize("form", [{"password": "wrong"}, {"username": "nobody"}, {"username": ""}, {"password": ""}])
async def test_wrong_credentials_give_one_and_the_same_answer(world: World, form: dict[str, str]) -> None:
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
    assert (await world.client.post("/v1/auth/token", data=renew)).json()["type"] == "/problems/grant-refused"
    third = await world.client.post("/v1/auth/token", data=renew | {"refresh_token": second["refresh_token"]})
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
    raised = jwt.encode({**claims, "sub": "admin"}, private, algorithm="ES256", headers={"kid": ours}).split(".")[1]
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
        assert (response.status_code, response.json()["type"]) == (401, "/problems/token-invalid"), bad


async def test_a_device_belongs_to_one_cadre(world: World) -> None:
    await sign_in(world, device_id=DEVICE)
    response = await sign_in(world, device_id=DEVICE, username=SUPERVISOR)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_only_a_device_syncs(world: World) -> None:
    token = (await sign_in(world)).json()["access_token"]
    response = await world.client.post("/v1/sync", json={}, headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json()["type"]) == (403, "/problems/device-needed")
    assert (await world.client.post("/v1/sync", json={})).json()["type"] == "/problems/token-missing"


@pytest.mark.parametrize("form", [{"device_id": "phone"}, {"device_name": "a\0"}, {"grant_type": "magic"}, {"username": "x" * 1000}])
async def test_a_form_that_cannot_be_used_is_a_problem_not_a_crash(world: World, form: dict[str, str]) -> None:
    response = await sign_in(world, **form)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


async def test_no_phone_takes_the_id_of_a_server_side_device(world: World) -> None:
    """Anyone can compute it; whoever signed in with it would stand between a cadre's writes over REST."""
    form = {"grant_type": "password", "username": WORKER, "password": PASSWORD, "device_id": server_device_id(SECRETARY)}
    answer = await world.client.post("/v1/auth/token", data=form)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "grant-refused")
    assert await world.fetch("SELECT FROM device WHERE id = $1", server_device_id(SECRETARY)) == []
