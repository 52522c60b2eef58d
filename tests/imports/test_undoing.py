"""What taking an import back leaves, and what is said of it."""

from typing import Any

import pytest

from sync_protocol.texts import restored
from tests.imports.books import GRID, OTHER_GRID, POSTS, small
from tests.imports.city import City
from tests.imports.test_imports import changed


async def _given(city: City) -> Any:
    """A second import, which gives W2 a post in the other worker's grid."""
    await city.take(small())
    await city.let_in("A1", "S1", "W1", "W2")
    city.world.clock.forward(hours=1)
    return await city.take({"任职": [POSTS, ["W2", "网格员", GRID, "2026-01-01", ""]]})


async def _post_is_there(city: City) -> bool:
    rows = await city.world.fetch(
        "SELECT FROM post WHERE staff_code = 'W2' AND unit = $1 AND valid_to IS NULL", GRID
    )
    return bool(rows)


async def test_a_post_that_nobody_has_used_is_taken_back(city: City) -> None:
    done = await _given(city)
    assert (await city.undo(done.id)).state == "undone"
    assert not await _post_is_there(city)


@pytest.mark.parametrize("how", ["sign-in", "read", "write", "sync"])
async def test_a_post_stays_whose_holder_has_used_it_in_whichever_way(city: City, how: str) -> None:
    if how == "read":
        await city.take(small())
        await city.let_in("W2")
        await city.world.token("W2")  # who has signed in before
        done = await city.take({"任职": [POSTS, ["W2", "网格员", GRID, "2026-01-01", ""]]})
    else:
        done = await _given(city)
    city.world.clock.forward(minutes=1)
    if how == "sign-in":
        await city.world.token("W2")
    elif how == "read":
        await city.world.get("/v1/households", "W2", unit=GRID)
    elif how == "write":
        body = {"grid": GRID, "fields": {"head_name": "新户"}}
        assert (await city.world.post("/v1/households", body, "W2")).status_code == 201
    else:
        await city.world.phone("W2").sync()
    undone = await city.undo(done.id)
    assert undone.state == "partly-undone"
    assert await _post_is_there(city)
    [left] = undone.report.left
    assert (left.kind, left.grid) == ("post", "")
    assert "worked" in restored(left.why)
    # By what people know it, and not by an id.
    assert restored(left.named) == f"W2: grid worker, {GRID}"


async def test_a_new_person_with_a_password_keeps_the_post(city: City) -> None:
    done = await city.take(small())
    await city.let_in("W1")
    undone = await city.undo(done.id)
    left = {(one.kind, restored(one.named)): restored(one.why) for one in undone.report.left}
    assert "password" in left["post", f"W1: grid worker, {GRID}"]
    assert left["person", "W1"] == "The person has, or had, a post."
    assert left["unit", GRID] == "Somebody has, or had, a post there."
    assert left["unit", GRID[:12]] == "Another unit lies under it."
    assert ("unit", OTHER_GRID) not in left
    assert {one.grid for one in undone.report.left} == {""}


async def test_what_was_left_is_tried_again_and_counted_once(city: City) -> None:
    done = await city.take(small())
    await city.let_in("S1")
    row = (await city.households())[0]
    path = f"/v1/households/{row['id']}"
    headers = {"Authorization": f"Bearer {await city.world.token('S1')}"}
    body = {"fields": {"members": 9}}
    assert (await city.world.client.patch(path, json=body, headers=headers)).status_code == 200
    first = await city.undo(done.id)
    [left] = [one for one in first.report.left if one.kind == "household"]
    assert (left.grid, restored(left.named)) == (GRID, "H1 张*")
    again = await city.undo(done.id)
    # Nothing more could be taken back, and nothing was taken back twice.
    assert again.report.undone == first.report.undone
    assert len(again.report.left) == len(first.report.left)


async def test_who_loses_a_post_and_has_something_in_hand_is_named(city: City) -> None:
    await city.take(small())

    def without_secretary(rows: list[list[Any]]) -> None:
        rows[3] = ["S1", "嘎查村党组织书记", GRID[:12], "2020-01-01", "2026-11-01"]

    ended = await city.take(changed(任职=without_secretary))
    assert ended.state == "done", ended.report.faults
    [warning] = map(restored, ended.report.warnings)
    assert "‘S1’ still has in hand: 1 households" in warning
    # The next file passes: the household stays tied to whom it is tied.
    assert (await city.take(changed(任职=without_secretary))).is_idle


async def test_posts_that_end_for_they_are_missing_are_told_and_the_next_import_passes(
    city: City,
) -> None:
    await city.take(small())

    def other_secretary(rows: list[list[Any]]) -> None:
        rows[3] = ["W1", "两委成员", GRID[:12], "2026-01-01", ""]

    file = changed(任职=other_secretary)
    ended = await city.take(file, "end_missing")
    assert ended.state == "done", ended.report.faults
    assert len(ended.report.warnings) == 1
    assert (await city.take(file, "end_missing")).is_idle

    # Nobody else is tied to who has left, whom the same file no longer has.
    def tie(rows: list[list[Any]]) -> None:
        rows[2][7] = "S1"

    refused = await city.take(changed(任职=other_secretary, 农牧户=tie))
    assert [fault.kind for fault in refused.report.faults] == ["member-without-post"]


async def test_changes_of_households_are_told_by_household(city: City) -> None:
    await city.take(small())
    ids = {row["head_name"]: row["id"] for row in await city.households()}

    def edit(rows: list[list[Any]]) -> None:
        rows[1][5] = 5
        rows[2:] = [[GRID, "H9", "周八", "", "9号", "", "", ""]]

    done = await city.take(changed(农牧户=edit), "end_missing")
    told = {
        (item.what, item.key, item.grid, item.named)
        for item in done.report.items
        if item.sheet == "households"
    }
    assert told == {
        ("changed", ids["张三"], GRID, "H1 张*"),
        ("new", "", GRID, "H9 周*"),
        ("ended", ids["赵四"], GRID, "赵*"),
        ("ended", ids["孟和"], OTHER_GRID, "孟*"),
    }
