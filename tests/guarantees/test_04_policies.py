"""Promise 4: each policy over two phones and the real server; the pure rules are tested in
`sync_protocol/tests/test_merge`.
"""

from typing import Any

import pytest

from tests.world import GRID, SECRETARY, WORKER, World

AT = "2026-11-20T01:00:00.000Z"
HOUSE = {"head_name": "苏和", "phone": "0", "tags": {"add": ["veteran"]}}
PROBLEM = {
    "title": "水管",
    "duty": "emergency",
    "severity": "ordinary",
    "raised_at": AT,
    "source": "visit",
}

# kind, the record, the earlier edit, the later edit, what stays, what lost (by the rule's first
# word)
CASES: list[Any] = [
    ("household", HOUSE, {"phone": "1"}, {"phone": "2"}, {"phone": "2"}, [("1", "latest")]),
    ("household", HOUSE, {"note": "甲"}, {"note": "乙"}, {"note": "乙"}, [("甲", "text")]),
    ("household", HOUSE, {"phone": None}, {"phone": "2"}, {"phone": "2"}, [(None, "latest")]),
    (
        "household",
        HOUSE,
        {"tags": {"add": ["disabled"]}},
        {"tags": {"add": ["low_income"]}},
        {"tags": ["disabled", "low_income", "veteran"]},
        [],
    ),
    (
        "household",
        HOUSE,
        {"tags": {"add": ["veteran"]}},
        {"tags": {"remove": ["veteran"]}},
        {"tags": ["veteran"]},
        [({"remove": ["veteran"]}, "set")],
    ),
    (
        "household",
        HOUSE,
        {"tags": {"remove": ["veteran"]}},
        {"tags": {"remove": ["veteran"]}},
        {"tags": None},
        [],
    ),
    (
        "problem",
        PROBLEM,
        {"severity": "emergency"},
        {"severity": "urgent"},
        {"severity": "emergency"},
        [("urgent", "most_severe")],
    ),
    (
        "problem",
        PROBLEM,
        {"source": "app"},
        {"title": "水管冻裂"},
        {"source": "visit", "title": "水管冻裂"},
        [("app", "fixed")],
    ),
]


@pytest.mark.parametrize("order", ["earlier first", "later first"])
@pytest.mark.parametrize(("kind", "record", "earlier", "later", "stays", "lost"), CASES)
async def test_what_stays_does_not_depend_on_who_syncs_first(
    world: World,
    kind: str,
    record: Any,
    earlier: Any,
    later: Any,
    stays: Any,
    lost: Any,
    order: str,
) -> None:
    third, one, two = world.phone(WORKER), world.phone(WORKER), world.phone(SECRETARY)
    made = third.put(kind, record, grid=GRID)
    for phone in (third, one, two):
        await phone.sync()
    one.put(kind, earlier, grid=GRID, id=made)
    world.clock.forward(minutes=3)
    two.put(kind, later, grid=GRID, id=made)

    for phone in (one, two, one, third) if order == "earlier first" else (two, one, two, third):
        await phone.sync()

    copies = [
        next(view.fields for view in phone.records(kind) if view.id == made)
        for phone in (one, two, third)
    ]
    assert copies[0] == copies[1] == copies[2]
    assert {name: copies[0].get(name) for name in stays} == stays
    found = (await world.get("/v1/conflicts", SECRETARY, record=made)).json()["items"]
    assert [(item["lost"], item["rule"].split(":")[0]) for item in found] == lost


@pytest.mark.parametrize("order", ["edit first", "deletion first"])
async def test_an_edit_wins_over_a_deletion_that_did_not_know_of_it(
    world: World, order: str
) -> None:
    one, two = world.phone(WORKER), world.phone(SECRETARY)
    made = one.put("household", HOUSE, grid=GRID)
    await one.sync()
    await two.sync()
    one.put("household", {"phone": "1"}, grid=GRID, id=made)
    world.clock.forward(minutes=3)
    two.delete("household", made, grid=GRID)
    for phone in (one, two, one) if order == "edit first" else (two, one, two):
        await phone.sync()
    for phone in (one, two):
        assert (
            next(view.fields["phone"] for view in phone.records("household") if view.id == made)
            == "1"
        )
    [conflict] = (await world.get("/v1/conflicts", SECRETARY, record=made)).json()["items"]
    assert (conflict["field"], conflict["kept"], conflict["lost"], conflict["lost_by"]) == (
        "deleted",
        False,
        True,
        SECRETARY,
    )


async def test_two_cadres_who_resolve_the_same_problem_offline_never_conflict(world: World) -> None:
    one, two = world.phone(WORKER), world.phone(SECRETARY)
    made = one.put("problem", PROBLEM, grid=GRID)
    await one.sync()
    await two.sync()
    for phone in (one, two):
        phone.put("step", {"problem_id": made, "action": "resolve", "at": AT}, grid=GRID)
        world.clock.forward(minutes=1)
    for phone in (two, one, two):
        report = await phone.sync()
        assert {verdict.outcome for verdict in report.verdicts} <= {"applied"}
    [case] = await world.fetch("SELECT state, resolved_by FROM case_file")
    assert tuple(case) == ("resolved", WORKER)
    assert (await world.get("/v1/conflicts", SECRETARY)).json()["items"] == []


async def test_a_step_is_never_deleted(world: World) -> None:
    phone = world.phone()
    made = phone.put("problem", PROBLEM, grid=GRID)
    step = phone.put("step", {"problem_id": made, "action": "accept", "at": AT}, grid=GRID)
    phone.delete("step", step, grid=GRID)
    report = await phone.sync()
    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts][-1] == (
        "held",
        "append-only",
    )
