"""Units of an import: other levels, other codes and other parents than the official ones."""

from datetime import timedelta
from typing import Any

import pytest

from service.organisation.placing import digits_needed, is_grid_code
from service.tallies.recount import differences
from sync_protocol.periods import local_day
from tests.imports.books import (
    BANNER,
    CITY,
    GRID,
    HOUSEHOLDS,
    PEOPLE,
    POSTS,
    TOWNSHIP,
    UNITS,
    VILLAGE,
    Rows,
    book,
    small,
)
from tests.imports.city import City
from tests.imports.test_imports import changed

LEVELS = ("级别标识", "级别名称", "英文名称", "可见类别")
# A made-up country of four levels, and a unit whose parent no code tells.
NORTH, STEPPE, OTHER_CAMP = "7", "71", "9002"


def country() -> dict[str, Rows]:
    """Another country's tree, people and households, in one workbook."""
    return {
        "级别": [
            LEVELS,
            ["aimag", "省", "aimag", "否"],
            ["soum", "县", "soum", "是"],
            ["bag", "乡", "", ""],
            ["grid", "牧点", "camp", "是"],
        ],
        "单位": [
            UNITS,
            [NORTH, "北省", "aimag", "", "", "", ""],
            [STEPPE, "草原县", "", NORTH, "", "", ""],
            ["7101", "河乡", "乡", STEPPE, "", "", ""],
            # Its code goes on from no other, so that only the sheet says where it lies.
            [OTHER_CAMP, "远牧点", "camp", "7101", "", "", "党小组"],
            ["710101", "近牧点", "", "", "", "", ""],
        ],
        "人员": [PEOPLE, ["W1", "王建国", "138-0000-0001", "是"], ["A1", "管理", "", "是"]],
        "任职": [
            POSTS,
            ["W1", "网格员", OTHER_CAMP, "2020-01-01", ""],
            ["W1", "网格员", "710101", "2020-01-01", ""],
            ["A1", "系统管理员", NORTH, "2020-01-01", ""],
        ],
        "农牧户": [
            HOUSEHOLDS,
            [OTHER_CAMP, "H1", "张三", "", "1号", 4, "", "W1"],
            ["710101", "", "赵四", "", "2号", "", "", ""],
        ],
    }


async def test_another_countrys_tree_comes_with_its_workbook_alone(city: City) -> None:
    before = await city.world.fetch("SELECT * FROM level ORDER BY position")
    done = await city.take(country())
    assert done.state == "done", done.report.faults
    assert (await city.take(country())).is_idle
    units = await city.world.fetch("SELECT code, level, parent FROM unit ORDER BY code")
    assert [tuple(unit) for unit in units] == [
        (NORTH, "aimag", None),
        (STEPPE, "soum", NORTH),
        ("7101", "bag", STEPPE),
        ("710101", "grid", "7101"),
        (OTHER_CAMP, "grid", "7101"),
    ]
    await city.let_in("W1", "A1")
    levels = (await city.world.get("/v1/levels", "A1")).json()
    assert [(one["slug"], one["name_zh"], one["name_en"]) for one in levels] == [
        ("aimag", "省", "aimag"),
        ("soum", "县", "soum"),
        ("bag", "乡", "bag"),
        ("grid", "牧点", "camp"),
    ]
    # The worker syncs and visits, and every unit above counts it.
    phone = city.world.phone("W1")
    await phone.sync()
    [house] = phone.records("household", OTHER_CAMP)
    assert house.fields["head_name"] == "张三"
    visited_at = city.world.clock.now().isoformat()
    fields = {"visited_at": visited_at, "household_id": house.id}
    phone.put("visit", fields, grid=OTHER_CAMP)
    await phone.sync()
    for unit, count in ((NORTH, 2), ("7101", 2), (OTHER_CAMP, 1)):
        week = await city.world.get("/v1/summaries/weekly", "A1", unit=unit, week="2026-W47")
        totals = week.json()["totals"]
        assert (totals["households"], totals["visits"]) == (count, 1), unit
    async with city.database.reading() as connection:
        assert await differences(connection, city.settings) == []
    # The export is what an import reads, in either language; and the levels can be taken back.
    for lang in ("zh", "en"):
        answer = await city.world.get("/v1/exports/roster.xlsx", "A1", unit=NORTH, lang=lang)
        again = await city.take_files([("roster.xlsx", answer.content)])
        assert again.is_idle, again.report.faults
    other = await city.world.get("/v1/units", "A1", parent="7101")
    assert {unit["code"] for unit in other.json()["items"]} == {"710101", OTHER_CAMP}
    assert before[0]["slug"] == "city"


