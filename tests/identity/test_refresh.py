"""A sign-in goes on though answers are lost, ends when a token is stolen, and ends for good after
its time.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from service.identity.tokens import Tokens
from simulator.places import NOW, PASSWORD, SUPERVISOR
from tests.world import GRID, OTHER_GRID, WORKER, World

DEVICE = "0192f3a1-0000-7000-8000-000000000001"
NEXT_DEVICE = "0192f3a1-0000-7000-8000-000000000002"


async def sign_in(
    world: World, device: str | None = DEVICE, staff_code: str = WORKER, **form: str
) -> Any:
    fields = {"grant_type": "password", "username": staff_code, "password": PASSWORD} | form
    response = await world.client.post(
        "/v1/auth/token", data=fields | ({"device_id": device} if device else {})
    )
    assert response.status_code == 200, response.text
    return response.json()


async def refresh(world: World, token: str, **form: str) -> Any:
    fields = {"grant_type": "refresh_token", "refresh_token": token} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def sync(world: World, access_token: str) -> Any:
    body = {
        "protocol": 1,
        "sent_at": world.clock.now().isoformat(),
        "cursor": None,
        "limit": 5,
        "queued": 0,
        "mutations": [],
    }
    return await world.client.post(
        "/v1/sync", json=body, headers={"Authorization": f"Bearer {access_token}"}
    )


async def me(world: World, access_token: str) -> Any:
    return await world.client.get(
        "/v1/auth/me", headers={"Authorization": f"Bearer {access_token}"}
    )


async def test_a_lost_answer_to_a_refresh_is_asked_for_again(world: World) -> None:
    first = await sign_in(world)
    await me(world, first["access_token"])
    lost = (await refresh(world, first["refresh_token"])).json()
    world.clock.forward(days=2)
    again = (await refresh(world, first["refresh_token"])).json()
    assert again["refresh_token"] == lost["refresh_token"]
    assert (await me(world, again["access_token"])).status_code == 200
    assert (await refresh(world, again["refresh_token"])).status_code == 200


async def test_two_open_requests_with_one_refresh_token_get_the_same_successor(
    world: World,
) -> None:
    first = await sign_in(world)
    answers = await asyncio.gather(*(refresh(world, first["refresh_token"]) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    for answer in answers:
        assert (await me(world, answer.json()["access_token"])).status_code == 200


async def test_another_process_gives_the_same_successor(world: World) -> None:
    from service.identity.tokens import successor_of
    from service.kit.settings import Settings

    first = await sign_in(world)
    second = (await refresh(world, first["refresh_token"])).json()
    elsewhere = Settings(
        data=world.state.settings.data, secret_file=world.state.settings.secret_file
    )
    assert successor_of(first["refresh_token"], elsewhere) == second["refresh_token"]


async def test_an_old_token_ends_the_family_once_the_successor_was_presented(world: World) -> None:
    first = await sign_in(world)
    second = (await refresh(world, first["refresh_token"])).json()
    third = (await refresh(world, second["refresh_token"])).json()
    stolen = await refresh(world, first["refresh_token"])
    assert (stolen.status_code, stolen.json()["type"]) == (400, "/problems/grant-refused")
    assert (await refresh(world, third["refresh_token"])).status_code == 400
    assert (await me(world, third["access_token"])).json()["type"] == "/problems/session-ended"
    [line] = await world.fetch(
        "SELECT staff_code, subjects FROM audit WHERE action = 'refresh-token-reused'"
    )
    assert tuple(line) == (WORKER, [DEVICE])


async def test_the_successor_counts_as_used_once_its_access_token_reached_the_sync(
    world: World,
) -> None:
    first = await sign_in(world)
    assert (await sync(world, first["access_token"])).status_code == 200
    second = (await refresh(world, first["refresh_token"])).json()
    # Within the half minute in which the database is not asked again for the access token before.
    assert (await sync(world, second["access_token"])).status_code == 200
    assert (await refresh(world, first["refresh_token"])).status_code == 400
    assert (await me(world, second["access_token"])).json()["type"] == "/problems/session-ended"


async def test_a_refresh_token_is_good_on_its_own_device_only_and_a_try_elsewhere_ends_nothing(
    world: World,
) -> None:
    first = await sign_in(world)
    other = await refresh(world, first["refresh_token"], device_id=NEXT_DEVICE)
    assert (other.status_code, other.json()["type"]) == (400, "/problems/grant-refused")
    assert (await refresh(world, first["refresh_token"], device_id=DEVICE)).status_code == 200


@pytest.mark.parametrize(
    "device", [NEXT_DEVICE, "00000000-0000-0000-0000-000000000000", "no device", "0" * 36]
)
async def test_a_refresh_for_another_device_is_refused_and_changes_nothing(
    world: World, device: str
) -> None:
    first = await sign_in(world)
    before = await world.fetch("SELECT * FROM refresh_token ORDER BY generation")
    other = await refresh(world, first["refresh_token"], device_id=device)
    assert (other.status_code, other.json()["type"]) == (400, "/problems/grant-refused")
    assert "access_token" not in other.json()
    assert await world.fetch("SELECT * FROM refresh_token ORDER BY generation") == before
    assert (await me(world, first["access_token"])).status_code == 200
    second = (await refresh(world, first["refresh_token"], device_id=DEVICE)).json()
    assert (await sync(world, second["access_token"])).status_code == 200


async def test_a_used_token_that_is_shown_for_another_device_ends_nothing(world: World) -> None:
    first = await sign_in(world)
    second = (await refresh(world, first["refresh_token"], device_id=DEVICE)).json()
    await me(world, second["access_token"])
    assert (await refresh(world, first["refresh_token"], device_id=NEXT_DEVICE)).json()[
        "type"
    ] == "/problems/grant-refused"
    assert (await me(world, second["access_token"])).status_code == 200
    assert (await refresh(world, second["refresh_token"], device_id=DEVICE)).status_code == 200


@pytest.mark.parametrize("form", [{}, {"device_id": ""}, {"device_id": DEVICE.upper()}])
async def test_a_refresh_without_a_device_or_with_its_own_in_upper_case_stays_on_its_device(
    world: World, form: dict[str, str]
) -> None:
    first = await sign_in(world)
    second = await refresh(world, first["refresh_token"], **form)
    assert second.status_code == 200
    assert (await me(world, second.json()["access_token"])).json()["device"] == DEVICE


async def test_a_token_without_a_device_is_refreshed_without_one_only(world: World) -> None:
    desk = await sign_in(world, None)
    bound = await refresh(world, desk["refresh_token"], device_id=DEVICE)
    assert (bound.status_code, bound.json()["type"]) == (400, "/problems/grant-refused")
    assert await world.fetch("SELECT FROM device WHERE id = $1", DEVICE) == []
    renewed = (await refresh(world, desk["refresh_token"])).json()
    assert (await me(world, renewed["access_token"])).json()["device"] is None
    assert (await sync(world, renewed["access_token"])).json()["type"] == "/problems/device-needed"


async def test_a_sign_in_ends_after_its_time_however_often_it_was_renewed(world: World) -> None:
    token = (await sign_in(world))["refresh_token"]
    for _ in range(3):
        world.clock.forward(days=59)
        answer = await refresh(world, token)
        assert answer.status_code == 200
        token = answer.json()["refresh_token"]
    world.clock.forward(days=2, hours=23)
    assert (await refresh(world, token)).status_code == 200
    world.clock.forward(hours=2)
    assert (await refresh(world, token)).json()["type"] == "/problems/grant-refused"


async def test_a_password_change_during_a_refresh_leaves_no_sign_in_behind(world: World) -> None:
    here, there = await sign_in(world), await sign_in(world, None)
    for _ in range(10):
        renewed, ended = await asyncio.gather(
            refresh(world, there["refresh_token"]),
            world.client.delete(
                "/v1/auth/sessions", headers={"Authorization": f"Bearer {here['access_token']}"}
            ),
        )
        assert ended.status_code == 200
        if renewed.status_code == 200:
            assert (await me(world, renewed.json()["access_token"])).status_code == 401
        assert await world.fetch("SELECT FROM refresh_token WHERE revoked_at IS NULL") == []
        here, there = await sign_in(world), await sign_in(world, None)


# --------------------------------------------------------------------------- devices and their time


async def claims_of(world: World, answer: Any) -> Any:
    return await world.state.of(Tokens).read(answer["access_token"], world.clock.now())


async def test_access_tokens_carry_when_their_device_was_registered(world: World) -> None:
    first = await sign_in(world)
    world.clock.forward(minutes=10)
    second = (await refresh(world, first["refresh_token"])).json()
    again = await sign_in(world)
    for answer in (first, second, again):
        assert (await claims_of(world, answer)).registered_ms == int(NOW.timestamp() * 1000)
    assert (await claims_of(world, await sign_in(world, None))).registered_ms is None


async def test_a_new_device_inherits_the_time_of_the_one_in_whose_place_it_comes(
    world: World,
) -> None:
    old = await sign_in(world)
    renewed = (await refresh(world, old["refresh_token"])).json()
    world.clock.forward(days=100)  # used, and expired
    new = await sign_in(world, NEXT_DEVICE, predecessor=old["refresh_token"])
    assert (await claims_of(world, new)).registered_ms == int(NOW.timestamp() * 1000)
    assert new["registered_at"].startswith("2026-11-20T02:00:00")
    assert renewed["refresh_token"] != old["refresh_token"]
    later = await sign_in(world, NEXT_DEVICE)
    assert later["registered_at"] == new["registered_at"]


async def test_a_predecessor_that_is_stolen_or_somebody_elses_or_nonsense_proves_nothing(
    world: World,
) -> None:
    theirs = await sign_in(world, "0192f3a1-0000-7000-8000-000000000009", f"W{OTHER_GRID}-1")
    old = await sign_in(world)
    second = (await refresh(world, old["refresh_token"])).json()
    await refresh(world, second["refresh_token"])
    await refresh(world, old["refresh_token"])  # a thief: the family ends
    world.clock.forward(days=1)
    for number, predecessor in enumerate(
        (theirs["refresh_token"], old["refresh_token"], second["refresh_token"], "x" * 5000), 20
    ):
        new = await sign_in(
            world, f"0192f3a1-0000-7000-8000-0000000000{number}", predecessor=predecessor
        )
        assert (await claims_of(world, new)).registered_ms == world.clock.ms()


# ------------------------------------------------------------------------------- one's own sign-ins


async def test_own_sign_ins_are_listed_and_all_ended_at_once(world: World) -> None:
    phone, desk = await sign_in(world), await sign_in(world, None)
    headers = {"Authorization": f"Bearer {desk['access_token']}"}
    items = (await world.client.get("/v1/auth/sessions", headers=headers)).json()["items"]
    assert {(item["device"], item["current"]) for item in items} == {(DEVICE, False), (None, True)}
    assert (await world.client.delete("/v1/auth/sessions", headers=headers)).json() == {"ended": 2}
    assert [(await me(world, answer["access_token"])).status_code for answer in (phone, desk)] == [
        401,
        401,
    ]
    assert (await refresh(world, phone["refresh_token"])).status_code == 400


# -------------------------------------------------------------------------------------- ended posts


async def end_posts(world: World, staff_code: str) -> None:
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1",
        staff_code,
        world.clock.now() - timedelta(seconds=1),
    )


async def test_ended_posts_end_the_sign_ins_that_rest_on_them(world: World) -> None:
    answer = await sign_in(world, None, SUPERVISOR)
    await end_posts(world, SUPERVISOR)
    for path in (
        "/v1/problems",
        "/v1/held",
        "/v1/devices",
        f"/v1/cadres/{SUPERVISOR}/export",
        "/v1/units",
    ):
        response = await world.client.get(
            path, headers={"Authorization": f"Bearer {answer['access_token']}"}
        )
        assert (response.status_code, response.json()["type"]) == (403, "/problems/posts-ended"), (
            path
        )
    renewed = await refresh(world, answer["refresh_token"])
    assert (renewed.status_code, renewed.json()["type"]) == (403, "/problems/posts-ended")
    assert (await me(world, answer["access_token"])).json()["type"] == "/problems/session-ended"
    form = {"grant_type": "password", "username": SUPERVISOR, "password": PASSWORD}
    assert (await world.client.post("/v1/auth/token", data=form)).json()[
        "type"
    ] == "/problems/posts-ended"


async def test_a_phone_whose_posts_have_ended_hands_in_its_outbox_and_gets_nothing(
    world: World,
) -> None:
    phone = world.phone()
    await phone.sync()
    assert phone.records()
    phone.put("visit", {"visited_at": "2026-11-20T09:00:00+08:00"}, grid=GRID)
    world.clock.forward(hours=1)
    await end_posts(world, WORKER)
    world.clock.forward(days=1)  # its access token has expired meanwhile
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]
    assert (phone.records(), report.changes) == ([], 0)
    wire = world.wire()
    answer = await wire.send(wire.mutation(1))
    assert answer.json()["changes"] == []
    again = await wire.send()  # the notice of what was held stays away, too
    assert again.json()["changes"] == []
