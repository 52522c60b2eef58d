"""Households that a file does not have any more, where it has them elsewhere; and numbers that two
of a village have.
"""

from unittest.mock import patch

import pytest

from service.imports import applying
from service.imports.household_checking import HouseholdChange
from tests.imports.books import GRID, HOUSEHOLDS, TOWNSHIP, Rows, book, small
from tests.imports.city import City

OTHER_VILLAGE = TOWNSHIP + "202"
THERE = OTHER_VILLAGE + "001"


def with_mover(grid: str) -> dict[str, Rows]:
    return {
        "农牧户": [
            HOUSEHOLDS,
            [GRID, "L", "留下", "", "甲", 1, "", ""],
            [THERE, "R", "也留下", "", "乙", 1, "", ""],
            [grid, "X", "搬家", "", "丙", 1, "", ""],
        ]
    }


@pytest.mark.parametrize("compared", [1, 1_000], ids=["two groups", "one group"])
@pytest.mark.parametrize(("before", "after"), [(GRID, THERE), (THERE, GRID)], ids=["up", "down"])
async def test_what_the_file_has_in_another_village_is_moved_and_not_deleted(
    city: City, before: str, after: str, compared: int
) -> None:
    sheets: dict[str, Rows] = {**small(), **with_mover(before)}
    sheets["单位"] = [*sheets["单位"], [OTHER_VILLAGE, "村"], [THERE, "网格"]]
    sheets["农牧户"] = [*sheets["农牧户"], [before, "W", "走了", "", "丁", 1, "", ""]]
    assert (await city.take(sheets)).counts() == (4, 0, 0, 0, 0)
    run = city.run_of(await city.ask_files([("r.xlsx", book(with_mover(after)))], "end_missing"))
    run.pace.compared = compared
    await run.carry_out()
    found = {row["head_name"]: row["grid"] for row in await city.households()}
    assert found == {"留下": GRID, "也留下": THERE, "搬家": after}
    told = run.report.sheets["households"]
    assert (told.new, told.changed, told.ended) == (0, 1, 1)


async def test_what_is_edited_each_time_is_named_and_not_left_out_in_silence(city: City) -> None:
    await city.take(small())
    stale = 0

    async def edited(run: object, changes: list[HouseholdChange], *_: object) -> int:
        nonlocal stale
        stale += 1
        return len(changes)

    changed: dict[str, Rows] = {
        "农牧户": [HOUSEHOLDS, [GRID, "H1", "张三", "", "1组1号", 6, "", ""]]
    }
    run = city.run_of(await city.ask(changed))
    with patch.object(applying, "write_part", edited):
        await run.carry_out()
    assert stale == 5
    assert [fault.kind for fault in run.report.faults] == ["held"]


async def test_two_households_of_a_village_cannot_have_one_number(city: City) -> None:
    await city.take(small())
    head = [*HOUSEHOLDS, "村内编号"]
    rows: Rows = [
        head,
        [GRID, "Q-1", "甲", "", "5号", 1, "", "", "7"],
        [GRID, "Q-2", "乙", "", "6号", 1, "", "", "7"],
        [GRID, "Q-3", "丙", "", "7号", 1, "", "", "8"],
    ]
    refused = await city.take({"农牧户": rows})
    assert [(fault.kind, fault.row) for fault in refused.report.faults] == [
        ("village-number-twice", 3)
    ]
