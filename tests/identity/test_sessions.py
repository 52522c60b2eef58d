"""What ends a sign-in, what limits attempts, first passwords, keys that change."""

import re
from datetime import timedelta
from typing import Any

from jose import jwt

from service.identity.tokens import LEEWAY_S, Tokens
from simulator.places import PASSWORD, SUPERVISOR
from tests.world import GRID, SECRETARY, WORKER, World

NEW = "走访要留痕但不为痕迹"
ADMIN = "admin"


async def sign_in(
    world: World, staff_code: str = WORKER, password: str = PASSWORD, **form: str
) -> Any:
    fields = {"grant_type": "password", "username": staff_code, "password": password} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def me(world: World, token: str) -> Any:
    return await world.client.get("/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


async def send(world: World, method: str, path: str, token: str, body: Any = None) -> Any:
    return await world.client.request(
        method, path, json=body, headers={"Authorization": f"Bearer {token}"}
    )


async def fail(world: World, times: int, staff_code: str = WORKER, **form: str) -> None:
    """Wrong passwords, each as soon as the pauses allow."""
    for _ in range(times):
        response = await sign_in(world, staff_code, "wrong", **form)
        if response.status_code == 429:
            world.clock.forward(seconds=int(response.headers["Retry-After"]))
            response = await sign_in(world, staff_code, "wrong", **form)
        assert response.status_code == 401, response.text


async def test_who_am_i(world: World) -> None:
    answer = (await world.get("/v1/auth/me", WORKER)).json()
    assert (answer["staff_code"], answer["units"], answer["roles"]) == (
        WORKER,
        [GRID],
        ["grid_worker"],
    )


async def test_too_many_wrong_passwords_and_even_the_right_one_must_wait(world: World) -> None:
    await fail(world, 10)
    response = await sign_in(world)
    assert (response.status_code, response.json()["type"]) == (429, "/problems/too-many-attempts")
    assert 0 < int(response.headers["Retry-After"]) <= 15 * 60 + 1
    assert (await sign_in(world, SUPERVISOR)).status_code == 200


async def test_attempts_are_counted_for_all_processes_together(world: World) -> None:
    from service.identity.attempts import Attempts, Origin

    elsewhere = Attempts(world.state.database, world.state.settings)
    for _ in range(10):
        await elsewhere.take(
            elsewhere.of_cadre(Origin(WORKER.casefold(), "127.0.0.1")), world.clock.now()
        )
    assert (await sign_in(world)).status_code == 429


async def test_a_right_password_makes_the_wrong_ones_before_it_good(world: World) -> None:
    for _ in range(3):
        await fail(world, 8)
        world.clock.forward(minutes=1)
        assert (await sign_in(world)).status_code == 200


async def test_another_spelling_of_an_account_is_the_same_account(world: World) -> None:
    await fail(world, 10, WORKER.lower())
    assert (await sign_in(world)).status_code == 429


async def test_a_change_of_the_password_ends_the_other_sign_ins(world: World) -> None:
    here, there = (await sign_in(world)).json(), (await sign_in(world)).json()
    body = {"password": PASSWORD, "new_password": NEW}
    response = await send(world, "POST", "/v1/auth/password", here["access_token"], body)
    assert (response.status_code, response.json()) == (200, {"ended": 1})
    assert (await me(world, here["access_token"])).status_code == 200
    ended = await me(world, there["access_token"])
    assert (ended.status_code, ended.json()["type"]) == (401, "/problems/session-ended")
    renew = {"grant_type": "refresh_token", "refresh_token": there["refresh_token"]}
    assert (await world.client.post("/v1/auth/token", data=renew)).status_code == 400
    assert (await sign_in(world)).status_code == 401
    assert (await sign_in(world, password=NEW)).status_code == 200


async def test_a_weak_password_and_a_wrong_one_change_nothing(world: World) -> None:
    token = (await sign_in(world)).json()["access_token"]
    for body in (
        {"password": PASSWORD, "new_password": "12345678"},
        {"password": PASSWORD, "new_password": WORKER + "x"},
        {"password": PASSWORD, "new_password": PASSWORD},
        {"password": "wrong", "new_password": NEW},
    ):
        assert (await send(world, "POST", "/v1/auth/password", token, body)).status_code in (
            401,
            422,
        ), body
    assert (await sign_in(world)).status_code == 200


async def test_signing_out_ends_the_token_at_once(world: World) -> None:
    answer = (await sign_in(world)).json()
    assert (await send(world, "POST", "/v1/auth/sign-out", answer["access_token"])).json() == {
        "ended": 1
    }
    assert (await me(world, answer["access_token"])).status_code == 401


async def test_reuse_of_a_refresh_token_ends_the_access_tokens_of_its_family(world: World) -> None:
    first = (await sign_in(world)).json()
    renew = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = (await world.client.post("/v1/auth/token", data=renew)).json()
    assert (await me(world, second["access_token"])).status_code == 200
    await world.client.post("/v1/auth/token", data=renew)
    assert (await me(world, second["access_token"])).status_code == 401


async def test_a_first_password_must_be_changed_before_anything_else(world: World) -> None:
    admin = await world.token(ADMIN)
    old = (await sign_in(world)).json()["access_token"]
    response = await send(
        world, "PUT", f"/v1/cadres/{WORKER}/password", admin, {"password": "第一次登录用的口令"}
    )
    assert response.status_code == 200
    assert (await me(world, old)).status_code == 401
    answer = (await sign_in(world, password="第一次登录用的口令")).json()
    assert answer["password_change_needed"]
    renewed = await world.client.post(
        "/v1/auth/token",
        data={"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]},
    )
    assert renewed.json()["password_change_needed"]
    token = answer["access_token"]
    refused = await send(world, "GET", "/v1/problems", token)
    assert (refused.status_code, refused.json()["type"]) == (
        403,
        "/problems/password-change-needed",
    )
    assert (await me(world, token)).json()["password_change_needed"]
    body = {"password": "第一次登录用的口令", "new_password": NEW}
    assert (await send(world, "POST", "/v1/auth/password", token, body)).status_code == 200
    assert (await send(world, "GET", "/v1/problems", token)).status_code == 200


async def test_a_phone_with_a_first_password_does_not_sync(world: World) -> None:
    await send(
        world,
        "PUT",
        f"/v1/cadres/{WORKER}/password",
        await world.token(ADMIN),
        {"password": "第一次登录用的口令"},
    )
    await world.fetch(
        "UPDATE cadre SET password = (SELECT password FROM cadre WHERE staff_code = $1)"
        " WHERE staff_code = $2",
        ADMIN,
        WORKER,
    )
    response = await world.wire().send()
    assert (response.status_code, response.json()["type"]) == (
        403,
        "/problems/password-change-needed",
    )


async def test_only_an_administrator_ends_the_sign_ins_of_others(world: World) -> None:
    old = (await sign_in(world)).json()["access_token"]
    assert (
        await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", await world.token(SECRETARY))
    ).status_code == 403
    assert (
        await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", await world.token(ADMIN))
    ).json()["ended"] == 1
    assert (await me(world, old)).status_code == 401


async def test_an_ended_sign_in_stops_syncing_within_a_minute(world: World) -> None:
    phone = world.wire()
    assert (await phone.send()).status_code == 200
    await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", await world.token(ADMIN))
    world.state.of(Tokens).reloaded_every_s = -1  # as half a minute does
    response = await phone.send()
    assert (response.status_code, response.json()["type"]) == (401, "/problems/session-ended")


async def test_a_revoked_phone_still_hands_in_and_gets_nothing(world: World) -> None:
    phone = world.wire()
    await phone.send()
    listed = (await world.get("/v1/devices", SUPERVISOR)).json()["items"]
    assert [item["handed_in"] for item in listed if item["id"] == phone.device] == ["all"]
    response = await world.post(f"/v1/devices/{phone.device}/revocation", None, ADMIN)
    assert response.json()["revoked_at"] is not None
    answer = (await phone.send(phone.mutation(1))).json()
    assert (answer["type"], answer["acked"], answer["wipe"]) == (
        "/problems/device-revoked",
        1,
        True,
    )


async def test_devices_show_what_waits_and_what_needs_a_decision(world: World) -> None:
    waiting, held = world.wire(), world.wire()
    await waiting.send(queued=3)
    await held.send(held.mutation(1, "telegram"))
    shown = {
        item["id"]: item for item in (await world.get("/v1/devices", SUPERVISOR)).json()["items"]
    }
    assert (shown[waiting.device]["handed_in"], shown[waiting.device]["queued"]) == ("waiting", 3)
    assert (shown[held.device]["handed_in"], shown[held.device]["held"]) == ("needs_you", 1)
    assert [
        item["staff_code"] for item in (await world.get("/v1/devices", WORKER)).json()["items"]
    ] == [WORKER, WORKER]


# --------------------------------------------------------------------------------------------- keys


async def test_after_a_rotation_old_tokens_are_good_and_new_ones_are_signed_anew(
    world: World,
) -> None:
    old = (await sign_in(world)).json()["access_token"]
    kid = await world.state.of(Tokens).rotate(world.clock.now())
    world.state.of(Tokens).reloaded_every_s = -1  # as half a minute does
    new = (await sign_in(world)).json()["access_token"]
    assert jwt.get_unverified_header(new)["kid"] == kid != jwt.get_unverified_header(old)["kid"]
    keys = (await world.client.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["kid"] for key in keys} == {kid, jwt.get_unverified_header(old)["kid"]}
    assert [(await me(world, token)).status_code for token in (old, new)] == [200, 200]


async def test_another_process_knows_a_new_key_by_its_token(world: World) -> None:
    elsewhere = Tokens(world.state.database, world.state.settings, world.clock.now)
    await elsewhere.load()
    kid = await world.state.of(Tokens).rotate(world.clock.now())
    world.state.of(Tokens).reloaded_every_s = elsewhere.reloaded_every_s = -1
    token = (await sign_in(world)).json()["access_token"]
    assert jwt.get_unverified_header(token)["kid"] == kid
    assert (await elsewhere.read(token, world.clock.now())).staff_code == WORKER


async def test_a_key_that_leaked_goes_at_once(world: World) -> None:
    old = (await sign_in(world)).json()["access_token"]
    assert (await me(world, old)).status_code == 200
    await world.state.of(Tokens).rotate(world.clock.now() - timedelta(seconds=1), at_once=True)
    world.state.of(Tokens).reloaded_every_s = -1
    assert (await me(world, old)).json()["type"] == "/problems/token-invalid"


async def test_private_keys_lie_encrypted(world: World) -> None:
    await sign_in(world)
    [row] = await world.fetch("SELECT kid, private_pem FROM signing_key")
    assert re.fullmatch(r"gl2\.[0-9a-f]{8}\.[A-Za-z0-9_-]+", row["private_pem"])
    assert world.decrypted("signing_key", "private_pem", row["kid"], row["private_pem"]).startswith(
        "-----BEGIN PRIVATE KEY-----"
    )


async def test_a_clock_a_minute_off_does_no_harm(world: World) -> None:
    token = (await sign_in(world)).json()["access_token"]
    world.clock.forward(minutes=15, seconds=LEEWAY_S - 1)
    assert (await me(world, token)).status_code == 200
    world.clock.forward(seconds=2)
    assert (await me(world, token)).json()["type"] == "/problems/token-expired"
