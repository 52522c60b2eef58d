"""People and posts over REST: who may give them, what is warned of, and what follows: sign-ins, the
next sync of phones, numbers of party members, and old staff codes that still lead to the person.
"""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from simulator.places import NOW, PASSWORD, SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol import clock as clocks
from sync_protocol.periods import to_ms
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

ADMIN = "admin"
LOCAL = f"C{VILLAGE}-2"
CITY = TOWNSHIP[:4]
NEW = "N-1"
OTHER_WORKER = f"W{OTHER_GRID}-1"
WEEK = {"week": "2026-W47"}


def at(**span: float) -> str:
    return (NOW + timedelta(**span)).isoformat()


async def call(
    world: World, method: str, path: str, body: Any = None, who: str = ADMIN, **headers: str
) -> Any:
    world.clock.forward(milliseconds=1)
    given = {"Authorization": f"Bearer {await world.token(who)}"} | headers
    return await world.client.request(method, path, json=body, headers=given)


async def sign_in(world: World, code: str, **form: str) -> Any:
    fields = {"grant_type": "password", "username": code, "password": PASSWORD} | form
    return await world.client.post("/v1/auth/token", data=fields)


async def post_of(world: World, code: str, role: str = "grid_worker") -> str:
    [row] = await world.fetch(
        "SELECT id::text FROM post WHERE staff_code = $1 AND role = $2", code, role
    )
    return str(row["id"])


async def local_admin(world: World) -> None:
    """Somebody is administrator of the village and nothing else."""
    await world.fetch("DELETE FROM post WHERE staff_code = $1", LOCAL)
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES ($1, $2, 'admin', $3, $4)",
        str(uuid.uuid4()),
        LOCAL,
        VILLAGE,
        NOW - timedelta(days=400),
    )


def codes(answer: Any) -> set[tuple[str, str | None]]:
    return {(warning["code"], warning["unit"]) for warning in answer.json()["warnings"]}


def somebody(**given: Any) -> dict[str, Any]:
    post = {"role": "grid_worker", "unit": GRID}
    return {"staff_code": NEW, "name": "新来的", "phone": "10012345678", "posts": [post]} | given


# ---------------------------------------------------------------------------------------- to hire


async def test_who_is_hired_signs_in_after_a_first_password_and_syncs_the_grid(
    world: World,
) -> None:
    made = await call(world, "POST", "/v1/cadres", somebody())
    assert made.status_code == 201, made.text
    assert (made.json()["phone"], made.json()["warnings"]) == ("10012345678", [])
    assert (await sign_in(world, NEW)).status_code == 401
    await world.fetch(
        "UPDATE cadre SET password = (SELECT password FROM cadre WHERE staff_code = $1)"
        " WHERE staff_code = $2",
        WORKER,
        NEW,
    )
    phone = world.phone(NEW)
    await phone.sync()
    assert {view.grid for view in phone.records("household")} == {GRID}


async def test_hiring_twice_with_a_key_is_hiring_once(world: World) -> None:
    key = {"Idempotency-Key": "k1"}
    one, two = [await call(world, "POST", "/v1/cadres", somebody(), ADMIN, **key) for _ in range(2)]
    assert (one.status_code, two.status_code, one.json()) == (201, 201, two.json())
    # As after a process that died between the deed and the answer.
    await world.fetch("DELETE FROM idempotency")
    again = await call(world, "POST", "/v1/cadres", somebody(), ADMIN, **key)
    assert (again.status_code, len(again.json()["posts"])) == (201, 1)
    assert (await call(world, "POST", "/v1/cadres", somebody())).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [
        {"staff_code": "网格员"},
        {"staff_code": WORKER},
        {"staff_code": "a\u202eb"},
        {"name": ""},
        {"name": "a\0"},
        {"posts": []},
        {"posts": [{"role": "app_client", "unit": GRID}]},
        {"posts": [{"role": "grid_worker", "unit": GRID, "valid_from": "2026-11-01"}]},
        {"posts": [{"role": "grid_worker", "unit": GRID, "valid_from": "0001-01-01T00:00:00Z"}]},
        {"posts": [{"role": "grid_worker", "unit": GRID, "valid_to": "1999-01-01T00:00:00Z"}]},
        {"posts": [{"role": "grid_worker", "unit": GRID, "title": "a\nb"}]},
        {"posts": [{"role": "grid_worker", "unit": GRID}] * 2},
        {"posts": [{"role": "grid_worker", "unit": GRID, "salary": 1}]},
        {"party_member": True, "party_membership": []},
        {"party_membership": [{"joined_on": "2026-01-02", "left_on": "2026-01-01"}]},
        {"party_membership": [{"joined_on": "2026-01-02"}, {"joined_on": "2026-02-02"}]},
    ],
)
async def test_what_cannot_be_hired_leaves_nobody_behind(
    world: World, wrong: dict[str, Any]
) -> None:
    before = await world.fetch("SELECT count(*) FROM cadre")
    answer = await call(world, "POST", "/v1/cadres", somebody(**wrong))
    assert answer.status_code in (409, 422), answer.text
    assert answer.json()["detail"]
    assert await world.fetch("SELECT count(*) FROM cadre") == before


