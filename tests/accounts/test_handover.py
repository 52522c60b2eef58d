"""Households tied many at once, what a cadre has in hand, and passing all of it on: as mutations
that reach phones and stand in the history.
"""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from simulator.places import NOW, SUPERVISOR, VILLAGE
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

ADMIN = "admin"
MEMBER = f"C{VILLAGE}-2"
COLLEAGUE = f"W{GRID}-2"
FAR = f"W{FAR_GRID}-1"
NEIGHBOUR = f"W{OTHER_GRID}-1"


async def call(world: World, method: str, path: str, body: Any = None, who: str = SECRETARY) -> Any:
    world.clock.forward(milliseconds=1)
    headers = {"Authorization": f"Bearer {await world.token(who)}"}
    return await world.client.request(method, path, json=body, headers=headers)


async def tie(world: World, code: str = MEMBER, who: str = SECRETARY, **body: Any) -> Any:
    given = {"role": "contact", "filter": {"unit": VILLAGE}} | body
    return await call(world, "POST", f"/v1/cadres/{code}/households", given, who)


async def ties(world: World, field: str = "contact_member") -> dict[str, str | None]:
    rows = await world.fetch(f"SELECT id::text, {field} AS code FROM household WHERE NOT deleted")
    return {row["id"]: row["code"] for row in rows}


async def loose(world: World) -> list[str]:
    """Takes the ties of the roster away; the households of the village by grid."""
    await world.fetch("UPDATE household SET contact_member = NULL, lead_member = NULL")
    rows = await world.fetch("SELECT id::text FROM household ORDER BY grid, id")
    return [row["id"] for row in rows]


async def raised(world: World, holder: str | None, grid: str = GRID, who: str = SECRETARY) -> str:
    """A problem, in somebody's hands."""
    fields = {"title": "水管冻裂", "duty": "emergency"}
    made = await world.post("/v1/problems", {"grid": grid, "fields": fields}, who)
    assert made.status_code == 201, made.text
    id = str(made.json()["id"])
    if holder is not None:
        step = {"action": "assign", "fields": {"to_cadre": holder}}
        assert (await world.post(f"/v1/problems/{id}/steps", step, who)).status_code == 201
    return id


# --------------------------------------------------------------------------------- tied households


async def test_a_filter_ties_every_household_at_once_and_it_reaches_the_phones(
    world: World,
) -> None:
    homes = await loose(world)
    phone = world.phone()
    await phone.sync()
    tried = await tie(world, dry_run=True)
    assert (tried.status_code, len(tried.json()["changed"])) == (200, len(homes))
    assert set((await ties(world)).values()) == {None}
    done = (await tie(world)).json()
    assert done | {"dry_run": True} == tried.json()
    assert set((await ties(world)).values()) == {MEMBER}
    assert (done["households"], done["unchanged"], done["taken_from"]) == (len(homes), 0, [])
    await phone.sync()
    assert {view.fields["contact_member"] for view in phone.records("household")} == {MEMBER}
    assert await phone.verify() == []
    again = (await tie(world)).json()
    assert (again["changed"], again["unchanged"]) == ([], len(homes))
    history = (await world.get(f"/v1/history/household/{homes[0]}", SECRETARY)).json()["items"]
    assert history[-1]["staff_code"] == SECRETARY
    table = await world.get(
        "/v1/summaries/members", SECRETARY, unit=GRID, week="2026-W47", role="contact"
    )
    assert table.json()["without_one"] == 0
    assert [(row["staff_code"], row["households"]) for row in table.json()["items"]] == [
        (MEMBER, 3)
    ]


async def test_filters_narrow_and_what_is_taken_from_others_is_told(world: World) -> None:
    homes = await loose(world)
    await tie(world, NEIGHBOUR, ids=homes[:2], filter=None)
    without = (await tie(world, filter={"unit": VILLAGE, "without_one": True})).json()
    assert sorted(without["changed"]) == sorted(homes[2:])
    held = {"unit": VILLAGE, "held_by": NEIGHBOUR}
    taken = (await tie(world, filter=held)).json()
    assert taken["taken_from"] == [{"staff_code": NEIGHBOUR, "households": 2}]
    assert sorted(taken["changed"]) == sorted(homes[:2])
    released = (await tie(world, ids=homes[:2], filter=None, release=True)).json()
    assert sorted(released["changed"]) == sorted(homes[:2])
    assert sorted(id for id, code in (await ties(world)).items() if code is None) == sorted(
        homes[:2]
    )
    await world.fetch("UPDATE household SET tags = '{veteran}' WHERE id = $1", homes[0])
    tagged = (await tie(world, filter={"tag": "veteran"})).json()
    assert tagged["changed"] == [homes[0]]