async def test_one_wrong_cell_of_a_level_is_told_once(city: City) -> None:
    for place, cell, kind in ((0, "Camp 1!", "level-form"), (0, "gird", "level-lowest")):
        file: dict[str, Any] = {name: [[*row] for row in rows] for name, rows in country().items()}
        file["级别"][4][place] = cell
        refused = await city.take(file)
        assert [(fault.kind, fault.row) for fault in refused.report.faults] == [(kind, 5)]
    # What rests on it is passed over, and nothing was written.
    taken = await city.take(file, "skip_bad")
    assert {fault.kind for fault in taken.report.faults} == {"level-lowest", "row-waits"}
    assert await city.world.fetch("SELECT FROM unit") == []


async def test_levels_are_taken_back_with_the_units(city: City) -> None:
    before = await city.world.fetch("SELECT * FROM level ORDER BY position")
    done = await city.take({name: country()[name] for name in ("级别", "单位")})
    assert done.state == "done", done.report.faults
    assert (await city.undo(done.id)).state == "undone"
    assert await city.world.fetch("SELECT * FROM level ORDER BY position") == before
    assert (await city.take(small())).state == "done"


async def test_levels_can_be_renamed_but_not_replaced_once_there_are_units(city: City) -> None:
    await city.take(small())
    replaced = await city.take({"级别": country()["级别"]})
    assert [fault.kind for fault in replaced.report.faults] == ["levels-in-use"]
    slugs = ("city", "banner", "township", "village", "grid")
    named = [LEVELS, *([slug, f"第{n}级", slug, "是"] for n, slug in enumerate(slugs, 1))]
    renamed = await city.take({"级别": named, **small()})
    assert renamed.state == "done", renamed.report.faults
    rows = await city.world.fetch("SELECT name_zh FROM level ORDER BY position")
    assert [row["name_zh"] for row in rows] == [f"第{n}级" for n in range(1, 6)]
    lowest = await city.take({"级别": [LEVELS, ["grid", "网格", "", ""], ["city", "市", "", ""]]})
    assert {fault.kind for fault in lowest.report.faults} == {"level-lowest"}


async def test_the_parent_of_a_unit_is_what_the_sheet_says(city: City) -> None:
    other = BANNER + "101"

    def units(rows: list[list[Any]]) -> None:
        rows.append([other, "另一镇", "", "", "", "镇", ""])
        # The official code goes on from the first township, but it lies under the second.
        rows.append([TOWNSHIP + "203", "划走的村", "", other, "", "", ""])
        rows.append([TOWNSHIP + "203001", "其网格", "", "", "", "", ""])
        rows.append([TOWNSHIP + "204", "无此上级的村", "", BANNER + "999", "", "", ""])
        rows.append([TOWNSHIP + "205", "上级不对的村", "", BANNER, "", "", ""])
        rows.append([TOWNSHIP + "206001", "编码不对的网格", "", TOWNSHIP + "203", "", "", ""])

    done = await city.take(changed(单位=units), "skip_bad")
    assert {(fault.kind, fault.row) for fault in done.report.faults} == {
        ("parent-unknown", 11),
        ("parent-level", 12),
        ("grid-code", 13),
    }
    await city.let_in("A1")
    found = await city.world.get("/v1/units", "A1", unit=other)
    assert {unit["code"] for unit in found.json()["items"]} == {
        *(other, TOWNSHIP + "203", TOWNSHIP + "203001")
    }


