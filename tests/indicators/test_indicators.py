"""Indicators: data, reported per unit and period on phones and over REST, added up, with targets
and marks.
"""

import io
from typing import Any

import openpyxl
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.ids import indicator_value_id
from tests.vocabulary.asking import ask, go
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

FAR = FAR_GRID[:12]
FAR_SECRETARY = f"C{FAR}-1"
INCOME = {
    "name_zh": "村集体经济收入",
    "name_en": "income of the collective",
    "measure": "元",
    "period": "year",
    "level": "village",
    "aggregate": "sum",
    "reporters": ["village_secretary", "first_secretary"],
    "target": 100_000,
}


async def define(world: World, code: str = "collective_income", **other: Any) -> Any:
    answer = await ask(world, "PUT", f"/v1/indicators/{code}", INCOME | other)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def report(world: World, unit: str, value: float, by: str, **more: Any) -> Any:
    body = {"unit": unit, "period": "2026", "value": value} | more
    return await ask(world, "PUT", "/v1/indicators/collective_income/values", body, by)


async def values(world: World, unit: str, by: str = "S1502", **query: Any) -> Any:
    query = {"year": "2026"} | query
    answer = await world.get("/v1/indicators/collective_income/values", by, unit=unit, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def verdict_of(wire: Any, seq: int, unit: str, **fields: Any) -> tuple[str, str | None]:
    plain: dict[str, Any] = {"indicator": "collective_income", "period": "2026", "value": 1}
    fields = plain | fields
    id = indicator_value_id(unit, fields["indicator"], fields["period"])
    mutation = wire.mutation(seq, "indicator_value", grid=unit, id=id, fields=fields)
    [verdict] = (await wire.send(mutation)).json()["verdicts"]
    return verdict["outcome"], verdict.get("reason")


async def test_an_indicator_is_data_and_reaches_phones_with_the_vocabulary(world: World) -> None:
    made = await define(world)
    assert (made["level"], made["reporters"]) == ("village", INCOME["reporters"])
    listed = (await world.get("/v1/indicators", WORKER)).json()["items"]
    assert listed == [made]
    phone = world.phone()
    await phone.sync()
    [term] = phone.records("vocabulary")
    assert term.fields["attributes"]["reporters"] == "village_secretary,first_secretary"
    assert (await world.get("/v1/vocabulary", WORKER, list="indicator")).status_code == 200
    refused = await ask(
        world, "PUT", "/v1/vocabulary/indicator/x", {"name_zh": "a", "name_en": "b"}
    )
    assert refused.status_code == 422


async def test_a_secretary_reports_on_the_phone_and_the_value_lies_with_the_village(
    world: World,
) -> None:
    await define(world)
    phone, worker, chief = world.phone(SECRETARY), world.phone(WORKER), world.phone(SUPERVISOR)
    await phone.sync()
    made = phone.put(
        "indicator_value",
        {
            "indicator": "collective_income",
            "period": "2026",
            "value": 123_456.5,
            "source": "村级财务账",
            "evidence": {"add": ["ab" * 32]},
        },
        grid=VILLAGE,
    )
    assert made == indicator_value_id(VILLAGE, "collective_income", "2026")
    await phone.sync()
    for other in (worker, chief):
        await other.sync()
        assert await other.verify() == []
    assert [view.id for view in chief.records("indicator_value")] == [made]
    assert worker.records("indicator_value") == []
    assert await phone.verify() == []
    shown = await values(world, VILLAGE)
    [item] = shown["items"]
    assert (item["value"], item["progress"], item["source"]) == (123456.5, 1.2346, "村级财务账")
    assert (item["evidence"], item["unit"]["code"]) == (["ab" * 32], VILLAGE)


async def test_two_phones_offline_report_one_value(world: World) -> None:
    await define(world)
    one, two = world.wire(SECRETARY), world.wire(SECRETARY)
    assert await verdict_of(one, 1, VILLAGE, value=5) == ("applied", None)
    assert await verdict_of(two, 1, VILLAGE, value=6) == ("merged", None)
    assert (await values(world, VILLAGE))["reported"] == 1
    [conflict] = await world.fetch("SELECT field FROM conflict")
    assert conflict["field"] == "value"


async def test_villages_add_up_with_targets_progress_and_who_is_missing(world: World) -> None:
    await define(world)
    assert (await report(world, VILLAGE, 120_000, SECRETARY)).status_code == 200
    answer = await report(world, FAR, 80_000, FAR_SECRETARY, source="账")
    assert answer.json()["progress"] == 0.8
    goal = {"period": "2026", "target": 60_000}
    path = f"/v1/indicators/collective_income/targets/{FAR}"
    assert (await ask(world, "PUT", path, goal, "S1502")).status_code == 200
    city = await values(world, "1502")
    villages = len(await world.fetch("SELECT FROM unit WHERE level = 'village'"))
    assert (city["value"], city["units"], city["reported"]) == (200_000, villages, 2)
    assert (city["reached"], city["missing_count"]) == (2, villages - 2)
    assert city["target"] == 100_000 * (villages - 1) + 60_000
    assert len(city["missing"]) == 100
    below = {row["unit"]["code"]: row for row in city["below"]}
    assert below[VILLAGE[:6]]["value"] == 120_000
    assert sum(row["value"] or 0 for row in city["below"]) == city["value"]
    assert sum(row["units"] for row in city["below"]) == villages
    again = await report(world, VILLAGE, 90_000, SECRETARY)
    assert again.json()["value"] == 90_000
    assert (await values(world, "1502"))["reached"] == 1


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("sum", 30), ("mean", 15), ("latest", 20), ("none", None)]
)
async def test_how_values_add_up_is_data(
    world: World, aggregate: str, expected: float | None
) -> None:
    await define(world, aggregate=aggregate, target=None)
    await report(world, VILLAGE, 10, SECRETARY)
    world.clock.forward(minutes=1)
    await report(world, FAR, 20, FAR_SECRETARY)
    assert (await values(world, "1502"))["value"] == expected