async def test_who_does_not_see_the_households_is_warned_of(world: World) -> None:
    await loose(world)
    body = {"role": "contact", "filter": {"unit": GRID}}
    path = f"/v1/cadres/{NEIGHBOUR}/households"
    codes = [item["code"] for item in (await call(world, "POST", path, body)).json()["warnings"]]
    assert codes == ["not-shown"]
    assert (await tie(world, filter={"unit": GRID})).json()["warnings"] == []
    # A handover tells of it, too, also one that is only tried.
    for dry_run in (True, False):
        passed = (await hand_over(world, MEMBER, NEIGHBOUR, dry_run=dry_run)).json()
        assert passed["contact_households"] > 0
        assert [item["code"] for item in passed["warnings"]] == ["not-shown"]


async def test_supervisors_and_secretaries_tie_households_and_never_to_themselves(
    world: World,
) -> None:
    """Who only supervises writes no household else, but decides this."""
    homes = await loose(world)
    assert (await tie(world, who=SUPERVISOR)).status_code == 200
    assert set((await ties(world)).values()) == {MEMBER}
    for who in (SECRETARY, SUPERVISOR, ADMIN):
        own = await call(
            world, "POST", f"/v1/cadres/{who}/households", {"role": "lead", "ids": homes}, who
        )
        assert own.status_code == 403, who
    for who in (WORKER, MEMBER):
        assert (await tie(world, COLLEAGUE, who)).status_code == 403, who
    await call(world, "POST", f"/v1/cadres/{SECRETARY}/households",
               {"role": "contact", "ids": homes[:1]}, SUPERVISOR)  # fmt: skip
    assert (await ties(world))[homes[0]] == SECRETARY
    # Nor away from themselves.
    assert (await tie(world, ids=homes[:1], filter=None)).status_code == 403
    assert (await tie(world)).status_code == 403
    assert (await ties(world))[homes[0]] == SECRETARY


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"filter": None}, 422),
        ({"ids": ["0192f3a1-0000-7000-8000-000000000001"]}, 422),
        ({"filter": None, "ids": []}, 422),
        ({"filter": None, "ids": ["x"]}, 422),
        ({"filter": None, "ids": ["0192f3a1-0000-7000-8000-000000000001"]}, 404),
        ({"filter": {"unit": FAR_GRID}}, 404),
        ({"filter": {"unit": "1502"}}, 404),
        ({"filter": {"tag": "Rich!"}}, 422),
        ({"filter": {"held_by": "a\0"}}, 422),
        ({"role": "owner"}, 422),
    ],
)
async def test_what_cannot_be_tied_ties_nothing(
    world: World, body: dict[str, Any], status: int
) -> None:
    before = await ties(world)
    answer = await tie(world, **body)
    assert answer.status_code == status, answer.text
    assert await ties(world) == before


async def test_strangers_and_the_erased_get_no_household(world: World) -> None:
    await loose(world)
    for code in (FAR, "nobody", SUPERVISOR):
        assert (await tie(world, code)).status_code == 404, code
    await world.fetch(
        "INSERT INTO erasure (kind, subject, reason, asked_by, begun_at, done, removed)"
        " VALUES ('cadre', $1, 'x', 'admin', $2, '[]', '{}')",
        MEMBER,
        NOW,
    )
    assert (await tie(world)).status_code == 409
    assert set((await ties(world)).values()) == {None}


async def test_who_has_no_post_near_is_refused_as_a_whole(world: World) -> None:
    await loose(world)
    await world.fetch(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1", MEMBER, NOW - timedelta(days=9)
    )
    answer = await tie(world)
    assert (answer.status_code, answer.json()["reason"]) == (422, "reference-outside")
    assert set((await ties(world)).values()) == {None}