async def test_a_moved_villages_export_names_its_parent_and_changes_nothing(city: City) -> None:
    other = BANNER + "101"

    def units(rows: list[list[Any]]) -> None:
        rows.append([other, "另一镇", "", "", "", "镇", ""])

    assert (await city.take(changed(单位=units))).state == "done"
    await city.let_in("A1")
    day = local_day(city.world.clock.now()) + timedelta(days=1)
    body = {"to": other, "from": day.isoformat()}
    assert (await city.world.post(f"/v1/units/{VILLAGE}/move", body, "A1")).status_code == 200
    planned = await city.world.get("/v1/exports/roster.xlsx", "A1", unit=CITY)
    city.world.clock.forward(days=1)
    moved = await city.world.get("/v1/exports/roster.xlsx", "A1", unit=CITY)
    before = await city.everything()
    again = await city.take_files([("roster.xlsx", moved.content)])
    assert again.is_idle, again.report.faults
    # A file with the old parent is told so; it moves nothing back.
    stale = await city.take_files([("roster.xlsx", planned.content)])
    assert [fault.kind for fault in stale.report.faults] == ["parent-moved"]
    assert await city.everything() == before


async def test_a_household_of_another_banner_is_seen_by_the_dry_run(city: City) -> None:
    far = CITY + "22"
    units = [far, far + "100", far + "100201", far + "100201001"]

    def add(rows: list[list[Any]]) -> None:
        rows.extend([unit, f"远{unit}", "", "", "", "", ""] for unit in units)

    def post(rows: list[list[Any]]) -> None:
        rows.append(["S1", "系统管理员", BANNER, "2020-01-01", ""])
        rows.append(["W2", "网格员", units[-1], "2020-01-01", ""])

    def house(rows: list[list[Any]]) -> None:
        rows.append([units[-1], "H9", "外旗人", "", "9号", "", "", ""])

    done = await city.take(changed(单位=add, 任职=post, 农牧户=house))
    assert done.state == "done", done.report.faults
    sheets: dict[str, Rows] = {
        "农牧户": [
            HOUSEHOLDS,
            [GRID, "H9", "外旗人", "", "9号", "", "", ""],
            [GRID, "H1", "张三", "", "1组1号", "", "", "NOBODY"],
        ]
    }
    files = [("roster.xlsx", book(sheets))]
    dry = await city.take_files(files, "dry_run", by="S1", units=[BANNER])
    assert {(fault.kind, fault.row) for fault in dry.report.faults} == {
        ("household-elsewhere", 2),
        ("member-unknown", 3),
    }
    taken = await city.take_files(files, "skip_bad", by="S1", units=[BANNER])
    assert (taken.state, taken.counts()) == ("done", (0, 0, 0, 0, 2))
    held = await city.world.fetch("SELECT count(*) FROM held")
    assert held[0]["count"] == 0


