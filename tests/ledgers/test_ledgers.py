"""Ledgers as officials file them, read back with another library."""

import io
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from service.ledgers.sheet import SIGNATURE, Column, Sheet
from simulator.places import SUPERVISOR, TOWNSHIP
from sync_protocol.moments import moment_at
from tests.world import FAR_GRID, GRID, WORKER, World

WEEK = "2026-W47"


async def ledger(world: World, which: str, **query: Any) -> Any:
    response = await world.get(f"/v1/exports/{which}.xlsx", SUPERVISOR, unit=TOWNSHIP, **query)
    assert response.status_code == 200, response.text
    assert "attachment" in response.headers["content-disposition"]
    return openpyxl.load_workbook(io.BytesIO(response.content)).active


def rows_of(sheet: Any) -> list[list[Any]]:
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


@pytest.fixture
async def worked(world: World) -> World:
    phone = world.phone()
    await phone.sync()
    house = phone.records("household")[0].id
    visit = phone.put(
        "visit",
        {
            "household_id": house,
            "visited_at": "2026-11-19T09:30:00+08:00",
            "duties": {"add": ["emergency"]},
            "content": '=HYPERLINK("x")',
        },
        grid=GRID,
    )
    made = phone.put(
        "problem",
        {
            "title": "水管冻裂",
            "duty": "emergency",
            "severity": "urgent",
            "raised_at": "2026-11-19T09:40:00+08:00",
            "visit_id": visit,
            "source": "visit",
        },
        grid=GRID,
    )
    phone.put(
        "step",
        {
            "problem_id": made,
            "action": "resolve",
            "at": moment_at(world.clock.ms()),
            "note": "已换新管",
        },
        grid=GRID,
    )
    await phone.sync()
    return world


async def test_the_visit_ledger(worked: World) -> None:
    sheet = await ledger(worked, "visits", week=WEEK)
    rows = rows_of(sheet)
    assert "走访台账" in rows[0][0]
    assert "2026-11-16 至 2026-11-22" in rows[0][0]
    assert rows[1][:8] == [
        "序号",
        "日期",
        "旗县区",
        "苏木乡镇",
        "嘎查村",
        "网格",
        "户主",
        "电话(脱敏)",
    ]
    assert rows[2][0] == 1
    assert rows[2][1] == datetime.fromisoformat("2026-11-19T09:30")
    assert "****" in rows[2][7]
    assert rows[2][10] == '=HYPERLINK("x")'
    assert sheet.cell(3, 11).data_type == "s"  # text, whatever it looks like
    assert rows[2][12:14] == ["水管冻裂", "已办结"]
    assert rows[3][0] == "合计"
    assert rows[5][0] == SIGNATURE
    assert (sheet.page_setup.orientation, sheet.print_title_rows) == ("landscape", "$1:$2")


async def test_the_problem_ledger(worked: World) -> None:
    rows = rows_of(await ledger(worked, "problems", month="2026-11"))
    row = dict(zip(rows[1], rows[2], strict=True))
    assert (row["类别"], row["紧急程度"], row["来源"], row["问题描述"]) == (
        "应急管理",
        "紧急",
        "走访",
        "水管冻裂",
    )
    assert (row["办理措施"], row["是否超期"], row["备注"]) == ("已换新管", "否", "已办结")
    assert row["网格"] == (await worked.fetch("SELECT name FROM unit WHERE code = $1", GRID))[0][0]


async def test_problems_from_before_that_were_open_are_marked_and_not_counted(
    world: World,
) -> None:
    phone = world.phone()
    made = {}
    for title, day, category in (("甲", "03", None), ("乙", "05", None), ("丙", "17", "dispute")):
        fields = {
            "title": title,
            "detail": f"{title}的详情",
            "duty": "emergency",
            "severity": "emergency",
            "raised_at": f"2026-11-{day}T09:00:00+08:00",
        }
        if category:
            fields["category"] = category
        made[title] = phone.put("problem", fields, grid=GRID)
    for title, action, at in (
        ("甲", "resolve", "2026-11-04T09:00:00+08:00"),
        ("乙", "resolve", "2026-11-18T09:00:00+08:00"),
    ):
        step = {"problem_id": made[title], "action": action, "at": at}
        phone.put("step", step, grid=GRID)
    joined = phone.put(
        "problem",
        {"title": "丁", "duty": "emergency", "raised_at": "2026-11-19T09:00:00+08:00"},
        grid=GRID,
    )
    step = {"problem_id": joined, "action": "reject", "reason": "unfounded"}
    phone.put("step", {**step, "at": moment_at(world.clock.ms())}, grid=GRID)
    await phone.sync()
    rows = rows_of(await ledger(world, "problems", week=WEEK))
    shown = [dict(zip(rows[1], row, strict=True)) for row in rows[2:6]]
    # What was resolved before the period is not there; a text that repeats the title stands once.
    assert [row["问题描述"] for row in shown[:3]] == ["乙的详情", "丙的详情", "丁"]
    assert [row["备注"] for row in shown[:3]] == ["已办结，期前未结", "已上报", "不予受理"]
    assert [row["是否超期"] for row in shown[:3]] == ["是（已办结）", "是（未办结）", "否"]
    assert shown[3]["序号"] == "合计"
    assert shown[3]["问题描述"] == "共 1 条；不予受理、并案 1 条未计入；期前未结 1 条未计入"
    answer = await world.get("/v1/summaries/weekly", unit=TOWNSHIP, week=WEEK)
    assert answer.json()["totals"]["problems_raised"] == 1