async def test_a_contact_member_gets_the_tied_households_with_the_next_sync(world: World) -> None:
    homes = await loose(world)
    await world.fetch("UPDATE post SET role = 'contact_member' WHERE staff_code = $1", MEMBER)
    phone = world.phone(MEMBER)
    await phone.sync()
    assert phone.records("household") == []
    await tie(world, ids=homes[:2], filter=None)
    await phone.sync()
    assert {view.id for view in phone.records("household")} == set(homes[:2])
    await tie(world, COLLEAGUE, ids=homes[:1], filter=None)
    await phone.sync()
    assert {view.id for view in phone.records("household")} == {homes[1]}
    assert await phone.verify() == []


# ------------------------------------------------------------------------------------- handing over


async def hand_over(world: World, code: str, to: str, who: str = SECRETARY, **body: Any) -> Any:
    return await call(world, "POST", f"/v1/cadres/{code}/handover", {"to": to} | body, who)


async def test_all_that_a_leaving_cadre_has_in_hand_is_listed_and_passed_on_once(
    world: World,
) -> None:
    homes = await loose(world)
    mine = [await raised(world, MEMBER), await raised(world, MEMBER, OTHER_GRID)]
    await raised(world, COLLEAGUE)
    closed = await raised(world, MEMBER)
    step = {"action": "reject", "fields": {"reason": "unfounded"}}
    assert (await world.post(f"/v1/problems/{closed}/steps", step, SECRETARY)).status_code == 201
    await tie(world, ids=homes[:2], filter=None)
    await tie(world, ids=homes[1:4], filter=None, role="lead")
    listed = (await world.get(f"/v1/cadres/{MEMBER}/in-hand", SECRETARY)).json()
    assert {problem["id"] for problem in listed["problems"]} == set(mine)
    assert sorted(home["id"] for home in listed["contact_households"]) == sorted(homes[:2])
    assert sorted(home["id"] for home in listed["contracted_households"]) == sorted(homes[1:4])
    assert (await world.get(f"/v1/cadres/{MEMBER}/in-hand", MEMBER)).json() == listed
    assert (await world.get(f"/v1/cadres/{MEMBER}/in-hand", WORKER)).status_code == 404

    to = f"C{VILLAGE}-3"
    tried = await hand_over(world, MEMBER, to, dry_run=True)
    assert (tried.status_code, tried.json()["left"]) == (200, 0), tried.text
    assert (await world.get(f"/v1/cadres/{MEMBER}/in-hand", SECRETARY)).json() == listed
    done = (await hand_over(world, MEMBER, to, note="退休")).json()
    assert done | {"dry_run": True} == tried.json()
    assert (done["problems"], done["contact_households"], done["contracted_households"]) == (
        2,
        2,
        3,
    )
    after = (await world.get(f"/v1/cadres/{to}/in-hand", SECRETARY)).json()
    assert {problem["id"] for problem in after["problems"]} == set(mine)
    assert {problem["state"] for problem in after["problems"]} == {"assigned"}
    assert after["contact_households"] == listed["contact_households"]
    timeline = (await world.get(f"/v1/problems/{mine[0]}", SECRETARY)).json()["steps"]
    assert (timeline[-1]["by"], timeline[-1]["fields"]["note"]) == (SECRETARY, "退休")
    again = (await hand_over(world, MEMBER, to)).json()
    assert (again["problems"], again["contact_households"], again["left"]) == (0, 0, 0)
    [line] = await world.fetch(
        "SELECT count(*) FROM audit WHERE action = 'handed-over' AND subjects = $1", [MEMBER, to]
    )
    assert line["count"] == 2


async def test_two_handovers_at_once_pass_everything_on_once(world: World) -> None:
    for _ in range(4):
        await raised(world, MEMBER)
    await world.token(SECRETARY)
    answers = await asyncio.gather(
        *(hand_over(world, MEMBER, to) for to in (COLLEAGUE, f"C{VILLAGE}-3"))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["problems"] for answer in answers) == [0, 4]
    rows = await world.fetch("SELECT DISTINCT handler_cadre FROM case_file")
    assert len(rows) == 1


async def test_somebody_who_has_gone_elsewhere_leaves_here_what_was_here(world: World) -> None:
    here = await raised(world, WORKER)
    await world.transfer(WORKER, FAR_GRID)
    there = await raised(world, WORKER, FAR_GRID, f"C{FAR_GRID[:12]}-1")
    done = await hand_over(world, WORKER, COLLEAGUE)
    assert (done.status_code, done.json()["problems"]) == (200, 1), done.text
    rows = await world.fetch("SELECT problem::text, handler_cadre FROM case_file")
    assert {row["problem"]: row["handler_cadre"] for row in rows} == {
        here: COLLEAGUE,
        there: WORKER,
    }


