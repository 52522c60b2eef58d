"""Any period has the same numbers as a plain recomputation, and adds up; a trend is its
summaries.
"""

import random
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from service.summaries.counts import SUMMED
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol import periods
from sync_protocol.periods import Period, local_day
from tests.tallies.test_recount import History, check_cadres, check_severities
from tests.world import GRID, SECRETARY, WORKER, World

PATHS = {
    "day": "/v1/summaries/daily",
    "week": "/v1/summaries/weekly",
    "month": "/v1/summaries/monthly",
    "quarter": "/v1/summaries/quarterly",
    "half": "/v1/summaries/half-yearly",
    "year": "/v1/summaries/yearly",
}


async def ask(world: World, path: str, **query: Any) -> Any:
    response = await world.get(path, **query)
    assert response.status_code == 200, (path, query, response.text)
    return response.json()


def query_of(period: Period) -> dict[str, str]:
    kind = periods.kind_of(period.name)
    if kind == "days":
        return {"from": period.first.isoformat(), "to": period.last.isoformat()}
    return {kind: period.name}


def some_periods(rng: random.Random) -> list[Period]:
    """Each kind that has a name, and runs of days of any length."""
    day = date(2026, 11, rng.randint(9, 28))
    found = [periods.around(kind, day) for kind in PATHS]
    for length in (2, 9, rng.randint(3, 80), rng.randint(80, 200)):
        last = date(2026, 11, rng.randint(8, 30))
        found.append(periods.span(last - timedelta(days=length), last))
    return found


@pytest.mark.parametrize("seed", range(2))
async def test_any_period_is_counted_like_a_plain_recomputation(world: World, seed: int) -> None:
    history = History(world, 70 + seed)
    await history.live(80)
    await history.read()
    dues = {
        str(row["problem"]): row["due"]
        for row in await world.fetch("SELECT problem, due FROM case_file")
    }
    now = world.clock.now()
    for period in some_periods(random.Random(seed)):
        query = query_of(period)
        for unit in (TOWNSHIP, VILLAGE, GRID):
            answer = await ask(world, "/v1/summaries", unit=unit, **query)
            wanted = history.totals(unit, period, now, dues)
            shown = {name: answer["totals"][name] for name in wanted}
            assert shown == pytest.approx(wanted), (unit, period.name)
            check_severities(history, answer, unit, period, now, dues)
            check_sums(answer)
        before = history.totals(GRID, periods.previous(period), now, dues)
        shown = {name: answer["previous"][name] for name in before}
        assert shown == pytest.approx(before), period.name
        check_duties(history, answer, period)
        named = PATHS.get(periods.kind_of(period.name))
        if named is not None:
            assert await ask(world, named, unit=GRID, **query) == answer
        await check_cadres(history, world, period)


def check_sums(answer: Any) -> None:
    """Units below, severities and duties add up, and the loop's counts to what is asked of all."""
    for name in SUMMED:
        rows = [row["totals"][name] for row in answer["units"]]
        assert not rows or sum(rows) == answer["totals"][name], name
    for name, more in answer["duty_overlap"].items():
        assert sum(row[name] for row in answer["duties"]) - more == answer["totals"][name]
    assert answer["duty_overlap"]["problems_raised"] == 0
    assert answer["duty_overlap"]["problems_resolved"] == 0


def check_duties(history: History, answer: Any, period: Period) -> None:
    visits: Counter[str] = Counter()
    for row in history.visits:
        if row["grid"] == GRID and period.first <= local_day(row["visited_at"]) <= period.last:
            visits.update(row["duties"] or ())
    shown = {item["duty"]: item["visits"] for item in answer["duties"] if item["visits"]}
    assert shown == dict(visits), period.name


async def test_from_and_to_that_are_a_week_are_answered_as_the_week(world: World) -> None:
    days = {"from": "2026-11-16", "to": "2026-11-22"}
    answer = await ask(world, "/v1/summaries", unit=TOWNSHIP, **days)
    assert answer["period"]["name"] == "2026-W47"
    assert answer == await ask(world, "/v1/summaries/weekly", unit=TOWNSHIP, week="2026-W47")


