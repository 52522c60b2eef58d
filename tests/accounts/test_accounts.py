"""What administrators and secretaries do with accounts of others: only of those who stand wholly
below them.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from service.cli.app import app
from service.kit.encryption import MARKER
from simulator.places import NOW, PASSWORD, SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

ADMIN = "admin"
LOCAL_ADMIN = f"C{VILLAGE}-2"
NEW = "走访要留痕但不为痕迹"
FIRST = "第一次登录用的口令"
DEVICE = "0192f3a1-0000-7000-8000-000000000001"


async def sign_in(
    world: World, staff_code: str = WORKER, password: str = PASSWORD, **form: str
) -> Any:
    fields = {"grant_type": "password", "username": staff_code, "password": password} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def send(world: World, method: str, path: str, token: str, body: Any = None) -> Any:
    return await world.client.request(
        method, path, json=body, headers={"Authorization": f"Bearer {token}"}
    )


async def appoint(world: World, staff_code: str, role: str, unit: str, ended: bool = False) -> None:
    until = NOW - timedelta(days=1) if ended else None
    sql = (
        "INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to)"
        " VALUES ($1, $2, $3, $4, $5, $6)"
    )
    await world.fetch(
        sql, str(uuid.uuid4()), staff_code, role, unit, NOW - timedelta(days=400), until
    )


async def local_admin(world: World) -> str:
    """A token of somebody who is administrator of the village and nothing else."""
    await world.fetch("DELETE FROM post WHERE staff_code = $1", LOCAL_ADMIN)
    await appoint(world, LOCAL_ADMIN, "admin", VILLAGE)
    return str((await sign_in(world, LOCAL_ADMIN)).json()["access_token"])


# --------------------------------------------------------------------------- who is whose to manage


async def test_a_former_post_in_the_village_lets_its_administrator_do_nothing_to_the_citys(
    world: World,
) -> None:
    token = await local_admin(world)
    await appoint(world, ADMIN, "grid_worker", GRID, ended=True)
    await appoint(
        world, SUPERVISOR, "village_committee", VILLAGE
    )  # and above it a supervisor of the township
    phone = world.wire(SUPERVISOR)
    await phone.send()
    for staff_code in (ADMIN, SUPERVISOR, f"W{FAR_GRID}-1", "nobody"):
        for method, path, body in (
            ("PUT", "password", {"password": NEW}),
            ("DELETE", "sessions", None),
            ("DELETE", "otp", None),
            ("POST", "recovery-code", None),
            ("GET", "export", None),
        ):
            response = await send(world, method, f"/v1/cadres/{staff_code}/{path}", token, body)
            assert (response.status_code, response.json()["type"]) == (
                404,
                "/problems/not-found",
            ), (staff_code, path)
        response = await send(world, "PATCH", f"/v1/cadres/{staff_code}", token, {"name": "x"})
        assert response.status_code == 404
    assert (
        await send(world, "POST", f"/v1/devices/{phone.device}/revocation", token)
    ).status_code == 404
    assert (await sign_in(world, ADMIN)).status_code == 200


async def test_a_cadre_without_any_present_post_is_managed_where_all_former_ones_lay(
    world: World,
) -> None:
    token = await local_admin(world)
    phone = world.wire()
    await phone.send()
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", WORKER, NOW - timedelta(days=1)
    )
    assert (await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", token)).status_code == 200
    assert (
        await send(world, "POST", f"/v1/devices/{phone.device}/revocation", token)
    ).status_code == 200
    await appoint(world, WORKER, "grid_worker", FAR_GRID, ended=True)
    assert (await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", token)).status_code == 404


async def test_a_former_post_elsewhere_keeps_nobody_from_the_administrator_of_today(
    world: World,
) -> None:
    token = await local_admin(world)
    await appoint(world, WORKER, "supervisor", TOWNSHIP, ended=True)
    await appoint(world, WORKER, "grid_worker", FAR_GRID, ended=True)
    assert (await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", token)).status_code == 200


async def test_a_post_to_come_protects_an_account_already(world: World) -> None:
    """Whoever could set the password now would have the coming post, too."""
    token = await local_admin(world)
    assert (await send(world, "DELETE", f"/v1/cadres/{WORKER}/sessions", token)).status_code == 200
    await appoint(world, WORKER, "admin", TOWNSHIP[:4])
    await world.fetch(
        "UPDATE post SET valid_from = $2 WHERE staff_code = $1 AND unit = $3",
        WORKER,
        NOW + timedelta(days=1),
        TOWNSHIP[:4],
    )
    for method, path, body in (
        ("PUT", "password", {"password": NEW}),
        ("DELETE", "otp", None),
        ("POST", "recovery-code", None),
    ):
        assert (
            await send(world, method, f"/v1/cadres/{WORKER}/{path}", token, body)
        ).status_code == 404, path
    secretary = await world.token(SECRETARY)
    assert (
        await send(world, "POST", f"/v1/cadres/{WORKER}/recovery-code", secretary)
    ).status_code == 404


async def test_who_sees_a_phone_and_may_not_revoke_it_is_told_who_may(world: World) -> None:
    phone = world.wire()
    await phone.send()
    response = await send(
        world, "POST", f"/v1/devices/{phone.device}/revocation", await world.token(SUPERVISOR)
    )
    assert (response.status_code, response.json()["type"]) == (403, "/problems/not-allowed")
    assert "administrator" in response.json()["detail"]


async def test_a_transferred_cadres_phone_is_listed_where_the_cadre_is_now(world: World) -> None:
    phone = world.wire()
    await phone.send()
    token = await local_admin(world)
    path = f"/v1/devices?unit={VILLAGE}"
    assert [item["id"] for item in (await send(world, "GET", path, token)).json()["items"]] == [
        phone.device
    ]
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", WORKER, NOW - timedelta(days=1)
    )
    assert [item["id"] for item in (await send(world, "GET", path, token)).json()["items"]] == [
        phone.device
    ]
    await appoint(world, WORKER, "grid_worker", FAR_GRID)
    assert (await send(world, "GET", path, token)).json()["items"] == []


async def test_nobody_gets_round_the_own_password_by_the_own_rights(world: World) -> None:
    token = await world.token(ADMIN)
    for method, path, body in (
        ("PUT", "password", {"password": NEW}),
        ("POST", "recovery-code", None),
        ("DELETE", "otp", None),
    ):
        response = await send(world, method, f"/v1/cadres/{ADMIN}/{path}", token, body)
        assert (response.status_code, response.json()["type"]) == (403, "/problems/not-allowed"), (
            path
        )


# ---------------------------------------------------------------------------------- first passwords


async def test_a_first_password_is_good_for_three_days(world: World) -> None:
    await send(
        world, "PUT", f"/v1/cadres/{WORKER}/password", await world.token(ADMIN), {"password": FIRST}
    )
    world.clock.forward(hours=71)
    answer = (await sign_in(world, password=FIRST)).json()
    assert answer["password_change_needed"]
    world.clock.forward(hours=1)
    expired = await sign_in(world, password=FIRST)
    assert (expired.status_code, expired.json()["type"]) == (401, "/problems/password-expired")
    assert (await sign_in(world, password="wrong")).json()["type"] == "/problems/sign-in-failed"
    body = {"password": FIRST, "new_password": NEW}
    renewed = await world.client.post(
        "/v1/auth/token",
        data={"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]},
    )
    late = await send(world, "POST", "/v1/auth/password", renewed.json()["access_token"], body)
    assert late.json()["type"] == "/problems/password-expired"


async def test_a_chosen_password_does_not_expire(world: World) -> None:
    await send(
        world, "PUT", f"/v1/cadres/{WORKER}/password", await world.token(ADMIN), {"password": FIRST}
    )
    token = (await sign_in(world, password=FIRST)).json()["access_token"]
    assert (
        await send(
            world, "POST", "/v1/auth/password", token, {"password": FIRST, "new_password": NEW}
        )
    ).status_code == 200
    world.clock.forward(days=365)
    assert (await sign_in(world, password=NEW)).status_code == 200


async def test_a_weak_first_password_is_refused_with_the_rule(world: World) -> None:
    for password in ("short", "woaini1314", f"{WORKER}!", "13947212345"):
        response = await send(
            world,
            "PUT",
            f"/v1/cadres/{WORKER}/password",
            await world.token(ADMIN),
            {"password": password},
        )
        assert (response.status_code, "at least 8 characters" in response.json()["detail"]) == (
            422,
            True,
        ), password
    assert (await sign_in(world)).status_code == 200


# ------------------------------------------------------------------------------ forgotten passwords


async def recover(
    world: World, code: str, staff_code: str = WORKER, password: str = NEW, **more: str
) -> Any:
    body = {"staff_code": staff_code, "code": code, "new_password": password} | more
    return await world.client.post("/v1/auth/recover", json=body)


async def code_for(world: World, staff_code: str = WORKER, by: str = SECRETARY) -> str:
    response = await send(
        world, "POST", f"/v1/cadres/{staff_code}/recovery-code", await world.token(by)
    )
    assert response.status_code == 201, response.text
    return str(response.json()["code"])


async def test_a_forgotten_password_is_replaced_by_a_code_from_the_secretary(world: World) -> None:
    old = (await sign_in(world)).json()["access_token"]
    code = await code_for(world)
    assert (await recover(world, code.lower().replace("-", ""))).json() == {"ended": 1}
    assert (await send(world, "GET", "/v1/auth/me", old)).status_code == 401
    assert (await sign_in(world)).status_code == 401
    answer = (await sign_in(world, password=NEW)).json()
    assert not answer["password_change_needed"]
    again = await recover(world, code, password="纸船 钟表 麦田")
    assert (again.status_code, again.json()["type"]) == (401, "/problems/sign-in-failed")
    lines = await world.fetch("SELECT action, staff_code, subjects FROM audit ORDER BY at, action")
    seen = {(line["action"], line["staff_code"]) for line in lines}
    assert {
        ("recovery-code-given", SECRETARY),
        ("password-recovered", WORKER),
        ("recovery-failed", WORKER),
    } <= seen
    assert code not in str([tuple(line) for line in lines])


async def test_a_code_is_good_for_an_hour_and_a_newer_one_takes_its_place(world: World) -> None:
    first = await code_for(world)
    second = await code_for(world)
    assert (await recover(world, first)).status_code == 401
    world.clock.forward(minutes=60)
    assert (await recover(world, second)).status_code == 401
    assert (await sign_in(world)).status_code == 200


async def test_a_weak_password_does_not_use_the_code_up(world: World) -> None:
    code = await code_for(world)
    assert (await recover(world, code, password="12345678")).status_code == 422
    assert (await recover(world, code)).status_code == 200


async def test_codes_cannot_be_gone_through(world: World) -> None:
    code = await code_for(world)
    statuses = []
    for number in range(14):
        statuses.append((await recover(world, f"{number:010}")).status_code)
        world.clock.forward(seconds=40)
    assert statuses.count(401) <= 11
    assert statuses[-1] == 429
    assert (await recover(world, code)).status_code == 429
    # Nor does that lock the sign-in itself.
    assert (await sign_in(world)).status_code == 200


async def test_a_secretary_helps_those_in_the_field_in_the_own_village_only(world: World) -> None:
    token = await world.token(SECRETARY)
    await appoint(world, f"W{OTHER_GRID}-1", "supervisor", TOWNSHIP)
    await appoint(world, LOCAL_ADMIN, "admin", VILLAGE)
    for staff_code, status in (
        (f"W{FAR_GRID}-1", 404),
        (SUPERVISOR, 404),
        (ADMIN, 404),
        (f"W{OTHER_GRID}-1", 404),
        (LOCAL_ADMIN, 403),
        (SECRETARY, 403),
        (f"W{GRID}-2", 201),
    ):
        response = await send(world, "POST", f"/v1/cadres/{staff_code}/recovery-code", token)
        assert response.status_code == status, (staff_code, response.text)
    other = await send(
        world, "POST", f"/v1/cadres/{SECRETARY}/recovery-code", await world.token(f"W{GRID}-2")
    )
    assert other.status_code == 403
    assert (
        await send(world, "POST", f"/v1/cadres/{SECRETARY}/recovery-code", await world.token(ADMIN))
    ).status_code == 201


async def test_a_code_of_one_cadre_is_none_of_another(world: World) -> None:
    code = await code_for(world)
    assert (await recover(world, code, f"W{GRID}-2")).status_code == 401
    assert (await recover(world, "", "nobody")).status_code == 401


async def test_a_number_that_cannot_be_decrypted_is_the_marker_and_not_masked(world: World) -> None:
    # A database has no signing key before the first sign-in: then phone numbers tell whether the
    # keys are its own, and this is one of them.
    await world.fetch(
        "UPDATE cadre SET phone = '' WHERE phone LIKE 'gl2.%' AND staff_code <> ALL($1)",
        [WORKER, SECRETARY],
    )
    await world.fetch("UPDATE cadre SET phone = 'gl2.00000000.AAAA' WHERE staff_code = $1", WORKER)
    for reader in (SECRETARY, SUPERVISOR):
        page = (await world.get(f"/v1/cadres?text={WORKER}", reader)).json()
        assert [item["phone"] for item in page["items"]] == [MARKER], reader


def test_a_first_password_from_the_command_line_voids_codes_given_before(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("GRIDLOOP_DATABASE_URL", database_url)

    async def codes(sql: str) -> list[Any]:
        connection = await asyncpg.connect(database_url)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    asyncio.run(
        codes(
            "INSERT INTO one_time_code (staff_code, purpose, hash, created_at)"
            f" VALUES ('{WORKER}', 'password', 'hash', now()) RETURNING 1"
        )
    )
    done = CliRunner().invoke(
        app, ["account", "password", WORKER, "--password", "a long and unusual one"]
    )
    assert done.exit_code == 0, done.output
    assert asyncio.run(codes(f"SELECT FROM one_time_code WHERE staff_code = '{WORKER}'")) == []
