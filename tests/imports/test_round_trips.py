"""An export that nobody has changed changes nothing when it is imported, however odd what stands
there is.
"""

import random
from typing import Any

import pytest

from tests.imports.books import CITY, GRID, OTHER_GRID, TOWNSHIP, VILLAGE, small
from tests.imports.city import City
from tests.imports.test_imports import changed
from tests.imports.test_rest import rows_of


async def _ask(city: City, method: str, path: str, by: str, body: Any) -> Any:
    city.world.clock.forward(seconds=1)
    headers = {"Authorization": f"Bearer {await city.world.token(by)}"}
    answer = await city.world.client.request(method, path, json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def _post_of_another_level(city: City) -> None:
    body = {"role": "grid_worker", "unit": VILLAGE, "valid_from": "2026-01-01T08:00:00+08:00"}
    await _ask(city, "POST", "/v1/cadres/W2/posts", "A1", body)
    body = {"role": "contact_member", "unit": TOWNSHIP, "valid_from": "2026-01-01T08:00:00+08:00"}
    await _ask(city, "POST", "/v1/cadres/W2/posts", "A1", body)  # who is no party member


async def _two_of_one_head_without_address(city: City) -> None:
    for _ in range(2):
        fields = {"head_name": "李四"}
        await _ask(city, "POST", "/v1/households", "W1", {"grid": GRID, "fields": fields})


async def _tied_to_somebody_who_has_left(city: City) -> None:
    [post] = await city.world.fetch("SELECT id::text FROM post WHERE staff_code = 'S1'")
    end = {"valid_to": city.world.clock.now().isoformat()}
    await _ask(city, "PATCH", f"/v1/posts/{post['id']}", "A1", end)


async def _texts_that_no_file_may_bring(city: City) -> None:
    households = await city.households()
    for row, fields in zip(
        households,
        (
            {"phone": "没有电话", "address": "老地方…", "note": "两行\n的 备注"},
            {"phone": "138 0000 0000 转 2", "head_name": "  Ба́тар  ", "address": "**"},
            {"phone": "0472 1234567、13900000000", "note": "e.g. 例：", "members": 0},
        ),
        strict=False,
    ):
        by = "W1" if row["grid"] == GRID else "W2"
        await _ask(city, "PATCH", f"/v1/households/{row['id']}", by, {"fields": fields})


async def _words_of_the_day(city: City) -> None:
    put = f"/v1/vocabulary/tag/{'large_family'}"
    await _ask(city, "PUT", put, "A1", {"name_zh": "多子女、老人", "name_en": "a, b and c"})
    names = {"name_zh": "网格管家", "name_en": "committee member"}
    await _ask(city, "PUT", "/v1/vocabulary/role/grid_worker", "A1", names)
    row = (await city.households())[0]
    tags = {"tags": {"add": ["large_family", "veteran"]}}
    await _ask(city, "PATCH", f"/v1/households/{row['id']}", "W1", {"fields": tags})
    ends = {"valid_to": "2026-12-01"}
    await _ask(city, "PATCH", "/v1/vocabulary/tag/veteran", "A1", ends)


async def _posts_of_one_day(city: City) -> None:
    for _ in range(2):
        now = city.world.clock.now()
        body = {"role": "village_committee", "unit": VILLAGE, "valid_from": now.isoformat()}
        made = await _ask(city, "POST", "/v1/cadres/W2/posts", "A1", body)
        [post] = [
            p for p in made["posts"] if p["role"] == "village_committee" and p["valid_to"] is None
        ]
        end = {"valid_to": city.world.clock.now().isoformat(), "title": "队员"}
        await _ask(city, "PATCH", f"/v1/posts/{post['id']}", "A1", end)


async def _memberships(city: City) -> None:
    spans = [
        {"joined_on": "2001-07-01", "left_on": "2005-01-01"},
        {"joined_on": "2010-07-01", "left_on": "2026-03-01"},
    ]
    await _ask(city, "PATCH", "/v1/cadres/W1", "A1", {"party_membership": spans})
    spans = [{"joined_on": "1999-07-01"}]
    await _ask(city, "PATCH", "/v1/cadres/S1", "A1", {"party_membership": spans})


async def _another_staff_code(city: City) -> None:
    await _ask(city, "PATCH", "/v1/cadres/W1", "A1", {"shown_code": "N-1"})


async def _merged_household(city: City) -> None:
    [one, other] = [row["id"] for row in await city.households() if row["grid"] == GRID][:2]
    fields = {"state": "merged", "merged_into": other}
    await _ask(city, "PATCH", f"/v1/households/{one}", "W1", {"fields": fields})


async def _tree(city: City) -> None:
    body = {"name": "改名  的村", "name_mn": "ᠲᠣᠰᠬᠣ\u202fᠶᠢᠨ", "go_live": "2026-12-01"}
    await _ask(city, "PATCH", f"/v1/units/{VILLAGE}", "A1", body)
    household = next(row["id"] for row in await city.households() if row["grid"] == OTHER_GRID)
    part = {"name": "第3网格", "households": [household]}
    await _ask(city, "POST", f"/v1/units/{OTHER_GRID}/split", "A1", part)
    await _ask(city, "POST", f"/v1/units/{OTHER_GRID}/close", "A1", {})


ODD = [
    _post_of_another_level,
    _two_of_one_head_without_address,
    _texts_that_no_file_may_bring,
    _words_of_the_day,
    _posts_of_one_day,
    _memberships,
    _another_staff_code,
    _merged_household,
    _tree,
    _tied_to_somebody_who_has_left,
]


async def _state(city: City) -> Any:
    revs = await city.world.fetch("SELECT id::text, rev FROM household ORDER BY id")
    spans = await city.world.fetch("SELECT * FROM party_membership ORDER BY 1, 2")
    return await city.everything(), [*map(tuple, revs)], [*map(tuple, spans)]


@pytest.mark.parametrize("number", range(len(ODD) + 2))
async def test_an_unchanged_export_changes_nothing(city: City, number: int) -> None:
    """Each oddity alone, and all of them in two orders."""
    await city.take(small())
    await city.let_in("A1", "S1", "W1", "W2")
    some = [ODD[number]] if number < len(ODD) else ODD
    if number > len(ODD):
        some = random.Random(number).sample(ODD[:-1], len(ODD) - 1)
    for make in some:
        await make(city)
    before = await _state(city)
    for lang, by, unit in (("zh", "A1", CITY), ("en", "A1", CITY), ("zh", "W1", GRID)):
        answer = await city.world.get("/v1/exports/roster.xlsx", by, unit=unit, lang=lang)
        assert answer.status_code == 200, answer.text
        files = [("roster.xlsx", answer.content)]
        again = await city.take_files(files)
        assert again.state == "done", again.report.faults
        assert again.is_idle, again.report.items
        assert await _state(city) == before
        if unit != CITY:
            continue
        # Nothing is missing in it either.
        ending = await city.take_files(files, "end_missing")
        assert ending.state == "done", ending.report.faults
        assert ending.is_idle, ending.report.items


async def test_a_change_of_an_odd_row_is_refused_where_it_was_let_alone(city: City) -> None:
    await city.take(small())
    await city.let_in("A1", "W1", "W2")
    await _texts_that_no_file_may_bring(city)
    answer = await city.world.get("/v1/exports/roster.xlsx", "W1", unit=GRID)
    rows = {name: [[*row] for row in some] for name, some in rows_of(answer.content).items()}
    column = rows["农牧户"][0].index("电话")
    rows["农牧户"][1][column] += " 晚上打"
    refused = await city.take({"农牧户": [[cell or "" for cell in row] for row in rows["农牧户"]]})
    [fault] = refused.report.faults
    assert (fault.kind, fault.column, fault.row) == ("phone-form", "电话", 2)


async def test_an_export_makes_the_same_households_in_another_database_and_only_once(
    city: City,
) -> None:
    """Two of one head without an address are told apart by their ids, also where nobody knows
    those.
    """
    await city.take({name: rows for name, rows in small().items() if name != "农牧户"})
    header = ["网格编码", "户主", "系统编号"]
    rows = [
        [GRID, "李四", "0192f3a1-0000-7000-8000-000000000001"],
        [GRID, "李四", "0192f3a1-0000-7000-8000-000000000002"],
    ]
    made = await city.take({"农牧户": [header, *rows]})
    assert made.counts() == (2, 0, 0, 0, 0), made.report.faults
    assert (await city.take({"农牧户": [header, *rows]})).counts() == (0, 0, 2, 0, 0)
    twice = await city.take({"农牧户": [header, *rows, rows[0]]})
    assert [fault.kind for fault in twice.report.faults] == ["household-twice"]


async def test_a_number_that_another_household_has_is_not_given_to_the_one_with_the_id(
    city: City,
) -> None:
    await city.take(small())
    first = (await city.households())[0]["id"]
    header = ["网格编码", "户编号", "户主", "系统编号"]
    refused = await city.take({"农牧户": [header, [GRID, "H2", "张三", first]]})
    assert [fault.kind for fault in refused.report.faults] == ["number-taken"]


async def test_days_of_party_membership_come_with_the_workbook_and_are_taken_back(
    city: City,
) -> None:
    async def spans(code: str) -> list[tuple[str | None, str | None]]:
        rows = await city.world.fetch(
            "SELECT joined_on::text, left_on::text FROM party_membership WHERE staff_code = $1"
            " ORDER BY number",
            code,
        )
        return [(row[0], row[1]) for row in rows]

    await city.take(small())
    header = ["工号", "姓名", "党员", "入党日期", "党籍截止日期"]

    async def take(*rows: list[Any]) -> Any:
        return await city.take({"人员": [header, *rows]})

    first = await take(["W1", "王建国", "是", "2001-07-01", ""], ["W2", "李秀英", "否", "", ""])
    assert first.state == "done", first.report.faults
    assert await spans("W1") == [("2001-07-01", None)]
    assert await spans("W2") == []
    # Yes or no alone follows the spans: the member has left today.
    ended = await take(["W1", "王建国", "否", "", ""])
    assert await spans("W1") == [("2001-07-01", "2026-11-20")]
    assert (await take(["W1", "王建国", "否", "", ""])).is_idle
    again = await take(["W1", "王建国", "", "2026-12-01", ""])
    assert await spans("W1") == [("2001-07-01", "2026-11-20"), ("2026-12-01", None)]
    for row, kind in (
        (["W1", "王建国", "", "2026-12-01", "2026-11-01"], "membership-reversed"),
        (["W1", "王建国", "", "2010-12-01", ""], "membership-overlaps"),
        (["W2", "李秀英", "否", "2010-12-01", ""], "membership-differs"),
    ):
        refused = await take(row)
        assert [fault.kind for fault in refused.report.faults] == [kind]
    for done, left in (
        (again, [("2001-07-01", "2026-11-20")]),
        (ended, [("2001-07-01", None)]),
        (first, []),
    ):
        assert (await city.undo(done.id)).state == "undone"
        assert await spans("W1") == left


async def test_an_unchanged_row_passes_beside_a_wrong_one(city: City) -> None:
    await city.take(small())
    await city.let_in("A1")
    await _post_of_another_level(city)
    wrong = changed(任职=lambda rows: rows.append(["W1", "网格员", VILLAGE, "2026-01-01", ""]))
    refused = await city.take(wrong)
    assert [fault.kind for fault in refused.report.faults] == ["role-level"]
    # As the file says it, and not by a name of the service.
    assert refused.report.faults[0].value == "网格员"
