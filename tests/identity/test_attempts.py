"""Attempts to sign in: what they cost the server, and whom they lock."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from service.identity import passwords
from service.identity.attempts import (
    Attempts,
    Counted,
    Origin,
    Window,
    network_of,
    one_more,
    seconds_to_wait,
)
from service.identity.passwords import Passwords
from service.kit.errors import Problem
from simulator.places import PASSWORD
from tests.world import OTHER_GRID, SECRETARY, WORKER, World

DEVICE = "0192f3a1-0000-7000-8000-000000000001"


async def sign_in(
    world: World, staff_code: str = WORKER, password: str = PASSWORD, **form: str
) -> Any:
    fields = {"grant_type": "password", "username": staff_code, "password": password} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def fail_until_locked(world: World, staff_code: str, **form: str) -> int:
    """Wrong passwords as fast as the pauses allow, until a pause is a lock; how many were looked
    at.
    """
    tried = 0
    while True:
        response = await sign_in(world, staff_code, "wrong", **form)
        if response.status_code == 401:
            tried += 1
            continue
        wait = int(response.headers["Retry-After"])
        if wait > 60:
            return tried
        world.clock.forward(seconds=wait)


async def test_forty_wrong_passwords_at_once_are_counted_before_one_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = under_way = most = 0
    real = passwords.hasher.verify_and_update

    def slow(password: str, hashed: str) -> tuple[bool, str | None]:
        import time

        nonlocal looked_at, under_way, most
        looked_at, under_way = looked_at + 1, under_way + 1
        most = max(most, under_way)
        time.sleep(0.02)
        under_way -= 1
        return real(password, hashed)

    monkeypatch.setattr(passwords.hasher, "verify_and_update", slow)
    answers = await asyncio.gather(
        *(sign_in(world, password=f"wrong {number}") for number in range(40))
    )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (looked_at, 40 - looked_at)
    assert looked_at <= 10
    assert most <= 2


async def test_whoever_waits_too_long_for_a_hash_is_asked_to_come_again(world: World) -> None:
    world.state.give(Passwords, Passwords(at_once=1, wait_s=0.02))
    async with world.state.of(Passwords).turn():
        response = await sign_in(world)
    assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")
    assert int(response.headers["Retry-After"]) >= 2
    # It was given back: nobody's password was looked at.
    assert all(row["count"] == 0 for row in await world.fetch("SELECT count FROM attempt"))


async def test_eight_right_passwords_at_once_are_no_attack(world: World) -> None:
    answers = await asyncio.gather(*(sign_in(world) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_pauses_grow_before_an_account_locks(world: World) -> None:
    waits: list[int] = []
    while not waits or waits[-1] < 60:
        response = await sign_in(world, password="wrong")
        if response.status_code == 429:
            waits.append(int(response.headers["Retry-After"]))
            world.clock.forward(seconds=waits[-1])
    assert waits[:4] == [2, 3, 5, 9]
    assert 13 * 60 < waits[-1] <= 15 * 60 + 1


async def test_an_attacker_from_elsewhere_does_not_lock_the_phone_of_the_account(
    world: World,
) -> None:
    assert (await sign_in(world, device_id=DEVICE)).status_code == 200
    await world.fetch("UPDATE refresh_token SET address = '10.9.9.9'")
    await fail_until_locked(world, WORKER)
    assert (await sign_in(world)).status_code == 429
    assert (await sign_in(world, device_id=DEVICE)).status_code == 200
    assert (
        await sign_in(world, device_id="0192f3a1-0000-7000-8000-0000000000ff")
    ).status_code == 429


async def test_an_attacker_behind_the_villages_address_locks_nobody_who_signed_in_there_before(
    world: World,
) -> None:
    settings = world.state.settings
    few = settings.model_copy(update={"attempts_address": settings.attempts_here})
    world.state.give(Attempts, Attempts(world.state.database, few))
    assert (await sign_in(world, SECRETARY)).status_code == 200
    assert (await sign_in(world, f"W{OTHER_GRID}-1", device_id=DEVICE)).status_code == 200
    await world.fetch(
        "UPDATE refresh_token SET address = '10.9.9.9' WHERE staff_code <> $1", SECRETARY
    )
    for number in range(15):
        await sign_in(world, f"NOBODY-{number}", "wrong")
    stranger = await sign_in(world, WORKER)
    assert (stranger.status_code, stranger.json()["type"]) == (429, "/problems/too-many-attempts")
    assert (await sign_in(world, SECRETARY)).status_code == 200
    assert (await sign_in(world, f"W{OTHER_GRID}-1", device_id=DEVICE)).status_code == 200


async def test_a_refused_attempt_on_one_account_uses_up_nothing_of_the_address(
    world: World,
) -> None:
    await fail_until_locked(world, WORKER)
    [before] = await world.fetch("SELECT count FROM attempt WHERE key LIKE 'address %'")
    for _ in range(20):
        assert (await sign_in(world, password="wrong")).status_code == 429
    [after] = await world.fetch("SELECT count FROM attempt WHERE key LIKE 'address %'")
    assert after == before


async def test_a_known_device_has_a_limit_all_the_same(world: World) -> None:
    await sign_in(world, device_id=DEVICE)
    assert await fail_until_locked(world, WORKER, device_id=DEVICE) == 10
    assert (await sign_in(world, device_id=DEVICE)).status_code == 429


async def test_a_clock_that_was_a_day_ahead_locks_nobody_for_a_day(world: World) -> None:
    world.clock.forward(days=1)
    await fail_until_locked(world, WORKER)
    world.clock.forward(days=-1)
    assert (await sign_in(world)).status_code == 200


def test_a_window_is_over_at_its_end_and_when_its_end_lies_too_far_ahead() -> None:
    from limits import parse

    window = Window("x", parse("3/minute"), pauses=False)
    full = Counted(3, 1060.0, 1000.0)
    assert seconds_to_wait(window, full, 1000.0) == 60
    assert seconds_to_wait(window, full, 1060.0) == 0
    assert seconds_to_wait(window, full, 900.0) == 0
    assert one_more(window, full, 900.0) == Counted(1, 960.0, 0)
    # Attempts at once are counted in another order than their times have.
    assert one_more(window, Counted(3, 1060.01, 0), 1000.0) == Counted(4, 1060.01, 0)


def test_an_ipv6_line_is_one_address() -> None:
    assert (
        network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    )
    assert network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("nonsense") == "nonsense"


async def test_old_hashes_become_new_ones_at_sign_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = (Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1),)
    monkeypatch.setattr(passwords.hasher, "hashers", today)
    monkeypatch.setattr(passwords.hasher, "current_hasher", today[0])
    [before] = await world.fetch("SELECT password FROM cadre WHERE staff_code = $1", WORKER)
    await sign_in(world)
    [after] = await world.fetch("SELECT password FROM cadre WHERE staff_code = $1", WORKER)
    assert "m=8,t=1,p=1" in before["password"]
    assert "m=19456,t=2,p=1" in after["password"]
    assert (await sign_in(world)).status_code == 200


async def test_failures_stand_in_the_trail_a_line_a_minute_with_their_number(world: World) -> None:
    for _ in range(8):
        await sign_in(world, password="wrong")
    for number in range(8):
        await sign_in(world, f"typed-my-password-here-{number}", "x")
    lines = await world.fetch(
        "SELECT staff_code, subjects, count FROM audit WHERE action = 'sign-in-failed'"
        " ORDER BY staff_code"
    )
    assert [tuple(line) for line in lines] == [("", [], 1), (WORKER, [WORKER], 1)]
    world.clock.forward(minutes=20)
    await sign_in(world, password="wrong")
    lines = await world.fetch(
        "SELECT count FROM audit WHERE action = 'sign-in-failed' AND staff_code = $1 ORDER BY at",
        WORKER,
    )
    assert [line["count"] for line in lines] == [1, 8]
    await sign_in(world)
    [line] = await world.fetch("SELECT at, staff_code FROM audit WHERE action = 'signed-in'")
    assert (line["staff_code"], line["at"] - world.clock.now()) == (WORKER, timedelta())


async def test_an_app_is_not_locked_by_attempts_from_elsewhere(world: World) -> None:
    from service.identity import client_queries

    async with world.state.database.transaction() as connection:
        secret = passwords.hasher.hash("s3cret")
        await client_queries.add_client(
            connection, "nongmu", "包头农牧", secret, ["articles:read"], "1502", world.clock.now()
        )
    windows = world.state.of(Attempts).of_app("nongmu", "203.0.113.9")
    for _ in range(10):
        await world.state.of(Attempts).take(windows, world.clock.now() - timedelta(seconds=0))
        world.clock.forward(seconds=70)
    form = {"grant_type": "client_credentials", "client_id": "nongmu", "client_secret": "s3cret"}
    assert (await world.client.post("/v1/auth/token", data=form)).status_code == 200


async def test_attempts_at_once_of_different_moments_count_in_one_window(world: World) -> None:
    """What came a little earlier may be counted after what came later: it must not begin the window
    anew.
    """
    attempts = world.state.of(Attempts)
    windows = attempts.of_cadre(Origin("SOMEBODY", "192.0.2.7"))
    now = world.clock.now()
    refused = 0
    for number in range(30):
        try:
            await attempts.take(windows, now - timedelta(milliseconds=20 * number))
        except Problem:
            refused += 1
    assert refused >= 20