@pytest.mark.parametrize("kind", ["day", "week", "month"])
async def test_a_trend_has_the_numbers_of_each_summary(world: World, kind: str) -> None:
    history = History(world, 80)
    await history.live(60)
    world.clock.forward(days=8)
    sealed = await world.post(f"/v1/summaries/weekly/2026-W46/seal?unit={VILLAGE}", None)
    assert sealed.status_code == 200, sealed.text
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-11T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    trend = await ask(
        world, "/v1/summaries/trend", unit=TOWNSHIP, period=kind, count=4, until="2026-11-26",
        below=True,
    )  # fmt: skip
    assert [point["period"] for point in trend["points"]] == [
        one["name"] for one in trend["periods"]
    ]
    if kind == "week":
        assert [point["sealed"] for point in trend["points"]] == ["none", "part", "none", "none"]
    below = {row["unit"]["code"]: row["points"] for row in trend["units"]}
    for place, one in enumerate(trend["periods"]):
        of_all = await ask(world, PATHS[kind], unit=TOWNSHIP, **{kind: one["name"]})
        some = {row["unit"]["code"]: row["totals"] for row in of_all["units"]}
        assert trend["points"][place]["totals"] == of_all["totals"]
        assert trend["points"][place]["logs"] == of_all["loop"]["logs"]
        assert {code: points[place]["totals"] for code, points in below.items()} == some
        village = await ask(world, "/v1/loop", unit=VILLAGE, **{kind: one["name"]})
        for log, counts in below[VILLAGE][place]["logs"].items():
            assert counts == {status: village[status][log] for status in counts}
            due = counts["on_time"] + counts["late"] + counts["missing"]
            rate = below[VILLAGE][place]["on_time_rate"][log]
            assert rate == (round(counts["on_time"] / due, 4) if due else None)


async def test_before_a_unit_goes_live_and_in_days_to_come_nothing_is_missing(
    world: World,
) -> None:
    await world.fetch("UPDATE unit SET go_live = '2026-11-18' WHERE code = $1", VILLAGE)
    phone = world.phone()
    phone.put("weekly_analysis", {"week": "2026-W47", "situation": "早了"}, grid=GRID)
    phone.put("visit", {"visited_at": "2026-11-20T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    # The clock stands at Friday the 20th.
    for query, days in (
        ({"week": "2026-W46"}, 0),
        ({"week": "2026-W47"}, 2),
        ({"week": "2026-W48"}, 0),
        ({"day": "2026-11-17"}, 0),
        ({"day": "2026-11-19"}, 1),
        ({"month": "2026-12"}, 0),
    ):
        loop = await ask(world, "/v1/loop", unit=VILLAGE, **query)
        summed = (await ask(world, "/v1/summaries", unit=VILLAGE, **query))["loop"]
        assert loop["missing"] == {
            "visit": days * loop["grids"],
            "weekly_analysis": 0,
            "monthly_summary": 0,
        }, query
        assert {log: counts["missing"] for log, counts in summed["logs"].items()} == loop["missing"]
        assert summed["missing"] == (days * loop["grids"] if "day" in query else 0)
        silent = loop["grids"] - (query == {"week": "2026-W47"}) if days else 0
        assert (summed["silent_count"], len(summed["silent"])) == (silent, silent), query
    week = await ask(world, "/v1/loop", unit=VILLAGE, week="2026-W48")
    assert week["not_due"]["visit"] == 5 * week["grids"]
    assert week["not_due"]["weekly_analysis"] == week["grids"]


async def test_an_analysis_filed_early_is_on_time_wherever_one_looks(world: World) -> None:
    phone = world.phone()
    phone.put("weekly_analysis", {"week": "2026-W47", "situation": "早了"}, grid=GRID)
    await phone.sync()
    loop = await ask(world, "/v1/loop", unit=VILLAGE, week="2026-W47")
    item = next(item for item in loop["items"] if item["grid"]["code"] == GRID)
    assert (item["analysis"], item["analyses"]) == ("on_time", {"2026-W47": "on_time"})
    counts = {"on_time": 1, "late": 0, "missing": 0, "not_due": loop["grids"] - 1}
    assert {status: loop[status]["weekly_analysis"] for status in counts} == counts
    summed = (await ask(world, "/v1/summaries/weekly", unit=VILLAGE, week="2026-W47"))["loop"]
    assert summed["logs"]["weekly_analysis"] == counts
    assert (summed["filed"], summed["missing"], summed["not_due"]) == (1, 0, loop["grids"] - 1)


async def test_problems_are_listed_by_what_happened_in_a_period(world: World) -> None:
    phone = world.phone()
    made = {}
    for title, at, source in (("a", "10", "visit"), ("b", "17", "inspection")):
        made[title] = phone.put(
            "problem",
            {
                "title": title,
                "duty": "emergency",
                "raised_at": f"2026-11-{at}T09:00:00+08:00",
                "source": source,
                "category": f"类{title}",
            },
            grid=GRID,
        )
    step = {"problem_id": made["a"], "action": "resolve", "at": "2026-11-18T09:00:00+08:00"}
    phone.put("step", step, grid=GRID)
    await phone.sync()

    async def titles(**query: Any) -> list[str]:
        items = (await ask(world, "/v1/problems", unit=GRID, **query))["items"]
        return [item["title"] for item in items]

    assert await titles(week="2026-W46") == ["a"]
    assert await titles(week="2026-W47", by="raised") == ["b"]
    assert await titles(week="2026-W47", by="resolved") == ["a"]
    assert await titles(day="2026-11-26", by="due") == ["b"]
    assert await titles(source="visit") == await titles(category="类a") == ["a"]
    assert (await world.get("/v1/problems", week="2026-W47", day="2026-11-17")).status_code == 422


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/summaries", {}),
        ("/v1/summaries", {"week": "2026-W47", "month": "2026-11"}),
        ("/v1/summaries", {"from": "2026-11-01"}),
        ("/v1/summaries/daily", {"day": "2026-11-31"}),
        ("/v1/summaries/quarterly", {"quarter": "2026-Q5"}),
        ("/v1/summaries/half-yearly", {"half": "2026-Q1"}),
        ("/v1/summaries/yearly", {"year": "26"}),
        ("/v1/summaries/trend", {"until": "1999-12-31"}),
        ("/v1/summaries/trend", {"period": "decade"}),
    ],
)
async def test_a_period_that_is_none_is_a_clear_problem(
    world: World, path: str, query: dict[str, str]
) -> None:
    response = await world.get(path, unit=TOWNSHIP, **query)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"


