"""Posts as plain functions keep them: whoever calls, times make sense, nobody has one post twice at
once, and every unit keeps an administrator.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.identity import posts, staff_codes
from service.identity.memberships import Membership, in_order
from service.identity.posts import Appointment, Person, PostChange
from service.kit.database import retry_on_conflict
from service.kit.encryption_queries import cipher_of
from service.kit.errors import Problem
from simulator.places import NOW, TOWNSHIP, VILLAGE
from tests.world import GRID, OTHER_GRID, WORKER, World

CITY = TOWNSHIP[:4]
NEW = "N-1"


def days(count: float) -> datetime:
    return NOW + timedelta(days=count)


async def hired(world: World, code: str = NEW, *appointments: Appointment) -> list[str]:
    async with world.state.database.transaction() as connection:
        cipher = await cipher_of(connection, world.state.settings)
        person = Person(code, "新来的", "10012345678")
        given = appointments or (Appointment("grid_worker", GRID, NOW),)
        return await posts.hire(connection, cipher, person, given, NOW)


async def given(world: World, code: str, appointment: Appointment) -> str:
    async with world.state.database.transaction() as connection:
        return await posts.add_post(connection, code, appointment, NOW)


async def changed(world: World, id: str, change: PostChange) -> Any:
    async with world.state.database.transaction() as connection:
        return await posts.change_post(connection, id, change, NOW)


async def refused(work: Any) -> str:
    with pytest.raises(Problem) as caught:
        await work
    return caught.value.type.slug


async def test_who_is_hired_has_the_posts_and_an_encrypted_phone_and_no_password(
    world: World,
) -> None:
    await hired(
        world,
        NEW,
        Appointment("grid_worker", GRID, NOW),
        Appointment("first_secretary", VILLAGE, NOW, days(730), " 工作队队员 "),
    )
    [row] = await world.fetch("SELECT name, phone, password FROM cadre WHERE staff_code = $1", NEW)
    assert (row["name"], row["password"]) == ("新来的", None)
    assert world.decrypted("cadre", "phone", NEW, row["phone"]) == "10012345678"
    rows = await world.fetch("SELECT * FROM post WHERE staff_code = $1 ORDER BY role", NEW)
    assert [(r["role"], r["valid_to"], r["end_recorded_at"], r["title"]) for r in rows] == [
        ("first_secretary", days(730), NOW, "工作队队员"),
        ("grid_worker", None, None, None),
    ]


@pytest.mark.parametrize(
    "code",
    ["", "-x", "网格员1", "a b", "a/b", "..", "a\0", "a\n", "x" * 41, "Ａ1", "a‮b", "a%2Fb", "é"],
)
async def test_a_staff_code_that_no_record_could_hold_is_refused(world: World, code: str) -> None:
    assert await refused(hired(world, code)) == "invalid"


async def test_a_staff_code_is_given_to_one_person_only_even_at_the_same_time(
    world: World,
) -> None:
    for taken in (WORKER, "purge", "erasure"):
        assert await refused(hired(world, taken)) == "not-now"
    results = await asyncio.gather(*(hired(world) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, list) for result in results) == 1
    assert {type(result) for result in results} == {list, Problem}


async def test_a_code_that_is_given_later_and_one_that_is_given_first_do_not_meet(
    world: World,
) -> None:
    async def renamed() -> None:
        async with world.state.database.transaction() as connection:
            await posts.lock_person(connection, WORKER)
            await staff_codes.give(connection, WORKER, NEW, NOW)

    results = await asyncio.gather(renamed(), hired(world), return_exceptions=True)
    assert sum(isinstance(result, Problem) for result in results) == 1, results


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (NOW, days(-1)),
        (datetime(1900, 1, 1, tzinfo=UTC), None),
        (NOW, datetime(9999, 1, 1, tzinfo=UTC)),
    ],
)
async def test_times_that_cannot_be_are_refused(
    world: World, begins: datetime, ends: datetime | None
) -> None:
    post = Appointment("grid_worker", OTHER_GRID, begins, ends)
    assert await refused(given(world, WORKER, post)) == "invalid"


@pytest.mark.parametrize("unit", ["150221999", "", "x", "15022110020100", "1502211002010019"])
async def test_a_unit_that_does_not_exist_is_refused(world: World, unit: str) -> None:
    assert await refused(given(world, WORKER, Appointment("admin", unit, NOW))) == "invalid"


@pytest.mark.parametrize("role", ["app_client", "king", ""])
async def test_a_role_that_is_nobodys_is_refused(world: World, role: str) -> None:
    assert await refused(given(world, WORKER, Appointment(role, GRID, NOW))) == "invalid"


async def test_nobody_has_the_same_post_twice_at_a_time(world: World) -> None:
    first = await given(world, WORKER, Appointment("village_committee", VILLAGE, days(1), days(10)))
    for begins, ends in ((0, 2), (9, None), (1, 10), (3, 4), (0, None)):
        end = None if ends is None else days(ends)
        post = Appointment("village_committee", VILLAGE, days(begins), end)
        assert await refused(given(world, WORKER, post)) == "not-now"
    later = await given(world, WORKER, Appointment("village_committee", VILLAGE, days(10)))
    assert await refused(changed(world, later, PostChange(valid_from=days(9)))) == "not-now"
    assert await refused(changed(world, first, PostChange(sets_end=True))) == "not-now"
    await given(world, WORKER, Appointment("village_supervisor", VILLAGE, days(2)))


async def test_overlapping_posts_that_come_at_the_same_time_leave_one(world: World) -> None:
    post = Appointment("village_committee", VILLAGE, NOW)
    results = await asyncio.gather(
        *(given(world, WORKER, post) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Problem"] * 4 + ["str"]


async def test_an_end_in_the_past_is_recorded_now_and_can_be_taken_back(world: World) -> None:
    [id] = await hired(world, NEW, Appointment("grid_worker", GRID, days(-10)))
    done = await changed(world, id, PostChange(sets_end=True, valid_to=days(-3)))
    assert (done.after["valid_to"], done.after["end_recorded_at"]) == (days(-3), NOW)
    done = await changed(world, id, PostChange(sets_end=True, valid_to=None))
    assert (done.after["valid_to"], done.after["end_recorded_at"]) == (None, None)


async def test_concurrent_transfers_of_a_person_leave_one_chain(world: World) -> None:
    [id] = await hired(world, NEW, Appointment("grid_worker", GRID, days(-10)))

    async def moved(day: int) -> None:
        async def work() -> None:
            async with world.state.database.transaction() as connection:
                to = Appointment("grid_worker", OTHER_GRID, days(day))
                await posts.transfer(connection, id, to, NOW)

        await retry_on_conflict(work)

    results = await asyncio.gather(*map(moved, range(1, 5)), return_exceptions=True)
    assert sum(result is None for result in results) == 1, results
    rows = await world.fetch(
        "SELECT unit, valid_from, valid_to FROM post WHERE staff_code = $1 ORDER BY valid_from", NEW
    )
    assert [row["unit"] for row in rows] == [GRID, OTHER_GRID]
    assert rows[0]["valid_to"] == rows[1]["valid_from"]


async def test_nobody_erased_gets_a_post(world: World) -> None:
    [id] = await hired(world, NEW, Appointment("grid_worker", GRID, days(-10)))
    await world.fetch(
        "INSERT INTO erasure (kind, subject, reason, asked_by, begun_at, done, removed)"
        " VALUES ('cadre', $1, 'x', 'admin', $2, '[]', '{}')",
        NEW,
        NOW,
    )
    assert await refused(given(world, NEW, Appointment("admin", GRID, NOW))) == "not-now"
    assert await refused(changed(world, id, PostChange(valid_from=days(-5)))) == "not-now"


# ------------------------------------------------------------------------------ the administrators


async def admin_posts(world: World) -> list[Any]:
    return await world.fetch(
        "SELECT id::text, valid_from, valid_to FROM post WHERE role = 'admin' AND unit = $1", CITY
    )


def administered(rows: list[Any]) -> bool:
    """Whether somebody administers at every moment from now on, looked at half a day apart."""
    moments = [days(half / 2) for half in range(60)] + [days(3650)]
    return all(
        any(
            row["valid_from"] <= moment and (row["valid_to"] is None or moment < row["valid_to"])
            for row in rows
        )
        for moment in moments
    )


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_done_to_posts_the_city_keeps_an_administrator(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    people = [f"A-{number}" for number in range(4)]
    for code in people:
        await hired(world, code)
    done = refusals = 0
    for _ in range(40):
        rows = await admin_posts(world)
        begins, ends = days(rng.randrange(-3, 12)), rng.choice([None, days(rng.randrange(12, 25))])
        try:
            if rng.random() < 0.4:
                await given(world, rng.choice(people), Appointment("admin", CITY, begins, ends))
            elif rng.random() < 0.5:
                change = PostChange(sets_end=True, valid_to=rng.choice([ends, begins]))
                await changed(world, rng.choice(rows)["id"], change)
            else:
                await changed(world, rng.choice(rows)["id"], PostChange(valid_from=begins))
            done += 1
        except Problem:
            refusals += 1
        assert administered(await admin_posts(world))
    assert done
    assert refusals


async def test_the_last_two_administrators_do_not_end_each_other_at_once(world: World) -> None:
    await hired(world, NEW, Appointment("admin", CITY, days(-1)))
    ids = [row["id"] for row in await admin_posts(world)]
    assert len(ids) == 2
    end = PostChange(sets_end=True, valid_to=NOW)
    results = await asyncio.gather(*(changed(world, id, end) for id in ids), return_exceptions=True)
    assert sum(isinstance(result, Problem) for result in results) == 1, results


# ------------------------------------------------------------------------------------- memberships


def test_spans_of_membership_come_in_order_and_apart() -> None:
    one = Membership(None, NOW.date())
    two = Membership(NOW.date(), None)
    assert in_order([two, one]) == [one, two]
    for wrong in ([two, two], [one, one], [Membership(NOW.date(), NOW.date())], [two, one, two]):
        with pytest.raises(Problem):
            in_order(wrong)