async def test_what_is_unusual_is_warned_of_and_done(world: World) -> None:
    posts = [
        {"role": "village_secretary", "unit": VILLAGE},
        {"role": "first_secretary", "unit": VILLAGE, "title": "工作队队员"},
        {"role": "contact_member", "unit": VILLAGE},
        {"role": "grid_worker", "unit": VILLAGE},
    ]
    made = await call(world, "POST", "/v1/cadres", somebody(posts=posts))
    assert made.status_code == 201
    assert codes(made) == {
        ("village-with-several-secretaries", VILLAGE),
        ("no-term", VILLAGE),
        ("no-party-member", VILLAGE),
        ("unusual-level", VILLAGE),
    }
    assert {post["title"] for post in made.json()["posts"]} == {None, "工作队队员"}


# ----------------------------------------------------------------------------------------- rights


async def test_an_administrator_gives_posts_in_the_own_unit_to_the_own_people_only(
    world: World,
) -> None:
    await local_admin(world)
    for unit in (TOWNSHIP, CITY, FAR_GRID, "150221999", "x"):
        body = somebody(posts=[{"role": "grid_worker", "unit": unit}])
        assert (await call(world, "POST", "/v1/cadres", body, LOCAL)).status_code == 404, unit
        body = {"role": "admin", "unit": unit}
        given = await call(world, "POST", f"/v1/cadres/{WORKER}/posts", body, LOCAL)
        assert given.status_code == 404, unit
        moved = {"transfer": {"unit": unit}}
        id = await post_of(world, WORKER)
        assert (await call(world, "PATCH", f"/v1/posts/{id}", moved, LOCAL)).status_code == 404
    post = {"role": "village_committee", "unit": VILLAGE}
    for stranger in (ADMIN, SUPERVISOR, f"W{FAR_GRID}-1", "nobody"):
        given = await call(world, "POST", f"/v1/cadres/{stranger}/posts", post, LOCAL)
        assert given.status_code == 404, stranger
    assert (await call(world, "POST", f"/v1/cadres/{WORKER}/posts", post, LOCAL)).status_code == 201


async def test_who_stands_elsewhere_too_is_given_nothing_and_may_be_ended_here(
    world: World,
) -> None:
    """Else the account of somebody above would come under an administrator below."""
    await local_admin(world)
    post = {"role": "village_committee", "unit": VILLAGE, "valid_from": at(days=-3)}
    assert (await call(world, "POST", f"/v1/cadres/{SUPERVISOR}/posts", post)).status_code == 201
    id = await post_of(world, SUPERVISOR, "village_committee")
    more = {"role": "contact_member", "unit": VILLAGE}
    path = f"/v1/cadres/{SUPERVISOR}/posts"
    assert (await call(world, "POST", path, more, LOCAL)).status_code == 403
    for body in ({"valid_from": at(days=-9)}, {"transfer": {"unit": GRID}}):
        assert (await call(world, "PATCH", f"/v1/posts/{id}", body, LOCAL)).status_code == 403
    end = {"valid_to": at(days=-1)}
    assert (await call(world, "PATCH", f"/v1/posts/{id}", end, LOCAL)).status_code == 200
    # Of somebody who has gone from everywhere, nobody takes the account by a post given anew.
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1 AND unit <> $3",
        SUPERVISOR,
        NOW - timedelta(hours=1),
        VILLAGE,
    )
    again = {"valid_to": None}
    assert (await call(world, "PATCH", f"/v1/posts/{id}", again, LOCAL)).status_code == 403
    assert (await call(world, "POST", path, more, LOCAL)).status_code == 403


