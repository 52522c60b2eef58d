"""The supervisor's week: every number by the credit rule."""

from typing import Any

import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

WEEK = "2026-W47"


async def week(
    world: World, unit: str = TOWNSHIP, name: str = WEEK, staff_code: str = SUPERVISOR
) -> Any:
    response = await world.get("/v1/summaries/weekly", staff_code, unit=unit, week=name)
    assert response.status_code == 200, response.text
    return response.json()


async def cadre(world: World, staff_code: str, **query: Any) -> Any:
    period = query or {"week": WEEK}
    rows = (await world.get("/v1/summaries/cadres", SUPERVISOR, unit=TOWNSHIP, **period)).json()[
        "items"
    ]
    return next((row for row in rows if row["staff_code"] == staff_code), None)


def problem(phone: Any, raised_at: str, **fields: Any) -> str:
    plain = {"title": "水管冻裂", "duty": "emergency", "severity": "urgent", "raised_at": raised_at}
    made: str = phone.put("problem", plain | fields, grid=GRID)
    return made


def step(phone: Any, problem_id: str, action: str, at: str, **fields: Any) -> None:
    phone.put("step", {"problem_id": problem_id, "action": action, "at": at, **fields}, grid=GRID)


async def test_a_week_counts_visits_households_and_problems(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    houses = [view.id for view in phone.records("household")]
    for house, at in ((0, "16T09:00"), (0, "17T09:00"), (1, "18T23:59"), (2, "23T00:00")):
        phone.put(
            "visit",
            {
                "household_id": houses[house],
                "visited_at": f"2026-11-{at}:00+08:00",
                "duties": {"add": ["emergency", "public_order"]},
            },
            grid=GRID,
        )
    solved = problem(phone, "2026-11-17T09:00:00+08:00")
    step(phone, solved, "resolve", "2026-11-17T15:00:00+08:00")
    problem(phone, "2026-11-18T09:00:00+08:00", duty="public_order")
    world.clock.forward(days=4)
    await phone.sync()

    summary = await week(world)

    assert summary["totals"] == {
        "visits": 3,
        "households_visited": 2,
        "households": 3 * len(await world.fetch("SELECT FROM unit WHERE parent = $1", VILLAGE)),
        "problems_raised": 2,
        "problems_resolved": 1,
        "problems_open": 1,
        "problems_overdue": 0,
        "median_hours_to_resolve": 6.0,
        "coverage": round(
            2 / (3 * len(await world.fetch("SELECT FROM unit WHERE parent = $1", VILLAGE))), 4
        ),
        "contact_households": 0,
        "contact_households_visited": 0,
        "resolution_rate": 0.5,
        "flow_resolution_rate": 0.5,
        "disputes_raised": 0,
        "disputes_settled": 0,
        "worries_raised": 0,
        "worries_answered": 0,
        "problems_raised_resolved": 1,
        "cohort_resolution_rate": 0.5,
    }
    by_duty = {row["duty"]: row for row in summary["duties"]}
    assert by_duty["emergency"] | {"label": ""} == {
        "duty": "emergency",
        "label": "",
        "visits": 3,
        "problems_raised": 1,
        "problems_resolved": 1,
    }
    assert by_duty["public_order"]["visits"] == 3
    children = {row["unit"]["code"]: row["totals"]["visits"] for row in summary["units"]}
    assert children[VILLAGE] == 3
    assert sum(children.values()) == 3
    assert summary["late_arrivals"] == 5
    assert (await week(world, name="2026-W48"))["previous"]["visits"] == 3
    assert (await week(world, unit=OTHER_GRID))["totals"]["visits"] == 0


async def test_credit_goes_to_who_raised_and_to_whose_resolution_stands(world: World) -> None:
    worker, secretary = world.phone(), world.phone(SECRETARY)
    one = problem(worker, "2026-11-17T09:00:00+08:00")
    await worker.sync()
    await secretary.sync()
    step(secretary, one, "resolve", "2026-11-18T09:00:00+08:00")
    await secretary.sync()
    assert (await cadre(world, WORKER))["problems_raised"] == 1
    assert (await cadre(world, SECRETARY))["problems_resolved"] == 1

    world.clock.forward(minutes=1)
    step(worker, one, "reopen", "2026-11-19T09:00:00+08:00")
    await worker.sync()
    assert await cadre(world, SECRETARY) is None
    assert (await week(world))["totals"]["problems_open"] == 1

    world.clock.forward(minutes=1)
    step(worker, one, "resolve", "2026-11-19T10:00:00+08:00")
    await worker.sync()
    assert (await cadre(world, WORKER))["problems_resolved"] == 1


async def test_the_rate_of_a_cohort_is_not_that_of_a_flow(world: World) -> None:
    phone = world.phone()
    old = problem(phone, "2026-11-10T09:00:00+08:00")
    step(phone, old, "resolve", "2026-11-17T09:00:00+08:00")
    problem(phone, "2026-11-17T09:00:00+08:00")
    await phone.sync()
    for name, raised, resolved, of_raised in ((WEEK, 1, 1, 0), ("2026-W46", 1, 0, 1)):
        totals = (await week(world, name=name))["totals"]
        assert (totals["problems_raised"], totals["problems_resolved"]) == (raised, resolved)
        assert totals["problems_raised_resolved"] == of_raised
        assert totals["resolution_rate"] == totals["flow_resolution_rate"] == resolved / raised
        assert totals["cohort_resolution_rate"] == of_raised / raised
    assert (await week(world))["totals"]["problems_open"] == 1


async def test_only_party_members_who_exist_are_contact_members(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    houses = sorted(view.id for view in phone.records("household"))
    for house, member in zip(houses, (SECRETARY, WORKER, "nobody"), strict=True):
        await world.fetch(
            "UPDATE household SET contact_member = $2, lead_member = $2 WHERE id = $1::uuid",
            house,
            member,
        )
    for staff_code, is_member in ((SECRETARY, True), (WORKER, False)):
        sql = "UPDATE cadre SET party_member = $2 WHERE staff_code = $1"
        await world.fetch(sql, staff_code, is_member)
    for role, listed in (("contact", [SECRETARY]), ("lead", [SECRETARY, WORKER])):
        table = (await world.get("/v1/summaries/members", unit=GRID, week=WEEK, role=role)).json()
        assert sorted(row["staff_code"] for row in table["items"]) == listed
        assert (table["households"], table["without_one"]) == (3, 0)
        assert (table["unknown"], table["outside_party"]) == (1, 1)


async def test_rejected_problems_count_nowhere(world: World) -> None:
    phone = world.phone()
    one = problem(phone, "2026-11-17T09:00:00+08:00")
    step(phone, one, "reject", "2026-11-17T10:00:00+08:00", reason="unfounded")
    await phone.sync()
    totals = (await week(world))["totals"]
    assert (totals["problems_raised"], totals["problems_open"]) == (0, 0)


async def test_a_deleted_visit_is_taken_out_of_the_numbers(world: World) -> None:
    phone = world.phone()
    visit = phone.put("visit", {"visited_at": "2026-11-17T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    assert (await week(world))["totals"]["visits"] == 1
    phone.delete("visit", visit, grid=GRID)
    await phone.sync()
    assert (await week(world))["totals"]["visits"] == 0


async def test_overdue_stands_with_the_cadre_in_whose_hands_the_problem_is(world: World) -> None:
    phone = world.phone()
    one = problem(phone, "2026-11-16T09:00:00+08:00", severity="emergency")
    step(phone, one, "handle", "2026-11-16T10:00:00+08:00")
    await phone.sync()
    assert (await cadre(world, WORKER))["problems_overdue"] == 1
    assert (await week(world))["totals"]["problems_overdue"] == 1


async def test_months_and_any_span_of_days_work_too(world: World) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-01T00:00:00+08:00"}, grid=GRID)
    phone.put("visit", {"visited_at": "2026-10-31T23:59:59+08:00"}, grid=GRID)
    await phone.sync()
    monthly = (await world.get("/v1/summaries/monthly", unit=TOWNSHIP, month="2026-11")).json()
    assert (monthly["totals"]["visits"], monthly["previous"]["visits"]) == (1, 1)
    assert (await cadre(world, WORKER, month="2026-11"))["visits"] == 1
    days = await world.get(
        "/v1/summaries/cadres", unit=TOWNSHIP, **{"from": "2026-10-31", "to": "2026-11-01"}
    )
    assert days.json()["items"][0]["visits"] == 2


async def test_ranks_appear_only_where_the_setting_allows_them(world: World) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-17T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    assert (await cadre(world, WORKER))["rank"] is None
    world.state.settings.rank = True
    assert (await cadre(world, WORKER))["rank"] == 1


@pytest.mark.parametrize(
    ("query", "status", "slug"),
    [
        ({"unit": TOWNSHIP, "week": "2026-W54"}, 422, "invalid"),
        ({"unit": TOWNSHIP, "week": "last"}, 422, "invalid"),
        ({"unit": TOWNSHIP}, 422, "invalid"),
        ({"week": WEEK}, 422, "invalid"),
        ({"unit": "9999", "week": WEEK}, 404, "not-found"),
        ({"unit": "1502", "week": WEEK}, 404, "not-found"),
        ({"unit": FAR_GRID, "week": WEEK}, 404, "not-found"),
        ({"unit": TOWNSHIP + "999", "week": WEEK}, 404, "not-found"),
        ({"unit": TOWNSHIP + "%", "week": WEEK}, 404, "not-found"),
    ],
)
async def test_a_wrong_unit_or_week_is_a_clear_problem(
    world: World, query: dict[str, str], status: int, slug: str
) -> None:
    response = await world.get("/v1/summaries/weekly", **query)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"week": WEEK, "month": "2026-11"},
        {"from": "2026-11-01"},
        {"from": "2026-11-02", "to": "2026-11-01"},
        {"month": "2026-13"},
    ],
)
async def test_cadres_need_one_clear_period(world: World, query: dict[str, str]) -> None:
    response = await world.get("/v1/summaries/cadres", unit=TOWNSHIP, **query)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid")