async def test_what_is_handled_above_is_not_passed_on_from_below(world: World) -> None:
    """The village's secretary does not take a problem out of the township's hands."""
    id = await raised(world, None)
    escalated = {"action": "escalate", "fields": {}}
    await world.post(f"/v1/problems/{id}/steps", escalated, SECRETARY)
    step = {"action": "assign", "fields": {"to_cadre": MEMBER}}
    await world.post(f"/v1/problems/{id}/steps", step, SUPERVISOR)
    done = (await hand_over(world, MEMBER, COLLEAGUE)).json()
    assert (done["problems"], done["left"]) == (0, 1)
    assert (await hand_over(world, MEMBER, COLLEAGUE, SUPERVISOR)).json()["problems"] == 1


async def test_nobody_takes_households_over_for_themselves(world: World) -> None:
    homes = await loose(world)
    await tie(world, ids=homes[:2], filter=None)
    problem = await raised(world, MEMBER)
    assert (await hand_over(world, MEMBER, SECRETARY)).status_code == 403
    assert (await ties(world))[homes[0]] == MEMBER
    only = await hand_over(world, MEMBER, SECRETARY, what=["problems"])
    assert (only.json()["problems"], only.json()["left"]) == (1, 2)
    rows = await world.fetch("SELECT handler_cadre FROM case_file WHERE problem = $1", problem)
    assert rows[0]["handler_cadre"] == SECRETARY
    assert (await hand_over(world, MEMBER, SECRETARY, SUPERVISOR)).status_code == 200


@pytest.mark.parametrize(
    ("to", "body", "status"),
    [
        (MEMBER, {}, 422),
        ("nobody", {}, 404),
        (FAR, {}, 404),
        ("a\0b", {}, 422),
        ("", {}, 422),
        (COLLEAGUE, {"what": []}, 422),
        (COLLEAGUE, {"what": ["visits"]}, 422),
        (COLLEAGUE, {"extra": 1}, 422),
    ],
)
async def test_what_cannot_be_passed_on_stays(
    world: World, to: str, body: dict[str, Any], status: int
) -> None:
    await raised(world, MEMBER)
    answer = await hand_over(world, MEMBER, to, **body)
    assert answer.status_code == status, answer.text
    rows = await world.fetch("SELECT handler_cadre FROM case_file")
    assert [row["handler_cadre"] for row in rows] == [MEMBER]


@pytest.mark.parametrize("seed", range(3))
async def test_handovers_and_ties_at_random_lose_nothing(world: World, seed: int) -> None:
    """Each household keeps one holder at most, each problem its one, and numbers agree with what is
    listed.
    """
    rng = random.Random(seed)
    homes = await loose(world)
    people = [MEMBER, f"C{VILLAGE}-3", COLLEAGUE, WORKER]
    expected: dict[str, str | None] = dict.fromkeys(homes)
    problems = {await raised(world, person): person for person in people}
    for _ in range(15):
        one, two = rng.sample(people, 2)
        if rng.random() < 0.5:
            chosen = rng.sample(homes, rng.randint(1, 4))
            release = rng.random() < 0.3
            done = await tie(world, one, ids=chosen, filter=None, release=release)
            assert done.status_code == 200
            for id in chosen:
                if not release:
                    expected[id] = one
                elif expected[id] == one:
                    expected[id] = None
        else:
            assert (await hand_over(world, one, two)).status_code == 200
            expected = {id: two if code == one else code for id, code in expected.items()}
            problems = {id: two if code == one else code for id, code in problems.items()}
    assert await ties(world) == expected
    rows = await world.fetch("SELECT problem::text, handler_cadre FROM case_file")
    assert {row["problem"]: row["handler_cadre"] for row in rows} == problems
    for person in people:
        listed = (await world.get(f"/v1/cadres/{person}/in-hand", SECRETARY)).json()
        assert len(listed["contact_households"]) == [*expected.values()].count(person)
        assert len(listed["problems"]) == [*problems.values()].count(person)
