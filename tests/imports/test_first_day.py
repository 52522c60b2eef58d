"""The first day of a banner: its office's own files, with all that is wrong in such files, until a
worker syncs and a supervisor reads.
"""

from pathlib import Path
from typing import Any

from tests.imports.books import book, text_file
from tests.imports.city import City
from tests.imports.test_rest import XLSX

# Written by xlwt: a title over merged cells, codes and numbers as numbers, a day as a day.
OLD_BOOK = Path(__file__).parent / "data" / "households.xls"
BANNER = "159921"
TOWNSHIPS = (BANNER + "100", BANNER + "101", BANNER + "200")
VILLAGES = [f"{township}20{number}" for township in TOWNSHIPS for number in (1, 2)]
GRIDS = [f"{village}00{number}" for village in VILLAGES for number in (1, 2)]
WORKERS = {grid: f"W{place}" for place, grid in enumerate(GRIDS, 1)}


def units() -> list[list[Any]]:
    """As the office of civil affairs has it: a title, numbers as numbers, its own columns."""
    rows: list[list[Any]] = [
        ["某旗行政区划一览表"],
        ["序号", "区划代码", "单位名称", "层级", "上级", "面积"],
    ]
    every = ["1599", BANNER, *TOWNSHIPS, *VILLAGES, *GRIDS]
    for number, code in enumerate(every, 1):
        rows.append([number, int(code), f"单位{number}", "", "", 12.5])
    return rows


def people() -> list[list[Any]]:
    """As the personnel office has it."""
    rows: list[list[Any]] = [["姓名", "手机号", "工号", "政治面貌"]]
    for place, code in enumerate(WORKERS.values()):
        rows.append(
            [f"网格员{place}", f"138-0000-{place:04d}", code, "党员" if place % 2 else "群众"]
        )
    rows.append(["乌兰", "０４７２－７６５４３２１", "S1", "是"])
    rows.append(["管理", "", "A1", "否"])
    return rows


def posts() -> list[list[Any]]:
    """Roles and days as people write them."""
    rows: list[list[Any]] = [["工号", "岗位", "单位编码", "任职日期", "离任日期"]]
    days = (45292.0, "2024年1月1日", "2024/1/1", "2024.1.1")
    for place, (grid, code) in enumerate(WORKERS.items()):
        rows.append([code, "网格员", int(grid), days[place % 4], ""])
    rows.append(["S1", "上级工作人员", TOWNSHIPS[0], "2024-01-01", ""])
    rows.append(["A1", "系统管理员", BANNER, "2024-01-01", ""])
    return rows


def households() -> list[list[Any]]:
    """Ten a grid, as the villages have typed them."""
    rows: list[list[Any]] = [
        ["户编号", "网格", "户主姓名", "联系电话", "家庭住址", "人口数", "人群类别", "包联干部"]
    ]
    for place, grid in enumerate(GRIDS):
        for number in range(10):
            key = f"{BANNER}-{place:02d}{number:02d}"
            tags = "低保户" if number == 3 else ""
            phone: Any = 13900000000.0 + place * 10 + number
            rows.append(
                [
                    key,
                    int(grid),
                    f"户{place}-{number}",
                    phone,
                    f"{number}号",
                    "4人",
                    tags,
                    WORKERS[grid],
                ]
            )
    return rows


# Where what is broken stands: sheet, row from 0, column from 0, value; and as what it is reported.
BROKEN: list[tuple[str, int, int, Any, str]] = [
    ("units", 5, 1, "1599211A0", "code-form"),
    ("units", 6, 1, "15992110", "code-length"),
    ("units", 8, 3, "网格", "level-other"),
    ("units", 9, 3, "大区", "level-unknown"),
    ("units", 10, 4, "159921999", "parent-unknown"),
    ("units", 13, 2, "", "value-missing"),
    ("people", 1, 1, "没有电话", "phone-form"),
    ("people", 2, 1, "1.38E+10", "number-rounded"),
    ("people", 3, 3, "不详", "yes-no-form"),
    ("people", 4, 2, "工号#5", "staff-code-form"),
    ("people", 5, 0, "", "value-missing"),
    ("people", 6, 0, "名" * 61, "text-unfit"),
    ("people", 8, 1, "12", "phone-form"),
    ("posts", 1, 1, "网格长长", "role-unknown"),
    ("posts", 2, 3, "去年春天", "day-form"),
    ("posts", 3, 4, "2023-01-01", "days-reversed"),
    ("posts", 4, 2, VILLAGES[0], "role-level"),
    ("posts", 9, 2, "159921999201001", "unit-unknown"),
    ("posts", 10, 3, "1850-01-01", "day-far"),
    ("posts", 11, 1, "联系户党员", "post-no-member"),
    ("posts", 12, 0, "NOBODY", "person-unknown"),
    ("households", 81, 3, "打听", "phone-form"),
    ("households", 82, 5, "许多", "count-form"),
    ("households", 83, 5, "999", "count-large"),
    ("households", 84, 6, "万元户", "tag-unknown"),
    ("households", 85, 7, "NOBODY", "member-unknown"),
    ("households", 86, 2, "", "value-missing"),
    ("households", 87, 1, "15992199920x", "code-form"),
    ("households", 88, 1, VILLAGES[3], "not-a-grid"),
    ("households", 89, 1, "159921999201001", "unit-unknown"),
    ("households", 90, 0, f"{BANNER}-0000", "household-twice"),
    ("households", 91, 0, "№ 7 ?", "number-form"),
    ("households", 92, 2, "户\x07", "text-control"),
    ("households", 93, 4, "路" * 201, "text-unfit"),
    ("households", 94, 3, "1.39E+10", "number-rounded"),
    ("households", 95, 5, "-1", "count-form"),
    ("households", 96, 6, "低保户 万元户", "tag-unknown"),
    ("households", 97, 1, "", "value-missing"),
]
# Rows that stand there a second time, with other values.
AGAIN: list[tuple[str, list[Any], str]] = [
    ("units", [99, int(GRIDS[7]), "另一个名称", "", "", ""], "row-twice"),
    ("people", ["另一个人", "", "W9", "否"], "row-twice"),
    (
        "households",
        [f"{BANNER}-0001", int(GRIDS[0]), "户0-1", "", "", "", "", ""],
        "household-twice",
    ),
]
# What follows from units and people whose codes cannot be read, and from posts of somebody else.
FOLLOWING = {
    *("unit-unknown", "parent-unknown", "person-unknown", "member-unknown", "member-without-post")
}
assert len(BROKEN) + len(AGAIN) >= 40
assert len({kind for *_, kind in BROKEN}) >= 20

