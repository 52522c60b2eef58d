"""Workbooks know the words of the day: those that were added, renamed, or have ended."""

import io
from typing import Any

import openpyxl

from tests.imports.books import GRID, small
from tests.imports.city import City
from tests.imports.test_imports import changed
from tests.imports.test_rest import rows_of


async def _put(city: City, list: str, code: str, **body: Any) -> None:
    city.world.clock.forward(seconds=1)
    headers = {"Authorization": f"Bearer {await city.world.token('A1')}"}
    path = f"/v1/vocabulary/{list}/{code}"
    answer = await city.world.client.put(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def tagged(*tags: str) -> dict[str, Any]:
    def edit(rows: list[list[Any]]) -> None:
        rows[1][6] = "、".join(tags)

    return changed(农牧户=edit)


async def test_a_tag_that_was_added_is_imported_and_exported(city: City) -> None:
    await city.take(small())
    await city.let_in("A1", "W1")
    refused = await city.take(tagged("多子女家庭"))
    assert [fault.kind for fault in refused.report.faults] == ["tag-unknown"]
    await _put(city, "tag", "large_family", name_zh="多子女家庭", name_en="large family")
    await _put(city, "tag", "veteran", name_zh="老兵", name_en="old soldier")
    done = await city.take(tagged("多子女家庭", "老兵", "低保"))
    assert done.state == "done", done.report.faults
    assert (await city.households())[0]["tags"] == ["large_family", "low_income", "veteran"]
    answer = await city.world.get("/v1/exports/roster.xlsx", "W1", unit=GRID)
    rows = rows_of(answer.content)["农牧户"]
    place = rows[0].index("类别")
    assert {row[place] for row in rows[1:]} == {"多子女家庭、低保、老兵", None}
    # Also under the name that it had before it was renamed.
    assert (await city.take(tagged("多子女家庭", "退役军人", "低保"))).is_idle


async def test_lists_to_choose_from_have_the_words_of_the_day(city: City) -> None:
    await city.take(small())
    await city.let_in("A1")
    await _put(city, "tag", "large_family", name_zh="多子女家庭", name_en="large family")
    await _put(city, "role", "grid_worker", name_zh="网格管家", name_en="grid keeper")
    answer = await city.world.get("/v1/exports/roster.xlsx", "A1", unit=GRID)
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    offered = {
        sheet: " ".join(str(one.formula1) for one in book[sheet].data_validations.dataValidation)
        for sheet in ("任职", "农牧户")
    }
    assert "网格管家" in offered["任职"]
    assert "网格员" not in offered["任职"]
    assert "多子女家庭" in offered["农牧户"]
    assert "网格管家" in {row[1] for row in rows_of(answer.content)["任职"]}


async def test_a_tag_that_has_ended_stays_and_is_given_to_nobody(city: City) -> None:
    await city.take(small())
    await city.let_in("A1")
    await _put(
        city, "tag", "old", name_zh="旧类", name_en="old", valid_from="2026-11-01",
        valid_to="2026-11-21",
    )  # fmt: skip
    assert (await city.take(tagged("旧类"))).state == "done"
    city.world.clock.forward(days=2)
    assert (await city.take(tagged("旧类"))).is_idle

    def edit(rows: list[list[Any]]) -> None:
        rows[1][6] = rows[2][6] = "旧类"

    refused = await city.take(changed(农牧户=edit))
    assert [(fault.kind, fault.row) for fault in refused.report.faults] == [("tag-ended", 3)]
