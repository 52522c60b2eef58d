"""Disputes and worries: counted, filtered, and in a ledger of their own."""

import io
import random
from typing import Any

import openpyxl
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.ids import uuid7
from sync_protocol.moments import moment_at
from tests.vocabulary.asking import differing
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World

WEEK = "2026-W47"
DISPUTE = {
    "category": "dispute",
    "parties": "张三、李四",
    "dispute_kind": "land",
    "mediator": "苏和",
    "agreement": "以水渠为界",
    "second_visit_at": "2026-11-20T09:00:00+08:00",
}


def raised(phone: Any, day: str, **fields: Any) -> str:
    plain = {"title": "地界之争", "duty": "public_order", "raised_at": f"{day}T09:00:00+08:00"}
    made: str = phone.put("problem", plain | fields, grid=GRID)
    return made


def resolved(world: World, phone: Any, problem: str) -> None:
    phone.put(
        "step",
        {"problem_id": problem, "action": "resolve", "at": moment_at(world.clock.ms())},
        grid=GRID,
    )


async def summary(world: World, **query: Any) -> Any:
    query = {"unit": VILLAGE, "week": WEEK} | query
    return (await world.get("/v1/summaries", SECRETARY, **query)).json()


def of(body: Any, category: str) -> tuple[int, int]:
    [row] = [row for row in body["categories"] if row["category"] == category]
    return row["problems_raised"], row["problems_resolved"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"week": None, "month": "2026-11"},
        {"week": None, "from": "2026-11-11", "to": "2026-11-20"},
        {"week": None, "year": "2026"},
    ],
)
async def test_each_period_counts_disputes_and_worries(world: World, asked: dict[str, Any]) -> None:
    phone = world.phone()
    await phone.sync()
    settled = raised(phone, "2026-11-17", **DISPUTE)
    raised(phone, "2026-11-18", category="dispute")
    resolved(world, phone, raised(phone, "2026-11-18", category="worry"))
    resolved(world, phone, settled)
    raised(phone, "2026-11-18", category="邻里口角")
    rejected = raised(phone, "2026-11-18", category="worry")
    phone.put(
        "step",
        {"problem_id": rejected, "action": "reject", "at": moment_at(world.clock.ms())},
        grid=GRID,
    )
    await phone.sync()
    query = {key: value for key, value in ({"week": WEEK} | asked).items() if value is not None}
    body = (await world.get("/v1/summaries", SECRETARY, unit=VILLAGE, **query)).json()
    assert of(body, "dispute") == (2, 1)
    assert of(body, "worry") == (1, 1)
    assert {row["label"] for row in body["categories"]} == {"矛盾纠纷", "揪心事烦心事"}
    totals = body["totals"]
    assert (totals["disputes_raised"], totals["disputes_settled"]) == (2, 1)
    assert (totals["worries_raised"], totals["worries_answered"]) == (1, 1)
    [row] = [row for row in body["units"] if row["unit"]["code"] == GRID]
    assert row["totals"]["disputes_settled"] == 1
    assert totals["problems_raised"] == 4
    assert await differing(world) == []


