"""The loop's gaps, drafts, texts, seals, households and a cadre's own page."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from service.kit.settings import Settings
from service.kit.workdays import is_provisional, is_workday
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol import periods
from sync_protocol.moments import moment_at
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, Phone, World

MEMBER = f"C{VILLAGE}-2"
WEEK = "2026-W47"  # 16 to 22 November 2026; the world's clock stands at Friday the 20th, 10:00


def go(world: World, text: str) -> None:
    """Moves the clock to a moment in Baotou."""
    world.clock.stand_at(datetime.fromisoformat(text + "+08:00").astimezone(UTC))


def visit(world: World, phone: Phone, at: str | None = None, **fields: Any) -> None:
    phone.put(
        "visit",
        {"visited_at": at + "+08:00" if at else moment_at(world.clock.ms()), **fields},
        grid=GRID,
    )


async def loop(world: World, staff_code: str = SUPERVISOR, **query: Any) -> Any:
    response = await world.get("/v1/loop", staff_code, **query)
    assert response.status_code == 200, response.text
    return response.json()


async def test_days_are_on_time_late_or_missing_by_when_they_were_written(world: World) -> None:
    go(world, "2026-11-16T08:00:00")
    phone = world.phone()
    await phone.sync()
    visit(world, phone)  # Monday, written on Monday, handed in on Thursday
    go(world, "2026-11-18T20:00:00")
    visit(world, phone, "2026-11-17T09:00:00")  # Tuesday's, written on Wednesday
    go(world, "2026-11-19T09:00:00")
    await phone.sync()

    answer = await loop(world, unit=GRID, week=WEEK)

    [item] = answer["items"]
    assert item["days"] == {"2026-11-16": "on_time", "2026-11-17": "late", "2026-11-18": "missing"}
    assert (item["days_due"], item["days_visited"]) == (3, 2)
    assert (answer["on_time"]["visit"], answer["late"]["visit"], answer["missing"]["visit"]) == (
        1,
        1,
        1,
    )
    assert item["analysis"] is None  # not due yet


async def test_analyses_and_summaries_by_their_deadlines(world: World) -> None:
    one, two = world.phone(WORKER), world.phone(f"W{OTHER_GRID}-1")
    go(world, "2026-11-23T11:59:00")
    one.put("weekly_analysis", {"week": WEEK, "situation": "平稳"}, grid=GRID)
    go(world, "2026-11-23T12:01:00")
    two.put("weekly_analysis", {"week": WEEK, "situation": "迟了"}, grid=OTHER_GRID)
    go(world, "2026-12-03T17:00:00")
    one.put("monthly_summary", {"month": "2026-11", "results": "好"}, grid=GRID)
    go(world, "2026-12-05T09:00:00")
    for phone in (one, two):
        await phone.sync()

    week = await loop(world, unit=VILLAGE, week=WEEK)
    month = await loop(world, unit=VILLAGE, month="2026-11")

    grids = week["grids"]
    by_grid = {item["grid"]["code"]: item for item in week["items"]}
    assert [by_grid[grid]["analysis"] for grid in (GRID, OTHER_GRID)] == ["on_time", "late"]
    assert {
        item["analysis"] for grid, item in by_grid.items() if grid not in (GRID, OTHER_GRID)
    } == {"missing"}
    counts = [week[name]["weekly_analysis"] for name in ("on_time", "late", "missing")]
    assert counts == [1, 1, grids - 2]
    assert [month[name]["monthly_summary"] for name in ("on_time", "late", "missing")] == [
        1,
        0,
        grids - 1,
    ]
    mine = next(item for item in month["items"] if item["grid"]["code"] == GRID)
    assert mine["summary"] == "on_time"
    # The weeks that end in November: 44 to 48, of which 48 ends on the 29th.
    assert list(mine["analyses"]) == ["2026-W44", "2026-W45", "2026-W46", "2026-W47", "2026-W48"]
    assert mine["analysis"] == "missing"
    summary = (await world.get("/v1/summaries/weekly", unit=VILLAGE, week=WEEK)).json()["loop"]
    assert summary["logs"]["weekly_analysis"] == {
        "on_time": 1,
        "late": 1,
        "missing": grids - 2,
        "not_due": 0,
    }
    assert len(summary["silent"]) == grids


async def test_spring_festival_is_no_silence(world: World) -> None:
    go(world, "2027-03-01T09:00:00")
    answer = await loop(world, unit=GRID, month="2027-02")
    assert answer["provisional"] is True
    [item] = answer["items"]
    assert "2027-02-08" not in item["days"]  # the days around 6 February 2027 are off
    assert item["days_due"] < 20


def test_official_make_up_days_count_and_unknown_years_are_provisional() -> None:
    from datetime import date

    assert not is_workday(date(2025, 10, 1))
    assert is_workday(date(2025, 9, 28))  # a Sunday, worked for the National Day week
    assert not is_provisional(date(2025, 10, 1))
    assert is_provisional(date(2040, 1, 1))
    assert not is_workday(date(2040, 2, 13))  # Spring Festival 2040 is on 12 February


async def test_the_loop_of_a_unit_comes_in_pages(world: World) -> None:
    codes: list[str] = []
    after = None
    while True:
        answer = await loop(
            world, unit=TOWNSHIP, week=WEEK, limit=5, **({"after": after} if after else {})
        )
        codes += [item["grid"]["code"] for item in answer["items"]]
        after = answer["next"]
        if after is None:
            break
    assert len(codes) == answer["grids"] == len(set(codes))
    assert (await world.get("/v1/loop", unit=FAR_GRID, week=WEEK)).status_code == 404
    assert (await world.get("/v1/loop", unit=GRID)).status_code == 422


@pytest.mark.parametrize("kind", ["weekly", "monthly"])
async def test_a_draft_on_the_phone_is_that_of_the_server(world: World, kind: str) -> None:
    phone = world.phone()
    await phone.sync()
    houses = [view.id for view in phone.records("household")]
    phone.put("household", {"tags": {"add": ["elderly_alone"]}}, grid=GRID, id=houses[2])
    phone.put("household", {"tags": {"add": ["disabled"]}}, grid=GRID, id=houses[0])
    visit(
        world,
        phone,
        "2026-11-19T09:00:00",
        household_id=houses[0],
        duties={"add": ["emergency", "public_order"]},
    )
    visit(world, phone, "2026-11-18T09:00:00", household_id=houses[0])
    visit(world, phone, "2026-11-02T09:00:00", household_id=houses[1])
    for title, raised_at, actions in (
        ("a", "2026-11-17T09:00:00+08:00", ["accept", "resolve"]),
        ("b", "2026-11-17T10:00:00+08:00", []),
        ("c", "2026-11-03T10:00:00+08:00", ["resolve"]),
        ("d", "2026-11-18T10:00:00+08:00", ["reject"]),
    ):
        made = phone.put(
            "problem", {"title": title, "duty": "emergency", "raised_at": raised_at}, grid=GRID
        )
        for action in actions:
            phone.put(
                "step",
                {"problem_id": made, "action": action, "at": "2026-11-18T12:00:00+08:00"},
                grid=GRID,
            )
    await phone.sync()

    name = WEEK if kind == "weekly" else "2026-11"
    period = periods.week(name) if kind == "weekly" else periods.month(name)
    mine = json.loads(msgspec.json.encode(phone.draft(GRID, period)))
    query = {"week": name} if kind == "weekly" else {"month": name}
    theirs = (await world.get(f"/v1/drafts/{kind}", WORKER, grid=GRID, **query)).json()

    assert mine == theirs
    assert (mine["visits"], mine["households_visited"]) == ((2, 1) if kind == "weekly" else (3, 2))
    assert (mine["problems_raised"], mine["problems_resolved"], mine["problems_open"]) == (
        (2, 2, 1) if kind == "weekly" else (3, 2, 1)
    )
    assert mine["households_unvisited"] == [houses[2]]
    assert mine["duties"]["emergency"]["visits"] == 1


async def test_the_texts_of_a_week_are_read_one_after_another(world: World) -> None:
    for grid in (GRID, OTHER_GRID):
        phone = world.phone(f"W{grid}-1")
        phone.put("weekly_analysis", {"week": WEEK, "situation": f"{grid} 平稳"}, grid=grid)
        await phone.sync()
    first = (await world.get("/v1/analyses", unit=VILLAGE, week=WEEK, limit=1)).json()
    second = (
        await world.get("/v1/analyses", unit=VILLAGE, week=WEEK, limit=1, after=first["next"])
    ).json()
    assert [item["fields"]["situation"] for page in (first, second) for item in page["items"]] == [
        f"{GRID} 平稳",
        f"{OTHER_GRID} 平稳",
    ]
    assert second["next"] is None
    assert (await world.get("/v1/monthly-summaries", unit=VILLAGE, month="2026-11")).json()[
        "items"
    ] == []
    assert (
        await world.get("/v1/analyses", unit=VILLAGE, week=WEEK, after="nonsense")
    ).status_code == 422


async def test_a_sealed_week_keeps_its_numbers_and_shows_what_came_since(world: World) -> None:
    phone = world.phone()
    visit(world, phone)
    await phone.sync()
    path = f"/v1/summaries/weekly/{WEEK}/seal?unit={TOWNSHIP}"
    assert (await world.post(path, None)).json()["type"] == "/problems/not-over"
    go(world, "2026-11-24T09:00:00")
    assert (await world.post(path, None, WORKER)).status_code == 403
    sealed = (await world.post(path, None)).json()
    assert (sealed["sealed"], sealed["seal"]["by"], sealed["totals"]["visits"]) == (
        True,
        SUPERVISOR,
        1,
    )
    assert (await world.post(path, None)).json()["type"] == "/problems/already-decided"

    visit(world, phone, "2026-11-19T09:00:00")
    await phone.sync()
    week = (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week=WEEK)).json()
    assert (week["sealed"], week["totals"]["visits"], week["seal"]["arrived_since"]["visits"]) == (
        True,
        1,
        1,
    )
    assert week["seal"]["arrived_since"]["late_arrivals"] == 1
    # Asked for by a day whose tree is the same, it is the same.
    for day in ("today", "2026-11-22", "2026-11-24"):
        for path_of in ("/v1/summaries/weekly", "/v1/loop", "/v1/summaries/cadres"):
            asked = {"unit": TOWNSHIP, "week": WEEK}
            shown = (await world.get(path_of, **asked, as_of=day)).json()
            assert shown == (await world.get(path_of, **asked)).json() | {
                "tree_day": shown["tree_day"]
            }, (day, path_of)

    response = await world.client.request(
        "DELETE",
        path,
        json={"reason": "补录"},
        headers={"Authorization": f"Bearer {await world.token(SUPERVISOR)}"},
    )
    assert [
        (item["lifted"], item["lifted_by"], item["lifted_why"]) for item in response.json()
    ] == [(True, SUPERVISOR, "补录")]
    week = (await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week=WEEK)).json()
    assert (week["sealed"], week["totals"]["visits"], week["late_arrivals"]) == (False, 2, 1)
    assert len((await world.get(f"/v1/summaries/weekly/{WEEK}/seal", unit=TOWNSHIP)).json()) == 1


async def test_special_households_that_nobody_visited_are_found(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    houses = sorted(view.id for view in phone.records("household"))
    secretary = world.phone(SECRETARY)
    await secretary.sync()
    for house in houses[:2]:
        secretary.put(
            "household",
            {"tags": {"add": ["elderly_alone"]}, "contact_member": MEMBER},
            grid=GRID,
            id=house,
        )
    await secretary.sync()
    visit(world, phone, "2026-11-10T09:00:00", household_id=houses[0])
    visit(world, phone, "2026-10-01T09:00:00", household_id=houses[0])
    visit(world, phone, "2026-11-19T09:00:00", household_id=houses[2])
    await phone.sync()

    async def ids(**query: Any) -> list[tuple[str, int | None]]:
        items = (await world.get("/v1/households", unit=GRID, **query)).json()["items"]
        return [(item["id"], item["days_unvisited"]) for item in items]

    assert await ids() == [(houses[0], 10), (houses[1], None), (houses[2], 1)]
    assert await ids(tag="elderly_alone", not_visited_days=7) == [
        (houses[0], 10),
        (houses[1], None),
    ]
    assert await ids(special=True, not_visited_days=11) == [(houses[1], None)]
    assert await ids(contact_member=MEMBER, limit=1) == [(houses[0], 10)]
    totals = (await world.get("/v1/summaries/monthly", unit=GRID, month="2026-11")).json()["totals"]
    assert (
        totals["contact_households"],
        totals["contact_households_visited"],
        totals["households_visited"],
    ) == (2, 1, 2)
    rows = (
        await world.get("/v1/summaries/members", unit=GRID, month="2026-11", role="contact")
    ).json()["items"]
    assert [(row["staff_code"], row["households"], row["visited"]) for row in rows] == [
        (MEMBER, 2, 1)
    ]
    page = (await world.get(f"/v1/cadres/{MEMBER}/summary", month="2026-11")).json()
    assert page["contact_households"] == {"households": 2, "visited": 1, "visited_by_member": 0}


async def test_phones_are_masked_for_those_who_only_supervise(world: World) -> None:
    above = (await world.get("/v1/households", SUPERVISOR, unit=GRID)).json()["items"][0]["phone"]
    within = (await world.get("/v1/households", WORKER, unit=GRID)).json()["items"][0]["phone"]
    assert above == within[:3] + "****" + within[-4:]


async def test_a_cadre_reads_the_own_page_and_others_only_within_scope(world: World) -> None:
    phone = world.phone()
    visit(world, phone)
    made = phone.put(
        "problem",
        {"title": "a", "duty": "emergency", "raised_at": moment_at(world.clock.ms())},
        grid=GRID,
    )
    phone.put(
        "step",
        {"problem_id": made, "action": "resolve", "at": moment_at(world.clock.ms())},
        grid=GRID,
    )
    await phone.sync()
    supervisor = world.phone(f"C{VILLAGE}-2")
    supervisor.put(
        "step",
        {
            "problem_id": made,
            "action": "verify",
            "satisfied": "yes",
            "at": moment_at(world.clock.ms()),
        },
        grid=GRID,
    )
    await supervisor.sync()
    own = (await world.get(f"/v1/cadres/{WORKER}/summary", WORKER, week=WEEK)).json()
    assert (
        own["visits"],
        own["problems_raised"],
        own["problems_resolved"],
        own["median_hours_to_resolve"],
    ) == (1, 1, 1, 0.0)
    assert [post["unit"] for post in own["posts"]] == [GRID]
    assert (await world.get(f"/v1/cadres/C{VILLAGE}-2/summary", week=WEEK)).json()["checks"] == 1
    days = {"from": "2026-10-15", "to": "2026-11-20"}
    assert (await world.get(f"/v1/cadres/{WORKER}/summary", WORKER, **days)).json()["visits"] == 1
    assert (
        await world.get(f"/v1/cadres/{WORKER}/summary", f"S{FAR_GRID[:9]}", week=WEEK)
    ).status_code == 404
    assert (await world.get("/v1/cadres/nobody/summary", week=WEEK)).status_code == 404


async def test_party_members_and_others_are_summed_apart(world: World) -> None:
    for staff_code in (WORKER, SECRETARY):
        phone = world.phone(staff_code)
        visit(world, phone)
        await phone.sync()
    table = (
        await world.get("/v1/summaries/cadres", unit=TOWNSHIP, week=WEEK, sort="visits")
    ).json()
    members = {row["staff_code"]: row["party_member"] for row in table["items"]}
    assert set(members) == {WORKER, SECRETARY}
    assert sum(group["visits"] for group in table["groups"]) == 2
    assert {group["party_member"] for group in table["groups"]} == set(members.values())
    only = (
        await world.get("/v1/summaries/cadres", unit=TOWNSHIP, week=WEEK, party_member=True)
    ).json()["items"]
    assert [row["staff_code"] for row in only] == [
        code for code in sorted(members) if members[code]
    ]
    assert all(row["rank"] is None for row in table["items"])


async def test_ranks_only_where_the_setting_allows_them(world: World) -> None:
    phone = world.phone()
    visit(world, phone)
    await phone.sync()
    world.state.settings = world.state.settings.model_copy(update={"rank": True})
    table = (await world.get("/v1/summaries/cadres", unit=TOWNSHIP, week=WEEK)).json()
    assert [row["rank"] for row in table["items"]] == [1]
    assert Settings().rank is False


@pytest.mark.parametrize(
    "query",
    [{"week": "2000-W01"}, {"week": "2199-W52"}, {"month": "2000-01"}, {"month": "2199-12"}],
)
async def test_the_first_and_the_last_periods_have_neighbours(
    world: World, query: dict[str, str]
) -> None:
    which = "weekly" if "week" in query else "monthly"
    for path in (f"/v1/summaries/{which}", "/v1/loop", "/v1/summaries/cadres"):
        response = await world.get(path, unit=TOWNSHIP, **query)
        assert response.status_code == 200, (path, response.text)


async def test_a_span_of_days_is_bounded_where_it_is_counted(world: World) -> None:
    """Two hundred years of days would keep a process busy for seconds."""
    for path in ("/v1/summaries", "/v1/loop", "/v1/summaries/cadres", "/v1/exports/visits.xlsx"):
        for last, status in (("2026-01-07", 200), ("2026-01-08", 422), ("2199-12-31", 422)):
            days = {"from": "2016-01-01", "to": last}
            answer = await world.get(path, unit=TOWNSHIP, **days)
            assert answer.status_code == status, (path, answer.text)
            assert status == 200 or "3660" in answer.json()["detail"]
    # A list goes page by page, however long the time.
    days = {"from": "2000-01-01", "to": "2199-12-31"}
    assert (await world.get("/v1/problems", unit=TOWNSHIP, **days)).status_code == 200


async def test_a_visit_from_before_the_first_year_is_taken_in(world: World) -> None:
    phone = world.wire()
    for seq, moment in enumerate(
        ("1999-12-31T09:00:00+08:00", "1970-01-01T00:00:00Z", "0100-03-01T00:00:00Z"), 1
    ):
        answer = await phone.send(phone.mutation(seq, fields={"visited_at": moment}))
        assert answer.status_code == 200, answer.text
        assert answer.json()["acked"] == seq
