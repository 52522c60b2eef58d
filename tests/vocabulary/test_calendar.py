"""Working days as data: the official calendar that comes late, local holidays, deadlines."""

import asyncio
import random
from datetime import date, timedelta
from typing import Any

import pytest

from service.runtime import failpoints
from simulator.places import SUPERVISOR, WAITING_FOR_LOCKS
from sync_protocol.periods import local_day
from tests.vocabulary.asking import (
    ADMIN,
    BANNER,
    CITY,
    ask,
    differing,
    due_of,
    go,
    put_term,
    raise_problem,
    upload,
)
from tests.vocabulary.test_lists import appointed
from tests.world import FAR_GRID, GRID, WORKER, Phone, World, first_held_at, until_none

NOTICE = "2027-01-01至2027-01-03,休,元旦\n2027-02-05至2027-02-11,休,春节\n2027-02-20,班,春节调休\n"
FAR_WORKER, FAR_BANNER = f"W{FAR_GRID}-1", FAR_GRID[:6]


async def days(world: World, unit: str, first: str, last: str) -> dict[str, tuple[bool, str, str]]:
    query = {"unit": unit, "from": first, "to": last}
    answer = await world.get("/v1/calendar", WORKER, **query)
    assert answer.status_code == 200, answer.text
    return {
        item["day"]: (item["works"], item["name"], item["source"]) for item in answer.json()["days"]
    }


async def test_the_library_is_asked_until_a_list_was_uploaded(world: World) -> None:
    found = await days(world, CITY, "2026-10-01", "2026-10-10")
    assert found["2026-10-01"] == (False, "国庆节", "official")
    assert found["2026-10-10"] == (True, "国庆节调休上班", "official")
    computed = await days(world, CITY, "2027-02-05", "2027-02-11")
    assert computed["2027-02-08"][0::2] == (False, "computed")
    assert computed["2027-02-11"] == (True, "", "computed")
    answer = (
        await world.get("/v1/calendar", WORKER, **{"from": "2027-02-05", "to": "2027-02-08"})
    ).json()
    assert (answer["unit"], answer["provisional"], answer["lists"]) == (CITY, True, [])

    written = await upload(world, 2027, NOTICE)

    assert written.pop("warnings")  # it names no holiday but two
    assert written == {"unit": CITY, "year": 2027, "days": 11, "off": 10, "dues_changed": 0}
    told = await days(world, CITY, "2027-02-05", "2027-02-20")
    assert told["2027-02-05"] == (False, "春节", "uploaded")
    assert told["2027-02-12"] == (True, "", "week")
    assert told["2027-02-13"] == (False, "", "week")
    assert told["2027-02-20"] == (True, "春节调休", "uploaded")
    answer = (await world.get("/v1/calendar", WORKER, unit=GRID, **{"from": "2027-02-05"})).json()
    assert answer["provisional"] is False
    [one] = answer["lists"]
    assert (one["unit"], one["year"], one["uploaded_by"]) == (CITY, 2027, ADMIN)
    removed = await ask(world, "DELETE", "/v1/calendar/2027")
    assert removed.status_code == 200, removed.text
    assert await days(world, CITY, "2027-02-05", "2027-02-11") == computed