async def test_nobody_gives_a_post_to_themselves_or_changes_or_ends_the_own(
    world: World,
) -> None:
    await local_admin(world)
    post = {"role": "village_secretary", "unit": VILLAGE}
    assert (await call(world, "POST", f"/v1/cadres/{LOCAL}/posts", post, LOCAL)).status_code == 403
    id = await post_of(world, LOCAL, "admin")
    for body in (
        {"valid_from": at(days=-900)},
        {"transfer": {"unit": VILLAGE, "role": "village_secretary"}},
        {"valid_to": at(days=1)},
        {"title": "主任"},
        {"valid_to": None},
    ):
        refused = await call(world, "PATCH", f"/v1/posts/{id}", body, LOCAL)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/not-allowed")
    end = {"valid_to": at(days=1)}
    assert (await call(world, "PATCH", f"/v1/posts/{id}", end)).status_code == 200


async def test_the_last_administrator_of_the_city_ends_only_after_a_successor(
    world: World,
) -> None:
    id = await post_of(world, ADMIN, "admin")
    # Another administrator, but for ten days only.
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from, valid_to)"
        " VALUES (gen_random_uuid(), $1, 'admin', $2, $3, $4)",
        SUPERVISOR,
        CITY,
        NOW - timedelta(days=1),
        NOW + timedelta(days=10),
    )
    for end in ({"valid_to": at(days=9)}, {"valid_to": at(days=30)}, {"valid_from": at(days=11)}):
        refused = await call(world, "PATCH", f"/v1/posts/{id}", end, SUPERVISOR)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-now"), end
    body = somebody(posts=[{"role": "admin", "unit": CITY, "valid_from": at(days=20)}])
    assert (await call(world, "POST", "/v1/cadres", body)).status_code == 201
    early, late = [
        await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": at(days=day)}, SUPERVISOR)
        for day in (19, 20)
    ]
    assert (early.status_code, late.status_code) == (409, 200)


async def test_taking_an_end_back_warns_of_nothing_in_hand(world: World) -> None:
    id = await post_of(world, WORKER)
    await world.fetch("UPDATE household SET contact_member = NULL, lead_member = NULL")
    ended = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": at(hours=1)})
    assert "in-hand" not in {code for code, _ in codes(ended)}
    await world.fetch("UPDATE household SET lead_member = $1 WHERE grid = $2", WORKER, GRID)
    ended = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": at(hours=2)})
    [text] = [one["text"] for one in ended.json()["warnings"] if one["code"] == "in-hand"]
    assert "households" in text
    assert "problems" not in text  # of which there are none
    back = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": None})
    assert "in-hand" not in {code for code, _ in codes(back)}


# -------------------------------------------------------------------------- what follows an end


async def test_an_end_warns_of_what_it_leaves_and_ends_the_sign_ins_without_a_phone(
    world: World,
) -> None:
    device = "0192f3a1-0000-7000-8000-000000000001"
    browser = (await sign_in(world, WORKER)).json()
    phone = (await sign_in(world, WORKER, device_id=device)).json()
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE unit = $1 AND staff_code <> $3", GRID, NOW, WORKER
    )
    await world.fetch(
        "UPDATE household SET contact_member = $1 WHERE id ="
        " (SELECT id FROM household WHERE grid = $2 ORDER BY id LIMIT 1)",
        WORKER,
        GRID,
    )
    id = await post_of(world, WORKER)
    ended = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": at(hours=-2)})
    assert (ended.status_code, ended.json()["sign_ins_ended"]) == (200, 1)
    assert codes(ended) == {
        ("grid-without-worker", GRID),
        ("without-post", None),
        ("in-hand", None),
    }
    renewed = [
        (
            await world.client.post(
                "/v1/auth/token",
                data={"grant_type": "refresh_token", "refresh_token": one["refresh_token"]},
            )
        ).status_code
        for one in (browser, phone)
    ]
    assert renewed == [400, 200]
    assert (await sign_in(world, WORKER)).json()["type"] == "/problems/posts-ended"