async def test_another_category_moves_the_count(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    one = raised(phone, "2026-11-17", category="dispute")
    await phone.sync()
    phone.put("problem", {"category": "worry"}, grid=GRID, id=one)
    await phone.sync()
    body = await summary(world)
    assert (of(body, "dispute"), of(body, "worry")) == ((0, 0), (1, 0))
    assert await differing(world) == []


async def test_a_sealed_week_keeps_its_disputes_and_its_township_has_them(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    raised(phone, "2026-11-10", category="dispute")
    await phone.sync()
    answer = await world.post(f"/v1/summaries/weekly/2026-W46/seal?unit={VILLAGE}", None)
    assert answer.status_code == 200, answer.text
    raised(phone, "2026-11-11", category="dispute")
    await phone.sync()
    assert of(await summary(world, week="2026-W46"), "dispute") == (1, 0)
    above = await world.get("/v1/summaries", SUPERVISOR, unit=TOWNSHIP, week="2026-W46")
    assert of(above.json(), "dispute") == (1, 0)


async def test_an_erased_dispute_still_counts(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household", GRID)[0].id
    one = raised(phone, "2026-11-17", household_id=house, **DISPUTE)
    await phone.sync()
    answer = await world.post(
        f"/v1/households/{house}/erasure", {"reason": "按当事人要求"}, "admin"
    )
    assert answer.status_code == 200, answer.text
    fields = (await world.get(f"/v1/problems/{one}", SECRETARY)).json()["fields"]
    assert fields.keys().isdisjoint({"parties", "mediator", "agreement"})
    assert (fields["category"], fields["dispute_kind"]) == ("dispute", "land")
    assert of(await summary(world), "dispute") == (1, 0)
    assert await differing(world) == []


async def test_problems_are_found_by_category_and_kind_of_dispute(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    one = raised(phone, "2026-11-17", **DISPUTE)
    raised(phone, "2026-11-18", category="dispute", dispute_kind="debt")
    raised(phone, "2026-11-18", category="worry")
    await phone.sync()

    async def ids(**query: Any) -> list[str]:
        page = (await world.get("/v1/problems", SECRETARY, unit=VILLAGE, **query)).json()
        return [item["id"] for item in page["items"]]

    assert len(await ids(category="dispute")) == 2
    assert await ids(dispute_kind="land") == [one]


async def test_parties_and_agreement_are_encrypted_and_shown_with_the_problem(
    world: World,
) -> None:
    phone, chief = world.phone(), world.phone(SUPERVISOR)
    await phone.sync()
    one = raised(phone, "2026-11-17", contact="10012345678", **DISPUTE)
    await phone.sync()
    await chief.sync()
    [row] = await world.fetch("SELECT parties, agreement FROM problem WHERE id = $1::uuid", one)
    assert "张三" not in row["parties"]
    assert "水渠" not in row["agreement"]
    shown = (await world.get(f"/v1/problems/{one}", SUPERVISOR)).json()["fields"]
    assert (shown["parties"], shown["agreement"]) == ("张三、李四", "以水渠为界")
    [held] = [record for record in chief.records("problem") if record.id == one]
    assert held.fields["parties"] == "张三、李四"
    assert "contact" not in held.fields


async def test_the_ledger_of_disputes(world: World) -> None:
    phone, far = world.phone(), world.phone(f"W{FAR_GRID}-1")
    await phone.sync()
    resolved(world, phone, raised(phone, "2026-11-17", **DISPUTE))
    raised(phone, "2026-11-18", category="worry")
    await phone.sync()
    await far.sync()
    answer = await world.get("/v1/exports/disputes.xlsx", SUPERVISOR, unit=TOWNSHIP, week=WEEK)
    assert answer.status_code == 200, answer.text
    sheet: Any = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    rows: list[list[Any]] = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert "矛盾纠纷台账" in rows[0][0]
    assert rows[1][:8] == [
        *("序号", "时间", "当事人", "纠纷类型", "简要情况", "调解人", "调解结果", "回访")
    ]
    assert rows[2][2:8] == [
        *("张三、李四", "土地草场", "地界之争", "苏和", "已办结：以水渠为界", "2026-11-20")
    ]
    assert rows[3][4] == "共 1 条"


async def test_a_kind_of_dispute_that_no_list_has_is_held(world: World) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    phone.put_unchecked(
        "problem",
        {
            "title": "争执",
            "duty": "public_order",
            "raised_at": "2026-11-17T09:00:00+08:00",
            "dispute_kind": "feud",
        },
        grid=GRID,
        id=uuid7(world.clock.ms(), random.Random(1)),
    )
    await phone.sync()
    [held] = await world.fetch("SELECT reason FROM held")
    assert held["reason"] == "fields-wrong"