async def test_the_weekly_ledger_has_a_row_a_village_and_the_totals(worked: World) -> None:
    rows = rows_of(await ledger(worked, "weekly", week=WEEK))
    villages = await worked.fetch("SELECT name FROM unit WHERE parent = $1", TOWNSHIP)
    body = rows[2 : 2 + len(villages)]
    assert {row[1] for row in body} == {row["name"] for row in villages}
    total = rows[2 + len(villages)]
    assert total[0] == "合计"
    assert total[2] == sum(row[2] for row in body) == 1


async def test_the_cadre_ledger(worked: World) -> None:
    rows = rows_of(await ledger(worked, "cadres", **{"from": "2026-11-01", "to": "2026-11-20"}))
    assert rows[2][1] == WORKER
    assert rows[2][5:9] == [1, 1, 1, 0]
    assert rows[3][5:9] == [1, 1, 1, 0]


async def test_the_cadre_ledger_names_units(worked: World) -> None:
    rows = rows_of(await ledger(worked, "cadres", week=WEEK))
    names = {row["name"] for row in await worked.fetch("SELECT name FROM unit")}
    assert rows[2][4] in names


async def test_the_loop_ledger_has_a_row_a_grid_and_comes_to_the_loop(worked: World) -> None:
    worked.clock.forward(days=10)
    rows = rows_of(await ledger(worked, "loop", week=WEEK))
    loop = (await worked.get("/v1/loop", unit=TOWNSHIP, week=WEEK)).json()
    last = dict(zip(rows[1], next(row for row in rows if row[0] == "合计"), strict=True))
    assert len(rows) == loop["grids"] + 5
    for log, name in (
        ("visit", "日走访"),
        ("weekly_analysis", "周分析"),
        ("monthly_summary", "月汇总"),
    ):
        for status, word in (("on_time", "按时"), ("late", "迟报"), ("missing", "漏报")):
            assert last[name + word] == loop[status][log], (log, status)


async def tag_two(worked: World) -> None:
    """Makes the first two households special ones; the first was visited."""
    phone = worked.phone()
    await phone.sync()
    for view, tags in zip(
        phone.records("household"), ({"add": ["elderly_alone"]}, {"add": ["veteran"]}), strict=False
    ):
        phone.put("household", {"tags": tags}, grid=view.grid, id=view.id)
    await phone.sync()


async def test_special_and_contracted_households_with_their_last_visits(worked: World) -> None:
    await tag_two(worked)
    special = rows_of(await ledger(worked, "special", week=WEEK))
    by_head = {row[3]: dict(zip(special[1], row, strict=True)) for row in special[2:-3]}
    visited = next(row for row in by_head.values() if row["上次走访"] is not None)
    assert visited["上次走访"] == datetime.fromisoformat("2026-11-19")
    assert visited["未走访天数"] == 1  # today is the 20th
    assert "独居老人" in {word for row in by_head.values() for word in row["类别"].split("、")}
    total = next(row for row in special if row[0] == "合计")
    assert total[4] == sum(row["人口"] or 0 for row in by_head.values())
    unvisited = sum(row["上次走访"] is None for row in by_head.values())
    assert total[5] == f"共 {len(by_head)} 户；本期未走访 {unvisited} 户"
    # Before the visit nobody had been there.
    before = rows_of(await ledger(worked, "special", week="2026-W46"))
    assert all(row[8] is None for row in before[2:-3])
    contracted = rows_of(await ledger(worked, "contracted", week=WEEK))
    leads = await worked.fetch("SELECT count(*) AS n FROM household WHERE lead_member IS NOT NULL")
    assert len(contracted) == leads[0]["n"] + 5
    summed = dict(
        zip(contracted[1], next(row for row in contracted if row[0] == "合计"), strict=True)
    )
    assert summed["本期走访次数"] == 1