async def test_an_end_to_come_takes_nothing_away_before_it(world: World) -> None:
    token = (await sign_in(world, WORKER)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    id = await post_of(world, WORKER)
    done = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": at(minutes=5)})
    assert done.json()["sign_ins_ended"] == 0
    assert (await world.client.get("/v1/households", headers=headers)).status_code == 200
    world.clock.forward(minutes=6)
    gone = await world.client.get("/v1/households", headers=headers)
    assert gone.json()["type"] == "/problems/posts-ended"
    back = await call(world, "PATCH", f"/v1/posts/{id}", {"valid_to": None})
    assert back.status_code == 200
    assert (await world.client.get("/v1/households", headers=headers)).status_code == 200


async def test_a_transferred_workers_old_logs_count_and_the_phone_changes_grids(
    world: World,
) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put("visit", {"visited_at": NOW.isoformat()}, grid=GRID)
    world.clock.forward(hours=1)
    id = await post_of(world, WORKER)
    moved = await call(world, "PATCH", f"/v1/posts/{id}", {"transfer": {"unit": OTHER_GRID}})
    assert moved.status_code == 200, moved.text
    assert moved.json()["post"]["valid_to"] == moved.json()["new_post"]["valid_from"]
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"]
    assert report.dropped_grids == [GRID]
    await phone.sync()
    assert {view.grid for view in phone.records("household")} == {OTHER_GRID}
    world.clock.forward(minutes=1)
    phone.put("visit", {"visited_at": NOW.isoformat()}, grid=GRID)
    [verdict] = (await phone.sync()).verdicts
    assert (verdict.outcome, verdict.reason) == ("held", "not-allowed")


async def test_an_end_that_is_entered_late_gives_the_days_of_grace_from_its_entry(
    world: World,
) -> None:
    wire = world.wire()
    await wire.send()
    stamp = clocks.make_stamp(to_ms(NOW + timedelta(minutes=1)))
    world.clock.forward(days=20)
    id = await post_of(world, WORKER)
    end = {"valid_to": at(minutes=2)}
    assert (await call(world, "PATCH", f"/v1/posts/{id}", end)).status_code == 200
    world.clock.forward(days=6)
    answer = (await wire.send(wire.mutation(1, stamp=stamp))).json()
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == ["applied"]


async def test_concurrent_transfers_leave_one_and_the_same_one_again_is_the_first(
    world: World,
) -> None:
    id = await post_of(world, WORKER)
    await world.token(ADMIN)
    bodies = [
        {"valid_to": at(hours=hour), "transfer": {"unit": OTHER_GRID}} for hour in (1, 2, 3, 4)
    ]
    answers = await asyncio.gather(
        *(call(world, "PATCH", f"/v1/posts/{id}", body) for body in bodies)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    [won] = [
        (body, answer.json())
        for body, answer in zip(bodies, answers, strict=True)
        if answer.status_code == 200
    ]
    again = (await call(world, "PATCH", f"/v1/posts/{id}", won[0])).json()
    assert again["new_post"] == won[1]["new_post"]
    rows = await world.fetch("SELECT count(*) FROM post WHERE staff_code = $1", WORKER)
    assert rows[0]["count"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"valid_to": "2019-01-01T00:00:00Z"},
        {"valid_from": "2026-11-24T09:00:00"},
        {"valid_from": "9999-12-31T23:59:59Z"},
        {"transfer": {"unit": GRID}},
        {"transfer": {"unit": OTHER_GRID}, "title": "x"},
        {"transfer": {"unit": OTHER_GRID, "role": "app_client"}},
        {"valid_to": "2019-01-01T00:00:00Z", "transfer": {"unit": OTHER_GRID}},
        {"transfer": {"unit": OTHER_GRID, "valid_to": "2020-01-01T00:00:00Z"}},
        {"role": "admin"},
    ],
)
async def test_what_cannot_be_changed_changes_nothing(world: World, body: dict[str, Any]) -> None:
    id = await post_of(world, WORKER)
    before = await world.fetch("SELECT * FROM post ORDER BY id")
    assert (await call(world, "PATCH", f"/v1/posts/{id}", body)).status_code == 422
    assert await world.fetch("SELECT * FROM post ORDER BY id") == before