async def test_what_an_indicator_does_not_say_is_held(world: World) -> None:
    wire = world.wire(SECRETARY)
    assert await verdict_of(wire, 1, VILLAGE) == ("held", "grid-unknown")
    await define(world)
    assert await verdict_of(wire, 2, VILLAGE, indicator="happiness") == ("held", "fields-wrong")
    assert await verdict_of(wire, 3, VILLAGE, period="2026-11") == ("held", "fields-wrong")
    assert await verdict_of(wire, 4, GRID) == ("held", "fields-wrong")
    assert await verdict_of(wire, 5, FAR) == ("held", "not-allowed")
    member = world.wire(f"C{VILLAGE}-2")
    assert await verdict_of(member, 1, VILLAGE) == ("held", "not-allowed")
    visit = wire.mutation(6, grid=VILLAGE)
    [verdict] = (await wire.send(visit)).json()["verdicts"]
    assert (verdict["outcome"], verdict["reason"]) == ("held", "grid-unknown")
    wrong = wire.mutation(
        7,
        "indicator_value",
        grid=VILLAGE,
        fields={"indicator": "collective_income", "period": "2026", "value": 1},
    )
    [verdict] = (await wire.send(wrong)).json()["verdicts"]
    assert verdict["reason"] == "id-wrong"


async def test_over_rest_the_same_is_refused(world: World) -> None:
    await define(world)
    assert (await report(world, VILLAGE, 1, WORKER)).status_code == 404
    assert (await report(world, FAR, 1, SECRETARY)).status_code in (403, 404)
    held = await report(world, VILLAGE, 1, SUPERVISOR)
    assert (held.status_code, held.json()["reason"]) == (422, "not-allowed")
    wrong = await world.get(
        "/v1/indicators/collective_income/values", "S1502", unit="1502", week="2026-W47"
    )
    assert wrong.status_code == 422
    absent = await world.get("/v1/indicators/nothing/values", "S1502", unit="1502", year="2026")
    assert absent.status_code == 404
    wrongs: list[dict[str, Any]] = [
        {"level": "street"},
        {"reporters": ["auditor"]},
        {"reporters": []},
    ]
    for body in wrongs:
        answer = await ask(world, "PUT", "/v1/indicators/x", INCOME | body)
        assert answer.status_code == 422, body
    mine = await ask(world, "PUT", "/v1/indicators/x", INCOME, SECRETARY)
    assert mine.status_code == 403


async def test_a_village_that_comes_later_has_a_feed_of_its_own(world: World) -> None:
    await define(world)
    body = {"parent": TOWNSHIP, "name": "新村", "code": TOWNSHIP + "299"}
    made = await ask(world, "POST", "/v1/units", body)
    assert made.status_code == 201, made.text
    code = made.json()["unit"]["code"]
    assert len(await world.fetch("SELECT FROM counter WHERE grid = $1", code)) == 1


async def test_villages_are_marked_with_a_plan(world: World) -> None:
    plan = [
        {"due": "2026-11-10", "text": "理清集体资产"},
        {"due": "2026-12-10", "text": "签订承包合同"},
        {"due": "2026-10-10", "text": "驻村指导", "done_on": "2026-10-09"},
    ]
    path = f"/v1/marks/{VILLAGE}"
    body = {"mark": "lagging", "note": "收入低", "plan": plan}
    made = await ask(world, "PUT", path, body, SUPERVISOR)
    assert made.status_code == 200, made.text
    assert (made.json()["overdue_steps"], made.json()["label"]) == (1, "后进")
    assert (
        await ask(world, "PUT", f"/v1/marks/{FAR}", {"mark": "model"}, "S1502")
    ).status_code == 200
    city = (await world.get("/v1/marks", "S1502")).json()
    assert city["units"] == {"model": 1, "weak": 0, "lagging": 1}
    assert [item["unit"]["code"] for item in city["items"]] == sorted([VILLAGE, FAR])
    mine = (await world.get("/v1/marks", SECRETARY)).json()["items"]
    assert [step["text"] for step in mine[0]["plan"]] == [step["text"] for step in plan]
    assert (await ask(world, "PUT", path, body, SECRETARY)).status_code == 403
    done = {"mark": "lagging", "valid_to": "2026-11-25", "plan": []}
    assert (await ask(world, "PUT", path, done, SUPERVISOR)).status_code == 200
    go(world, "2026-11-26T08:00:00")
    assert (await world.get("/v1/marks", "S1502")).json()["units"]["lagging"] == 0
    assert len((await world.get("/v1/marks", "S1502", ended=True)).json()["items"]) == 2


async def test_the_ledger_of_indicators(world: World) -> None:
    await define(world)
    await report(world, VILLAGE, 120_000, SECRETARY, source="村级财务账")
    answer = await world.get("/v1/exports/indicators.xlsx", SUPERVISOR, unit=TOWNSHIP, year="2026")
    assert answer.status_code == 200, answer.text
    sheet: Any = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    rows: list[list[Any]] = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert "指标台账" in rows[0][0]
    assert rows[1][1:5] == ["指标", "计量单位", "单位", "目标"]
    assert rows[2][1] == "村集体经济收入"
    assert "合计" in rows[2][3]
    assert rows[2][5] == 120_000
    assert "未报" in rows[2][10]
    own = [row for row in rows if row[5] == 120_000 and row[7] == "村级财务账"]
    assert own[0][6] == 1.2
    assert sum(row[10] == "未报" for row in rows) >= 1