async def test_overdue_in_nobodys_hands_is_a_row_of_its_own(world: World) -> None:
    phone = world.phone()
    for number in range(3):
        made = phone.put(
            "problem",
            {
                "title": f"{number}",
                "duty": "emergency",
                "severity": "emergency",
                "raised_at": "2026-11-10T09:00:00+08:00",
            },
            grid=GRID,
        )
        if number == 0:
            at = "2026-11-10T10:00:00+08:00"
            phone.put("step", {"problem_id": made, "action": "handle", "at": at}, grid=GRID)
    await phone.sync()
    for unit, below in ((TOWNSHIP, VILLAGE), (VILLAGE, GRID)):
        table = await ask(world, "/v1/summaries/cadres", unit=unit, week="2026-W47")
        assert [(row["staff_code"], row["problems_overdue"]) for row in table["items"]] == [
            (WORKER, 1)
        ]
        assert table["unassigned"]["problems_overdue"] == 2
        assert [
            (row["unit"]["code"], row["problems_overdue"]) for row in table["unassigned"]["units"]
        ] == [(below, 2)]


async def test_the_cadre_table_can_be_of_some_roles_alone(world: World) -> None:
    for staff_code, visits in ((WORKER, 2), (SECRETARY, 3)):
        phone = world.phone(staff_code)
        for _ in range(visits):
            phone.put("visit", {"visited_at": "2026-11-19T09:00:00+08:00"}, grid=GRID)
        await phone.sync()

    async def visits_of(**query: str) -> tuple[dict[str, int], int]:
        table = await ask(world, "/v1/summaries/cadres", unit=VILLAGE, week="2026-W47", **query)
        rows = {row["staff_code"]: row["visits"] for row in table["items"]}
        return rows, sum(group["visits"] for group in table["groups"])

    roles = await world.fetch("SELECT role FROM post WHERE staff_code = $1", SECRETARY)
    own = roles[0]["role"]
    assert await visits_of() == ({WORKER: 2, SECRETARY: 3}, 5)
    assert await visits_of(role="grid_worker") == ({WORKER: 2}, 2)
    assert await visits_of(role=own) == ({SECRETARY: 3}, 3)
    assert await visits_of(role=f"grid_worker,{own}") == ({WORKER: 2, SECRETARY: 3}, 5)
    # Whose post begins after the period did nothing in it as that.
    await world.fetch("UPDATE post SET valid_from = '2026-11-23' WHERE staff_code = $1", WORKER)
    assert await visits_of(role="grid_worker") == ({}, 0)
    response = await world.get("/v1/summaries/cadres", unit=VILLAGE, week="2026-W47", role="king")
    assert response.status_code == 422