async def test_posts_are_listed_as_they_were_at_a_moment(world: World) -> None:
    id = await post_of(world, WORKER)
    await call(world, "PATCH", f"/v1/posts/{id}", {"transfer": {"unit": OTHER_GRID}})

    async def held(**query: Any) -> set[str]:
        page = (await world.get("/v1/posts", SECRETARY, unit=GRID, **query)).json()
        return {item["staff_code"] for item in page["items"]}

    assert WORKER not in await held()
    assert WORKER in await held(ended=True)
    assert WORKER in await held(at=at(days=-1))
    detail = (await world.get(f"/v1/cadres/{WORKER}", SECRETARY)).json()
    assert [post["unit"] for post in detail["posts"]] == [OTHER_GRID, GRID]
    own = (await world.get(f"/v1/cadres/{WORKER}", WORKER)).json()
    assert own["posts"] == detail["posts"]
    there = (await world.get(f"/v1/cadres/{WORKER}", OTHER_WORKER)).json()
    assert [post["unit"] for post in there["posts"]] == [OTHER_GRID]
    assert (await world.get(f"/v1/cadres/{SUPERVISOR}", SECRETARY)).status_code == 404


async def test_everything_stands_in_the_trail(world: World) -> None:
    await call(world, "POST", "/v1/cadres", somebody())
    id = await post_of(world, NEW)
    await call(world, "PATCH", f"/v1/posts/{id}", {"title": "组长"})
    await call(world, "PATCH", f"/v1/posts/{id}", {"transfer": {"unit": OTHER_GRID}})
    await call(world, "PATCH", f"/v1/cadres/{NEW}", {"shown_code": "N-2"})
    body = {"role": "contact_member", "unit": VILLAGE}
    await call(world, "POST", f"/v1/cadres/{NEW}/posts", body)
    second = await post_of(world, NEW, "contact_member")
    await call(world, "PATCH", f"/v1/posts/{second}", {"valid_to": at(days=1)})
    rows = await world.fetch(
        "SELECT action, subjects FROM audit WHERE staff_code = 'admin' AND $1 = ANY(subjects)"
        " ORDER BY at, action",
        NEW,
    )
    assert [row["action"] for row in rows] == [
        *("cadre-hired", "post-changed", "post-transferred", "cadre-corrected"),
        *("staff-code-changed", "post-given", "post-ended"),
    ]
    assert rows[2]["subjects"] == [NEW, id, f"grid_worker {GRID}", f"grid_worker {OTHER_GRID}"]


# ------------------------------------------------------------------------------------ staff codes


async def test_an_old_staff_code_leads_to_the_person_for_ever(world: World) -> None:
    wire = world.wire()
    await wire.send(wire.mutation(1))
    for code in ("T-1", "T-2"):
        changed = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": code})
        assert changed.json()["shown_code"] == code
    assert changed.json()["staff_codes"] == [WORKER, "T-1", "T-2"]
    for code in (WORKER, "T-1", "T-2"):
        answer = (await sign_in(world, code)).json()
        assert answer["staff_code"] == WORKER
        me = await world.client.get(
            "/v1/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"}
        )
        assert (me.json()["staff_code"], me.json()["shown_code"]) == (WORKER, "T-2")
        summary = (await world.get(f"/v1/cadres/{code}/summary", **WEEK)).json()
        assert (summary["staff_code"], summary["shown_code"]) == (WORKER, "T-2")
        listed = (await world.get("/v1/cadres", text=code)).json()["items"]
        assert [item["staff_code"] for item in listed] == [WORKER]
        devices = await world.get("/v1/devices", SECRETARY, staff_code=code)
        assert [item["id"] for item in devices.json()["items"]] == [wire.device]
    await wire.send(wire.mutation(2))
    rows = (await world.get("/v1/summaries/cadres", unit=GRID, **WEEK)).json()["items"]
    assert [(row["staff_code"], row["shown_code"]) for row in rows] == [(WORKER, "T-2")]


async def test_a_code_is_never_somebody_elses(world: World) -> None:
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-1"})
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-2"})
    for code in ("T-1", "T-2", WORKER, ADMIN, "purge"):
        taken = await call(world, "PATCH", f"/v1/cadres/{OTHER_WORKER}", {"shown_code": code})
        assert taken.status_code == 409, code
        body = somebody(staff_code=code)
        assert (await call(world, "POST", "/v1/cadres", body)).status_code == 409, code
    back = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-1"})
    assert back.json()["shown_code"] == "T-1"
    first = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": WORKER})
    assert first.json()["shown_code"] == WORKER
    for code in ("", "../x", "a b", "网格员", "\u202ex", "x" * 41):
        odd = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": code})
        assert odd.status_code == 422, code