async def test_a_calendar_that_comes_late_moves_what_is_running(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    go(world, "2027-02-03T10:00:00")  # a Wednesday
    running = raise_problem(world, phone)
    extended = raise_problem(world, phone, title="路灯")
    await phone.sync()
    secretary = world.phone(SUPERVISOR)
    await secretary.sync()
    until = "2027-02-12T04:00:00.000Z"
    now = world.clock.now().isoformat(timespec="milliseconds")
    secretary.put(
        "step",
        {"problem_id": extended, "action": "extend", "at": now, "until": until},
        grid=GRID,
    )
    await secretary.sync()
    computed = await due_of(world, running)
    go(world, "2027-02-04T18:00:00")

    written = await upload(world, 2027, NOTICE)

    # The 4th, then the week off, then Friday the 12th and Monday the 15th.
    assert (computed != "2027-02-15 10:00", written["dues_changed"]) == (True, 1)
    assert await due_of(world, running) == "2027-02-15 10:00"
    assert await due_of(world, extended) == "2027-02-12 12:00"
    assert await differing(world) == []
    again = await upload(world, 2027, NOTICE)
    assert again["dues_changed"] == 0
    go(world, "2027-02-13T10:00:00")
    listed = (await world.get("/v1/problems", unit=GRID, overdue=True)).json()["items"]
    assert [item["id"] for item in listed] == [extended]
    trail = (await world.get("/v1/audit", ADMIN)).json()["items"]
    lines = [(item["action"], item["count"]) for item in trail if "2027" in item["subjects"]]
    written_twice = [("calendar-written", 11)] * 2
    assert sorted(lines) == [*written_twice, ("dues-recomputed", 1)]


async def test_what_was_late_by_a_wrong_calendar_was_not_late(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    go(world, "2027-02-03T10:00:00")
    done = raise_problem(world, phone)
    await phone.sync()
    go(world, "2027-02-12T18:00:00")
    now = world.clock.now().isoformat(timespec="milliseconds")
    phone.put("step", {"problem_id": done, "action": "resolve", "at": now}, grid=GRID)
    await phone.sync()

    async def late() -> int:
        rows = await world.fetch("SELECT sum(lapsed)::int AS n FROM case_tally WHERE span = ''")
        return int(rows[0]["n"] or 0)

    assert await late() == 1
    assert (await upload(world, 2027, NOTICE))["dues_changed"] == 1
    assert await late() == 0
    assert await differing(world) == []


async def loop(world: World, unit: str, **query: Any) -> Any:
    """The whole loop of a unit, all pages."""
    found: dict[str, Any] = {}
    after: dict[str, str] = {}
    while not found or after:
        answer = await world.get("/v1/loop", ADMIN, unit=unit, limit=1000, **query, **after)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        after = {"after": page["next"]} if page["next"] else {}
        found = page | {"items": [*found.get("items", ()), *page["items"]]}
    return found


async def test_local_holidays_hold_for_a_unit_and_all_below(world: World) -> None:
    go(world, "2026-11-16T08:00:00")
    phones = {GRID: world.phone(), FAR_GRID: world.phone(FAR_WORKER)}
    problems = {}
    for grid, phone in phones.items():
        await phone.sync()
        problems[grid] = raise_problem(world, phone, grid)
        await phone.sync()
    written = await upload(world, 2026, "2026-11-17,休,那达慕\n", BANNER)
    assert written["dues_changed"] == 1
    assert await due_of(world, problems[GRID]) == "2026-11-20 08:00"
    assert await due_of(world, problems[FAR_GRID]) == "2026-11-19 08:00"
    assert (await days(world, GRID, "2026-11-17", "2026-11-17"))["2026-11-17"] == (
        False,
        "那达慕",
        "local",
    )
    assert (await days(world, FAR_GRID, "2026-11-17", "2026-11-17"))["2026-11-17"][0]
    go(world, "2026-11-19T09:00:00")

    city = await loop(world, CITY, week="2026-W47")

    due = {item["grid"]["code"]: item["days_due"] for item in city["items"]}
    assert len(due) == city["grids"]
    here = [grid for grid in due if grid.startswith(BANNER)]
    assert {due[grid] for grid in here} == {2}
    assert {days for grid, days in due.items() if grid not in here} == {3}
    assert city["missing"]["visit"] == sum(due.values())
    assert (await loop(world, BANNER, week="2026-W47"))["missing"]["visit"] == 2 * len(here)
    summary = (await world.get("/v1/summaries/weekly", ADMIN, unit=CITY, week="2026-W47")).json()
    assert summary["loop"]["logs"]["visit"]["missing"] == sum(due.values())
    assert await differing(world) == []


async def test_a_deadline_may_count_working_days_by_the_calendar_of_the_unit(world: World) -> None:
    deadline = {"days": 2, "hour": 12, "working_days": True}
    go(world, "2026-11-16T08:00:00")
    await put_term(world, "deadline", "weekly_analysis", attributes=deadline)
    await upload(world, 2026, "2026-11-23,休,那达慕\n", BANNER)
    # Due on Tuesday the 24th at noon; in the banner on Wednesday the 25th.
    for moment, here, there in (
        ("2026-11-24T11:00:00", None, None),
        ("2026-11-24T13:00:00", None, "missing"),
        ("2026-11-25T13:00:00", "missing", "missing"),
    ):
        go(world, moment)
        found = await loop(world, CITY, week="2026-W47")
        status = {item["grid"]["code"]: item["analysis"] for item in found["items"]}
        assert (status[GRID], status[FAR_GRID]) == (here, there), moment
        count = sum(one == "missing" for one in status.values())
        assert found["missing"]["weekly_analysis"] == count
    phone = world.phone()
    go(world, "2026-11-25T11:00:00")
    phone.put("weekly_analysis", {"week": "2026-W47", "situation": "好"}, grid=GRID)
    far = world.phone(FAR_WORKER)
    far.put("weekly_analysis", {"week": "2026-W47", "situation": "好"}, grid=FAR_GRID)
    await phone.sync()
    await far.sync()
    go(world, "2026-11-25T13:00:00")
    found = await loop(world, CITY, week="2026-W47")
    status = {item["grid"]["code"]: item["analysis"] for item in found["items"]}
    assert (status[GRID], status[FAR_GRID]) == ("on_time", "late")
    assert [found[name]["weekly_analysis"] for name in ("on_time", "late")] == [1, 1]
    # What was due before the deadline was changed stays as it was.
    before = await loop(world, GRID, week="2026-W46")
    assert before["missing"]["weekly_analysis"] == 1


async def test_calendars_are_kept_by_administrators_of_their_unit(world: World) -> None:
    banner = await appointed(world, BANNER)
    day = "2026-12-01,休,那达慕\n".encode()
    for staff_code, unit, status in (
        (WORKER, GRID, 403),
        (SUPERVISOR, GRID[:9], 403),
        (banner, None, 403),
        (banner, CITY, 403),
        (banner, FAR_BANNER, 404),
        (banner, "150299", 404),
        (banner, GRID, 200),
        (banner, BANNER, 200),
    ):
        query = {} if unit is None else {"unit": unit}
        for method in ("PUT", "DELETE"):
            csv = day if method == "PUT" else None
            answer = await ask(
                world, method, "/v1/calendar/2026", None, staff_code, csv=csv, **query
            )
            assert answer.status_code == status, (method, staff_code, unit, answer.text)
    assert await world.fetch("SELECT FROM calendar_day") == []


@pytest.mark.parametrize(
    ("csv", "line"),
    [("2027-02-05,休,春节\n2027-02-31,休,\n", 2), ("2027-02-20,班,\n", None), ("", 1)],
)
async def test_a_list_with_faults_changes_nothing(world: World, csv: str, line: int | None) -> None:
    answer = await ask(world, "PUT", "/v1/calendar/2027", csv=csv.encode("gb18030") or b" ")
    assert answer.status_code == 422, answer.text
    faults = answer.json().get("faults")
    assert [fault["line"] for fault in faults or ()] == ([] if line is None else [line])
    assert await world.fetch("SELECT FROM calendar_year") == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-12-02", "to": "2026-12-01"},
        {"from": "2026-01-01", "to": "2027-12-01"},
        {"from": "1999-01-01"},
    ],
)
async def test_days_that_make_no_calendar_are_refused(world: World, query: dict[str, str]) -> None:
    assert (await world.get("/v1/calendar", WORKER, **query)).status_code == 422


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_changes_due_times_and_tallies_are_those_of_a_recount(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    phones = {GRID: world.phone(), FAR_GRID: world.phone(FAR_WORKER)}
    for phone in phones.values():
        await phone.sync()
    open_ones: list[tuple[str, Phone, str]] = []
    for turn in range(14):
        world.clock.forward(hours=rng.randint(2, 60))
        today = local_day(world.clock.now())
        match rng.choice(["raise", "raise", "raise", "resolve", "limit", "city", "local"]):
            case "raise":
                grid, phone = rng.choice([*phones.items()])
                severity = rng.choice(["ordinary", "urgent", "emergency"])
                id = raise_problem(world, phone, grid, severity=severity)
                open_ones.append((grid, phone, id))
                await phone.sync()
            case "resolve" if open_ones:
                grid, phone, id = open_ones.pop(rng.randrange(len(open_ones)))
                now = world.clock.now().isoformat(timespec="milliseconds")
                step = {"problem_id": id, "action": "resolve", "at": now}
                phone.put("step", step, grid=grid)
                await phone.sync()
            case "limit":
                severity = rng.choice(["ordinary", "urgent"])
                await put_term(
                    world,
                    "limit",
                    severity,
                    attributes={"working_days": rng.randint(1, 9)},
                    valid_from=str(today + timedelta(days=rng.randint(0, 3))),
                )
            case _:
                unit = rng.choice([None, BANNER, FAR_BANNER, GRID[:9]])
                await upload(world, today.year, listed_days(rng, today), unit)
        if turn % 4 == 1:
            assert await differing(world) == []


async def test_a_calendar_waits_for_the_pushes_that_are_under_way(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    problem = raise_problem(world, phone)

    async def not_waiting() -> list[int]:
        [row] = await world.fetch(WAITING_FOR_LOCKS)
        return [] if row["count"] else [1]

    with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
        push = asyncio.create_task(phone.sync())
        await reached.wait()  # judged by the calendar so far, and not committed
        change = asyncio.create_task(upload(world, 2026, "2026-11-24,休,运动会\n"))
        await until_none(not_waiting)
        go_on.set()
        await push
        written = await change
    assert written["dues_changed"] == 1
    assert await due_of(world, problem) == "2026-11-26 10:00"
    assert await differing(world) == []


def listed_days(rng: random.Random, around: date) -> str:
    """Some days of the year of a day, worked or off."""
    some = [around + timedelta(days=n) for n in range(-10, 20)]
    chosen = rng.sample([day for day in some if day.year == around.year], 6)
    return "".join(f"{day},{'休' if n % 2 else '班'},\n" for n, day in enumerate(chosen))


async def test_an_odd_official_calendar_is_taken_with_a_warning(world: World) -> None:
    few = await upload(world, 2027, "2027-02-05至2027-02-11,休,春节\n")
    assert any("7 days off" in text for text in few["warnings"])
    assert any("2027-10-01" in text for text in few["warnings"])
    whole = await upload(
        world,
        2027,
        "2027-01-01,休,元旦\n2027-02-05至2027-02-11,休,春节\n2027-05-01至2027-05-05,休,劳动节\n"
        "2027-10-01至2027-10-07,休,国庆节\n",
    )
    assert whole["warnings"] == []
    local = await upload(world, 2027, "2027-08-01,休,那达慕\n", unit=BANNER)
    assert local["warnings"] == []
