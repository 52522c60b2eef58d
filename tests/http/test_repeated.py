"""A repeated request gets the first answer only while its sender may still have it."""

import uuid
from datetime import timedelta
from typing import Any

from simulator.places import PASSWORD, VILLAGE
from tests.world import GRID, SECRETARY, World

BODY = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}}
DEVICE = "0192f3a1-0000-7000-8000-000000000001"
KEY = {"Idempotency-Key": "k"}


async def sign_in(world: World, **form: str) -> dict[str, str]:
    fields = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD} | form
    token = (await world.client.post("/v1/auth/token", data=fields)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def send(
    world: World, headers: dict[str, str], path: str = "/v1/problems", body: Any = BODY
) -> Any:
    return await world.client.post(path, json=body, headers=headers | KEY)


async def test_an_ended_sign_in_gets_no_kept_answer(world: World) -> None:
    here, there = await sign_in(world), await sign_in(world)
    assert (await send(world, here)).status_code == 201
    assert (await send(world, here)).headers["Idempotency-Replayed"] == "true"
    await world.client.post("/v1/auth/sign-out", headers=here)
    ended = await send(world, here)
    assert (ended.status_code, ended.json()["type"]) == (401, "/problems/session-ended")
    assert (await send(world, there)).headers["Idempotency-Replayed"] == "true"


async def test_a_revoked_device_gets_no_kept_answer(world: World) -> None:
    headers = await sign_in(world, device_id=DEVICE)
    assert (await send(world, headers)).status_code == 201
    await world.fetch("UPDATE device SET revoked_at = $2 WHERE id = $1", DEVICE, world.clock.now())
    revoked = await send(world, headers)
    assert (revoked.status_code, revoked.json()["type"]) == (401, "/problems/device-revoked")


async def test_who_has_lost_the_post_gets_no_kept_answer(world: World) -> None:
    headers = await sign_in(world)
    assert (await send(world, headers)).status_code == 201
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES ($1, $2, 'contact_member', $3, $4)",
        str(uuid.uuid4()),
        SECRETARY,
        VILLAGE,
        world.clock.now() - timedelta(days=1),
    )
    # One post more takes nothing away.
    assert (await send(world, headers)).headers["Idempotency-Replayed"] == "true"
    ended = "UPDATE post SET valid_to = $2 WHERE staff_code = $1 AND role = 'village_secretary'"
    await world.fetch(ended, SECRETARY, world.clock.now() - timedelta(seconds=1))
    lost = await send(world, headers)
    assert (lost.status_code, lost.json()["type"]) == (403, "/problems/not-allowed")
    assert len(await world.fetch("SELECT FROM problem")) == 1


async def test_what_was_not_there_may_have_come(world: World) -> None:
    headers = await sign_in(world)
    id = str(uuid.uuid4())
    step = {"action": "accept", "fields": {}}
    assert (await send(world, headers, f"/v1/problems/{id}/steps", step)).status_code == 404
    assert await world.fetch("SELECT FROM idempotency") == []
    phone = world.wire(SECRETARY)
    fields = BODY["fields"] | {"raised_at": world.clock.now().isoformat()}  # type: ignore[operator]
    await phone.send(phone.mutation(1, "problem", id=id, fields=fields))
    assert (await send(world, headers, f"/v1/problems/{id}/steps", step)).status_code == 201


async def test_keys_have_a_quota_a_day(world: World) -> None:
    world.state.settings.idempotency_keys = 3
    headers = await sign_in(world)
    statuses = []
    for number in range(5):
        response = await world.client.post(
            "/v1/problems", json=BODY, headers=headers | {"Idempotency-Key": f"k{number}"}
        )
        statuses.append(response.status_code)
    assert statuses == [201, 201, 201, 429, 429]
    assert (response.json()["type"], response.headers["Retry-After"]) == (
        "/problems/too-many-keys",
        "3600",
    )
    known = await world.client.post(
        "/v1/problems", json=BODY, headers=headers | {"Idempotency-Key": "k1"}
    )
    assert known.headers["Idempotency-Replayed"] == "true"
    world.clock.forward(days=1, minutes=1)
    again = await world.client.post(
        "/v1/problems", json=BODY, headers=await sign_in(world) | {"Idempotency-Key": "k9"}
    )
    assert again.status_code == 201