NAMES = {
    "units": "行政区划.xlsx",
    "people": "人员.csv",
    "posts": "任职.csv",
    "households": "农牧户.xlsx",
}


def sheets() -> dict[str, list[list[Any]]]:
    return {"units": units(), "people": people(), "posts": posts(), "households": households()}


def files(given: dict[str, list[list[Any]]]) -> list[tuple[str, bytes]]:
    """A file of each office, in its own form."""
    return [
        (NAMES["units"], book({"Sheet1": given["units"], "附注": [["填报人", "某人"]]})),
        (NAMES["people"], text_file(given["people"], "gb18030")),
        (NAMES["posts"], text_file(given["posts"], "utf-8-sig", "\t")),
        (NAMES["households"], book({"农牧户信息": given["households"]})),
    ]


async def test_a_banner_imports_its_files_mends_what_is_named_and_begins(city: City) -> None:
    good, given = sheets(), sheets()
    for sheet, row, column, value, _ in BROKEN:
        given[sheet][row][column] = value
    wanted = {(NAMES[sheet], row + 1, kind) for sheet, row, _, _, kind in BROKEN}
    for sheet, again, kind in AGAIN:
        given[sheet].append(again)
        wanted.add((NAMES[sheet], len(given[sheet]), kind))
    before = await city.everything()
    checked = await city.take_files(files(given), "dry_run")
    refused = await city.take_files(files(given))
    assert checked.report.faults == refused.report.faults
    assert refused.state == "refused"
    assert await city.everything() == before
    named = {(fault.file, fault.row, fault.kind) for fault in refused.report.faults}
    assert wanted <= named
    assert {kind for *_, kind in named - wanted} <= FOLLOWING
    assert len(refused.report.kinds) >= 20
    # Whoever mends just the rows that are named is through; no name or number stands in the report.
    for name, row in sorted({(name, row) for name, row, _ in named}, reverse=True):
        [sheet] = [sheet for sheet, file in NAMES.items() if file == name]
        given[sheet][row - 1 : row] = good[sheet][row - 1 : row]
    text = refused.report.dump()
    assert "户0-0" not in text
    assert "13900000081" not in text
    # The first file by the command, as there is no administrator yet.
    done = await city.take_files(files(given))
    assert done.state == "done", done.report.faults
    assert [done.counts(sheet)[0] for sheet in NAMES] == [23, 14, 14, 120]
    told = {item.title: item for item in done.report.told}
    assert told["Sheet1"].ignored == ["序号", "面积"]
    assert told["附注"].sheet == ""
    assert (await city.take_files(files(good))).is_idle

    # A worker syncs, and visits; the township's supervisor reads.
    await city.let_in("W1", "S1", "A1")
    phone = city.world.phone("W1")
    await phone.sync()
    houses = phone.records("household", GRIDS[0])
    assert len(houses) == 10
    for house in houses[:3]:
        at = city.world.clock.now().isoformat()
        phone.put("visit", {"visited_at": at, "household_id": house.id}, grid=GRIDS[0])
    await phone.sync()
    assert not phone.held()
    listed = await city.world.get("/v1/households", "S1", unit=TOWNSHIPS[0], limit=100)
    assert len(listed.json()["items"]) == 40
    week = await city.world.get("/v1/summaries/weekly", "S1", unit=TOWNSHIPS[0], week="2026-W47")
    totals = week.json()["totals"]
    assert (totals["households"], totals["visits"], totals["households_visited"]) == (40, 3, 3)
    # From now on the banner's administrator imports.
    given["households"].append([f"{BANNER}-9999", int(GRIDS[0]), "新户", "", "99号", 2, "", "W1"])
    headers = {"Authorization": f"Bearer {await city.world.token('A1')}"}
    answer = await city.world.client.post(
        "/v1/imports",
        headers=headers,
        files=[("files", ("农牧户.xlsx", book({"农牧户": given["households"]}), XLSX))],
    )
    found = await city.until_ended(answer.json()["id"], "A1")
    new = {tally["sheet"]: tally["new"] for tally in found["tallies"]}
    assert (found["state"], new["households"]) == ("done", 1)
    await phone.sync()
    assert len(phone.records("household", GRIDS[0])) == 11
    # One village still keeps its book in a program of the nineties.
    done = await city.take_files([("旧表.xls", OLD_BOOK.read_bytes())], by="A1", units=[BANNER])
    assert done.state == "done", done.report.faults
    assert done.counts() == (2, 0, 0, 0, 0)
    rows = await city.world.fetch(
        "SELECT head_name, grid, members, state, state_since::text FROM household"
        " WHERE head_name LIKE '旧表%' ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("旧表一", GRIDS[0], 3, None, None),
        ("旧表二", GRIDS[1], 2, "away", "2026-10-01"),
    ]
