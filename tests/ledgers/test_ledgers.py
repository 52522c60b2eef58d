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


async def test_a_ledger_without_rows_is_whole_all_the_same(world: World) -> None:
    rows = rows_of(await ledger(world, "visits", week="2026-W01"))
    assert [rows[1][0], rows[2][0]] == ["序号", "合计"]


@pytest.mark.parametrize(
    ("which", "query", "status"),
    [
        ("weekly", {"month": "2026-11"}, 422),
        ("monthly", {"week": WEEK}, 422),
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
    assert sheet.max_row == 5_000 + 5