async def test_titles_days_states_and_numbers_come_and_go_with_the_workbook(city: City) -> None:
    def add(**columns: Any) -> Any:
        def change(rows: list[list[Any]]) -> None:
            for header, values in columns.items():
                rows[0] = [*rows[0], header]
                for place, row in enumerate(rows[1:]):
                    row.append(values[place] if place < len(values) else "")

        return change

    sheets = changed(
        单位=add(上线日期=["", "2026-12-01"]),
        任职=add(称谓=["", "", "驻村工作队队员"]),
        农牧户=add(村内编号=["7"], 在册状态=["", "外迁"], 状态日期=["", "2026-11-02"]),
    )
    done = await city.take(sheets)
    assert done.state == "done", done.report.faults
    await city.let_in("A1", "S1")
    before = await city.everything()
    [banner] = [
        unit
        for unit in (await city.world.get("/v1/units", "A1", unit=BANNER)).json()["items"]
        if unit["code"] == BANNER
    ]
    assert banner["go_live"] == "2026-12-01"
    cadre = (await city.world.get("/v1/cadres/S1", "A1")).json()
    assert [post["title"] for post in cadre["posts"]] == ["驻村工作队队员"]
    houses = (await city.world.get("/v1/households", "S1", unit=GRID, state="any")).json()["items"]
    assert {
        house["head_name"]: (house["household_no"], house["village_no"], house["state"])
        for house in houses
    } == {"张三": ("H1", "7", "present"), "赵四": ("H2", None, "away")}
    assert {house["state_since"] for house in houses} == {None, "2026-11-02"}
    for by in ("A1", "S1"):
        unit = {"A1": CITY, "S1": VILLAGE}[by]
        answer = await city.world.get("/v1/exports/roster.xlsx", by, unit=unit)
        again = await city.take_files([("roster.xlsx", answer.content)])
        assert again.is_idle, (again.report.faults, again.report.items)
        assert await city.everything() == before
    # Another title alone changes the post, and is taken back with the import.
    retitled = await city.take(changed(任职=add(称谓=["", "", "第一书记"])))
    assert retitled.counts("posts") == (0, 1, 3, 0, 0)
    assert (await city.undo(retitled.id)).state == "undone"
    cadre = (await city.world.get("/v1/cadres/S1", "A1")).json()
    assert [post["title"] for post in cadre["posts"]] == ["驻村工作队队员"]
    merged = changed(农牧户=add(在册状态=["并户"]))
    assert [fault.kind for fault in (await city.take(merged)).report.faults] == ["state-merged"]


async def test_a_renamed_unit_keeps_its_former_name_and_says_who_has_renamed_it(
    city: City,
) -> None:
    await city.take(small())
    await city.let_in("A1")

    def rename(rows: list[list[Any]]) -> None:
        rows[4][1] = "新名村"

    files = [("roster.xlsx", book(changed(单位=rename)))]
    assert (await city.take_files(files, by="A1", units=[CITY])).state == "done"
    found = (await city.world.get(f"/v1/units/{VILLAGE}", "A1")).json()
    assert [former["name"] for former in found["former_names"]] == ["某村"]
    assert [(change["staff_code"], change["action"]) for change in found["changes"]] == [
        ("A1", "changed")
    ]


async def test_a_staff_code_that_was_changed_names_the_same_person(city: City) -> None:
    await city.take(small())
    await city.let_in("A1")
    headers = {"Authorization": f"Bearer {await city.world.token('A1')}"}
    answer = await city.world.client.patch(
        "/v1/cadres/W1", json={"shown_code": "N1"}, headers=headers
    )
    assert answer.status_code == 200, answer.text

    def renamed(rows: list[list[Any]]) -> None:
        rows[1][0] = "N1"

    again = await city.take(changed(人员=renamed, 任职=renamed))
    assert again.is_idle, again.report.items
    assert len(await city.world.fetch("SELECT staff_code FROM cadre")) == 4


@pytest.mark.parametrize(
    ("code", "parent", "official", "digits"),
    [
        ("150221100201001", "150221100201", True, None),
        ("150221100201001", "150221100202", True, 12),
        ("150221", "150221100202", True, None),
        ("12345678000101", "12345678", False, None),
        ("12345678000101", "12345679", False, 8),
        ("123456789012345", "1234567890123", False, 12),
    ],
)
def test_a_long_code_of_a_grid_begins_with_that_of_its_village(
    code: str, parent: str, official: bool, digits: int | None
) -> None:
    assert is_grid_code(code, parent, official) == (digits is None)
    assert digits is None or digits_needed(parent) == digits
