"""What the answers of summaries say of themselves: descriptions, seals within, what is cut, CSV;
and households that count once.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from service.tallies.recount import differences
from simulator.places import TOWNSHIP, VILLAGE
from tests.organisation.test_changes import ADMIN, admin
from tests.world import GRID, SECRETARY, WORKER, World

OPENAPI = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
ABOVE = f"S{TOWNSHIP[:6]}"


async def ask(world: World, path: str, **query: Any) -> Any:
    response = await world.get(path, ABOVE, **query)
    assert response.status_code == 200, (path, query, response.text)
    return response.json()


async def lines(world: World, path: str, **query: Any) -> list[dict[str, str]]:
    response = await world.get(path, ABOVE, **query)
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_every_field_of_the_answers_of_summaries_has_a_description() -> None:
    schemas = OPENAPI["components"]["schemas"]
    answers = {
        operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if method == "get"
        and "200" in operation["responses"]
        and (path.startswith(("/v1/summaries", "/v1/loop")) or path.endswith("/summary"))
        and "$ref" in operation["responses"]["200"]["content"]["application/json"]["schema"]
    }
    assert len(answers) >= 5
    todo, seen, without = sorted(answers), set(), []
    while todo:
        name = todo.pop().rsplit("/", 1)[1]
        if name in seen:
            continue
        seen.add(name)
        for field, schema in schemas[name].get("properties", {}).items():
            if "description" not in schema:
                without.append(f"{name}.{field}")
            todo += _references(schema)
    assert without == []


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if "$ref" in schema else []
        return own + [one for value in schema.values() for one in _references(value)]
    return (
        [one for value in schema for one in _references(value)] if isinstance(schema, list) else []
    )


async def test_a_household_that_is_visited_before_and_after_a_split_counts_once(
    world: World,
) -> None:
    await admin(world)
    phone = world.phone()
    await phone.sync()
    house = next(view.id for view in phone.records("household") if view.grid == GRID)
    phone.put(
        "visit", {"visited_at": "2026-11-17T09:00:00+08:00", "household_id": house}, grid=GRID
    )
    await phone.sync()
    body = {"name": "三网格", "households": [house]}
    split = await world.post(f"/v1/units/{GRID}/split", body, ADMIN)
    assert split.status_code == 200, split.text
    new = (await world.fetch("SELECT grid FROM household WHERE id = $1", house))[0]["grid"]
    assert new != GRID
    secretary = world.phone(SECRETARY)
    await secretary.sync()
    at = {"visited_at": "2026-11-20T08:00:00+08:00", "household_id": house}
    made = secretary.put("visit", at, grid=new)
    await secretary.sync()
    queries = (
        {"week": "2026-W47"},
        {"month": "2026-11"},
        {"quarter": "2026-Q4"},
        {"half": "2026-H2"},
        {"year": "2026"},
        {"from": "2026-11-10", "to": "2026-11-25"},
    )
    for query in queries:
        answer = await ask(world, "/v1/summaries", unit=VILLAGE, **query)
        totals = answer["totals"]
        assert (totals["visits"], totals["households_visited"]) == (2, 1), query
        assert totals["coverage"] == round(1 / totals["households"], 4)
        below = {row["unit"]["code"]: row["totals"] for row in answer["units"]}
        assert below[new]["households_visited"] == 1, query
        assert below[GRID]["households_visited"] == 0, query
    secretary.delete("visit", made, grid=new)
    await secretary.sync()
    for query in queries:
        answer = await ask(world, "/v1/summaries", unit=VILLAGE, **query)
        below = {row["unit"]["code"]: row["totals"] for row in answer["units"]}
        assert below[GRID]["households_visited"] == 1, query
        assert answer["totals"]["households_visited"] == 1
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


async def test_contact_households_are_those_of_the_periods_end(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    houses = [view.id for view in phone.records("household") if view.grid == GRID]
    for house in houses:
        at = {"visited_at": "2026-11-11T09:00:00+08:00", "household_id": house}
        phone.put("visit", at, grid=GRID)
    await phone.sync()

    async def contacts(**query: str) -> tuple[int, int]:
        totals = (await ask(world, "/v1/summaries", unit=GRID, **query))["totals"]
        return totals["contact_households"], totals["contact_households_visited"]

    week, month = {"week": "2026-W46"}, {"month": "2026-11"}
    assert await contacts(**week) == await contacts(**month)
    before, visited = await contacts(**week)
    assert before == visited
    tied = await world.fetch(
        "SELECT id::text FROM household WHERE grid = $1 AND contact_member IS NOT NULL", GRID
    )
    # On the 20th the tie of one ends, or one gets one.
    house, tie = (tied[0]["id"], None) if tied else (houses[0], SECRETARY)
    secretary = world.phone(SECRETARY)
    await secretary.sync()
    secretary.put("household", {"contact_member": tie}, grid=GRID, id=house)
    await secretary.sync()
    change = -1 if tied else 1
    assert await contacts(**week) == (before, before)
    assert await contacts(**month) == (before + change, before + change)
    # What comes in late counts by the tie of then.
    late = {"visited_at": "2026-11-04T09:00:00+08:00", "household_id": house}
    phone.put("visit", late, grid=GRID)
    await phone.sync()
    assert (await contacts(week="2026-W45"))[1] == (1 if tied else 0)
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


async def test_longer_periods_name_the_sealed_months_and_weeks_within(world: World) -> None:
    world.clock.forward(days=20)
    for which, name, unit in (
        ("weekly", "2026-W46", VILLAGE),
        ("monthly", "2026-11", TOWNSHIP),
        ("weekly", "2026-W47", GRID),
    ):
        sealed = await world.post(f"/v1/summaries/{which}/{name}/seal?unit={unit}", None, ABOVE)
        assert sealed.status_code == 200, sealed.text
    for query in ({"quarter": "2026-Q4"}, {"year": "2026"}):
        answer = await ask(world, "/v1/summaries", unit=VILLAGE, **query)
        within = [(one["period"], one["unit"]) for one in answer["sealed_within"]]
        assert within == [("2026-11", TOWNSHIP), ("2026-W46", VILLAGE), ("2026-W47", GRID)]
    assert (await ask(world, "/v1/summaries", unit=VILLAGE, week="2026-W46"))["sealed_within"] == []
    trend = await ask(
        world, "/v1/summaries/trend", unit=VILLAGE, period="quarter", count=2, until="2026-12-10"
    )
    assert {name: len(some) for name, some in trend["sealed_within"].items()} == {"2026-Q4": 3}
    assert trend["tree_day"] == "2026-12-10"


async def test_tables_that_are_cut_say_so_and_filters_hold_for_the_groups(world: World) -> None:
    for staff_code in (WORKER, SECRETARY):
        phone = world.phone(staff_code)
        phone.put("visit", {"visited_at": "2026-11-19T09:00:00+08:00"}, grid=GRID)
        await phone.sync()
    query = {"unit": VILLAGE, "week": "2026-W47"}
    cut = await ask(world, "/v1/summaries/cadres", **query, limit=1)
    whole = await ask(world, "/v1/summaries/cadres", **query, limit=2)
    assert (len(cut["items"]), cut["more"]) == (1, True)
    assert (len(whole["items"]), whole["more"]) == (2, False)
    assert cut["groups"] == whole["groups"]
    for is_member in (True, False):
        some = await ask(world, "/v1/summaries/cadres", **query, party_member=is_member)
        assert {group["party_member"] for group in some["groups"]} <= {is_member}
        assert sum(group["cadres"] for group in some["groups"]) == len(some["items"])
    await world.fetch("UPDATE household SET lead_member = $1 WHERE grid = $2", WORKER, GRID)
    await world.fetch(
        "UPDATE household SET lead_member = $1 WHERE id = (SELECT min(id::text)::uuid"
        " FROM household WHERE grid = $2)",
        SECRETARY,
        GRID,
    )
    members = await ask(world, "/v1/summaries/members", **query, role="lead", limit=1)
    assert (len(members["items"]), members["more"]) == (1, True)


async def test_a_cadre_table_as_csv_has_its_period_unit_sums_and_what_is_unassigned(
    world: World,
) -> None:
    phone = world.phone()
    phone.put("visit", {"visited_at": "2026-11-19T09:00:00+08:00"}, grid=GRID)
    fields = {"title": "x", "duty": "emergency", "severity": "emergency"}
    phone.put("problem", {**fields, "raised_at": "2026-11-10T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    rows = await lines(world, "/v1/summaries/cadres.csv", unit=VILLAGE, week="2026-W47")
    assert {(row["period"], row["of.code"]) for row in rows} == {("2026-W47", VILLAGE)}
    by_kind: dict[str, int] = {}
    for row in rows:
        by_kind[row["row"]] = by_kind.get(row["row"], 0) + int(row["visits"])
    assert by_kind["cadre"] == by_kind.get("members", 0) + by_kind.get("others", 0) == 1
    unassigned = next(row for row in rows if row["row"] == "unassigned")
    assert unassigned["problems_overdue"] == "1"
    [own] = await lines(world, f"/v1/cadres/{WORKER}/summary.csv", week="2026-W47")
    assert (own["staff_code"], own["visits"], own["period"]) == (WORKER, "1", "2026-W47")


async def test_no_cell_of_a_trend_as_csv_holds_json(world: World) -> None:
    rows = await lines(world, "/v1/summaries/trend.csv", unit=VILLAGE, count=2, below="true")
    assert rows
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("{", "["))]
    assert {"logs.weekly_analysis.missing", "logs.visit.on_time_rate"} <= rows[0].keys()


async def test_what_arrived_since_a_seal_says_what_is_open(world: World) -> None:
    world.clock.forward(days=5)
    await world.post(f"/v1/summaries/weekly/2026-W47/seal?unit={VILLAGE}", None, ABOVE)
    phone = world.phone()
    fields = {"title": "x", "duty": "emergency", "severity": "emergency"}
    phone.put("problem", {**fields, "raised_at": "2026-11-17T09:00:00+08:00"}, grid=GRID)
    await phone.sync()
    answer = await ask(world, "/v1/summaries/weekly", unit=VILLAGE, week="2026-W47")
    since = answer["seal"]["arrived_since"]
    assert (since["problems_raised"], since["problems_open"], since["problems_overdue"]) == (
        1,
        1,
        1,
    )
    page = await ask(world, f"/v1/cadres/{WORKER}/summary", week="2026-W47")
    assert page["sealed_grids"] == 1


async def test_the_loop_can_list_only_grids_with_gaps(world: World) -> None:
    phone = world.phone()
    for day in range(16, 21):
        phone.put("visit", {"visited_at": f"2026-11-{day}T08:00:00+08:00"}, grid=GRID)
    await phone.sync()
    phone.put("weekly_analysis", {"week": "2026-W47", "situation": "好"}, grid=GRID)
    world.clock.forward(days=10)
    await phone.sync()
    query = {"unit": VILLAGE, "week": "2026-W47"}
    every = await ask(world, "/v1/loop", **query)
    for gaps in ("late", "missing"):
        for log, key in (("weekly_analysis", "analyses"), ("visit", "days")):
            some = await ask(world, "/v1/loop", **query, gaps=gaps, log=log)
            assert [item["grid"]["code"] for item in some["items"]] == [
                item["grid"]["code"] for item in every["items"] if gaps in item[key].values()
            ]
            assert some["missing"] == every["missing"]
    codes: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await ask(world, "/v1/loop", **query, gaps="missing", limit=1, **after)
        codes += [item["grid"]["code"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    whole = await ask(world, "/v1/loop", **query, gaps="missing")
    assert codes == [item["grid"]["code"] for item in whole["items"]]


async def test_late_arrivals_of_a_longer_period_came_after_its_end(world: World) -> None:
    phone = world.phone()
    for at in ("2026-09-29", "2026-10-30", "2026-11-10"):
        phone.put("visit", {"visited_at": f"{at}T09:00:00+08:00"}, grid=GRID)
    await phone.sync()

    async def late(**query: str) -> int:
        answer = await ask(world, "/v1/summaries", unit=GRID, **query)
        found: int = answer["late_arrivals"]
        return found

    # Today is the 20th of November.
    assert await late(quarter="2026-Q3") == 1
    assert await late(quarter="2026-Q4") == 0
    assert await late(half="2026-H2") == 0
    assert await late(month="2026-10") == 1
    # The 10th of November lies in a whole week, which is over.
    assert await late(**{"from": "2026-09-01", "to": "2026-11-20"}) == 3