async def test_attempts_are_counted_for_the_person_by_whichever_code(world: World) -> None:
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-1"})
    statuses = []
    for number in range(14):
        code = (WORKER, "T-1")[number % 2]
        statuses.append((await sign_in(world, code, password=f"wrong {number}")).status_code)
    assert statuses[-1] == 429


async def test_who_writes_a_new_code_over_rest_names_the_person(world: World) -> None:
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-1"})
    fields = {"title": "水管冻裂", "duty": "emergency"}
    made = await world.post("/v1/problems", {"grid": GRID, "fields": fields}, SECRETARY)
    step = {"action": "assign", "fields": {"to_cadre": "T-1"}}
    taken = await world.post(f"/v1/problems/{made.json()['id']}/steps", step, SECRETARY)
    assert taken.json()["handler_cadre"] == WORKER
    listed = (await world.get("/v1/problems", SECRETARY, cadre="T-1")).json()["items"]
    assert [item["id"] for item in listed] == [made.json()["id"]]


async def test_with_a_person_who_is_erased_their_codes_go(world: World) -> None:
    body = {"shown_code": "T-1", "party_membership": [{"joined_on": "2020-07-01"}]}
    assert (await call(world, "PATCH", f"/v1/cadres/{WORKER}", body)).status_code == 200
    export = (await world.get(f"/v1/cadres/{WORKER}/export", WORKER)).json()["cadre"]
    assert export["staff_codes"] == [WORKER, "T-1"]
    assert export["party_membership"] == [{"joined_on": "2020-07-01", "left_on": None}]
    erased = await call(world, "POST", f"/v1/cadres/{WORKER}/erasure", {"reason": "本人申请"})
    assert erased.status_code == 200, erased.text
    for table in ("staff_code_alias", "party_membership"):
        assert await world.fetch(f"SELECT * FROM {table}") == []
    again = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"shown_code": "T-3"})
    assert again.status_code == 409


# ------------------------------------------------------------------------------- party membership


async def visits_on(world: World, *days: str) -> None:
    wire = world.wire()
    mutations = [
        wire.mutation(seq, fields={"visited_at": f"{day}T09:00:00+08:00"})
        for seq, day in enumerate(days, 1)
    ]
    answer = (await wire.send(*mutations)).json()
    assert {verdict["outcome"] for verdict in answer["verdicts"]} == {"applied"}


async def table(world: World, **query: Any) -> tuple[dict[bool, int], list[tuple[bool, int]]]:
    answer = (await world.get("/v1/summaries/cadres", unit=GRID, **query)).json()
    groups = {group["party_member"]: group["visits"] for group in answer["groups"]}
    return groups, [(row["party_member"], row["visits"]) for row in answer["items"]]


async def test_a_members_numbers_follow_the_dates(world: World) -> None:
    await visits_on(world, "2026-11-16", "2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")
    spans = [{"joined_on": "2026-11-18", "left_on": "2026-11-20"}]
    changed = await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"party_membership": spans})
    assert (changed.status_code, changed.json()["party_member"]) == (200, False)
    groups, rows = await table(world, **WEEK)
    assert (groups, rows) == ({True: 2, False: 3}, [(False, 5)])
    assert (await table(world, party_member=True, **WEEK))[1] == [(True, 2)]
    assert (await table(world, party_member=False, **WEEK))[1] == [(False, 3)]
    month = {"month": "2026-11"}
    assert (await table(world, **month))[0] == {True: 2, False: 3}
    days = {"from": "2026-11-17", "to": "2026-11-18"}
    assert await table(world, **days) == ({True: 1, False: 1}, [(True, 2)])
    spans = [{"left_on": "2026-11-17"}, {"joined_on": "2026-11-20"}]
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"party_membership": spans})
    assert await table(world, **WEEK) == ({True: 2, False: 3}, [(True, 5)])
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"party_member": True})
    assert await table(world, **WEEK) == ({True: 5}, [(True, 5)])
    await call(world, "PATCH", f"/v1/cadres/{WORKER}", {"party_membership": []})
    assert await table(world, **WEEK) == ({False: 5}, [(False, 5)])