async def test_a_ledger_of_households_can_be_of_those_whom_nobody_visited_for_long(
    worked: World,
) -> None:
    await tag_two(worked)
    worked.clock.forward(days=10)  # to the 30th; the one visit was on the 19th
    for days, is_listed in ((None, True), (10, True), (11, False), (20, False)):
        query = {} if days is None else {"not_visited_days": days}
        sheet = rows_of(await ledger(worked, "special", month="2026-11", **query))
        shown = {row[3]: row[8] for row in sheet[2:-3]}
        assert (datetime.fromisoformat("2026-11-19") in shown.values()) == is_listed, days
        listed = await worked.get(
            "/v1/households", SUPERVISOR, special=True, unit=TOWNSHIP, **query
        )
        assert shown.keys() == {item["head_name"] for item in listed.json()["items"]}, days
        assert days is None or f"{days} 天以上未走访" in sheet[0][0]


async def test_quarters_and_years_are_filed_like_months(worked: World) -> None:
    for which, query in (
        ("quarterly", {"quarter": "2026-Q4"}),
        ("half-yearly", {"half": "2026-H2"}),
        ("yearly", {"year": "2026"}),
    ):
        rows = rows_of(await ledger(worked, which, **query))
        total = next(row for row in rows if row[0] == "合计")
        assert (total[2], total[3], total[7], total[8]) == (1, 1, 1, 1)


async def test_above_the_township_tags_are_counted_and_not_named(worked: World) -> None:
    await worked.fetch(
        "UPDATE household SET tags = '{elderly_alone,veteran}' WHERE grid = $1", GRID
    )
    response = await worked.get(
        "/v1/exports/special.xlsx", f"S{TOWNSHIP[:6]}", unit=TOWNSHIP, week=WEEK
    )
    sheet = openpyxl.load_workbook(io.BytesIO(response.content)).active
    assert {row[5] for row in rows_of(sheet)[2:-3] if row[2]} <= {"1 项", "2 项", "3 项"}


def test_rows_beyond_a_sheet_go_on_in_the_next(tmp_path: Path) -> None:
    sheet = Sheet(
        tmp_path / "long.xlsx",
        "台账",
        [Column("甲", 9), Column("乙", 9, "whole", True)],
        max_rows=3,
    )
    sheet.write((f"<{number}>&\x0b", number) for number in range(8))
    sheet.close()
    book = openpyxl.load_workbook(tmp_path / "long.xlsx")
    assert book.sheetnames == ["台账", "台账2", "台账3"]
    rows = [row for name in book.sheetnames for row in rows_of(book[name])]
    assert [row for row in rows if isinstance(row[0], int)] == [
        [number + 1, f"<{number}>&", number] for number in range(8)
    ]
    assert [row for row in rows if row[0] == "合计"] == [["合计", None, 28]]
    assert [row[0] for row in rows].count("台账") == 3


async def test_a_ledger_without_rows_is_whole_all_the_same(world: World) -> None:
    rows = rows_of(await ledger(world, "visits", week="2026-W01"))
    assert [rows[1][0], rows[2][0]] == ["序号", "合计"]


@pytest.mark.parametrize(
    ("which", "query", "status"),
    [
        ("weekly", {"month": "2026-11"}, 422),
        ("monthly", {"week": WEEK}, 422),
        ("quarterly", {"month": "2026-11"}, 422),
        ("yearly", {"quarter": "2026-Q4"}, 422),
        ("half-yearly", {"year": "2026"}, 422),
        ("visits", {"week": WEEK, "not_visited_days": 30}, 422),
        ("visits", {}, 422),
        ("nonsense", {"week": WEEK}, 422),
        ("visits", {"week": WEEK, "unit": FAR_GRID}, 404),
    ],
)
async def test_a_ledger_that_cannot_be_made_is_a_clear_problem(
    world: World, which: str, query: Any, status: int
) -> None:
    response = await world.get(
        f"/v1/exports/{which}.xlsx", SUPERVISOR, **({"unit": TOWNSHIP} | query)
    )
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def peak_of(rows: int, path: Path) -> int:
    tracemalloc.start()
    sheet = Sheet(path, "台账", [Column("甲", 10), Column("乙", 10, "whole", total=True)])
    for start in range(0, rows, 1000):
        sheet.write((f"第 {number} 行", number) for number in range(start, start + 1000))
    sheet.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_eight_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    few, many = peak_of(5_000, tmp_path / "few.xlsx"), peak_of(40_000, tmp_path / "many.xlsx")
    assert many < few * 1.5
    sheet: Any = openpyxl.load_workbook(tmp_path / "few.xlsx", read_only=True).active
    assert sum(1 for row in sheet.iter_rows(min_col=1, max_col=1) if row[0].value) == 5_000 + 4
