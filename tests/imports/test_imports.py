"""What an import does to a city, and what it leaves alone."""

import random
from copy import deepcopy
from typing import Any

import pytest

from service.imports import applying
from service.imports.runs import Run
from service.privacy.reencrypt import reencrypt
from service.tallies.recount import differences
from simulator.places import NOW
from sync_protocol.vocabulary import Label
from tests.encrypted import another_key, own_key, use_keys
from tests.imports.books import CITY, GRID, HOUSEHOLDS, OTHER_GRID, VILLAGE, Rows, small, text_file
from tests.imports.city import City


def changed(**rows: Any) -> dict[str, Any]:
    """The small city with sheets changed by functions."""
    sheets: dict[str, Any] = deepcopy({name: [*rows] for name, rows in small().items()})
    sheets = {name: [list(row) for row in some] for name, some in sheets.items()}
    for name, change in rows.items():
        change(sheets[name])
    return sheets


async def test_an_import_brings_in_what_stands_in_the_file(city: City) -> None:
    done = await city.take(small())
    assert done.state == "done"
    assert done.counts("units") == (6, 0, 0, 0, 0)
    households = await city.households()
    assert [
        (row["grid"], row["head_name"], row["phone"], row["address"]) for row in households
    ] == [
        (GRID, "张三", "04721234567", "1组1号"),
        (GRID, "赵四", "13900000001", "1组2号"),
        (OTHER_GRID, "孟和", None, "2组1号"),
    ]
    assert households[0]["tags"] == ["elderly_alone", "low_income"]
    assert (households[0]["members"], households[0]["lead_member"]) == (4, "S1")
    [post] = await city.world.fetch("SELECT * FROM post WHERE staff_code = 'W2'")
    assert (post["role"], post["unit"]) == ("grid_worker", OTHER_GRID)
    assert post["valid_from"].isoformat() == "2019-12-31T16:00:00+00:00"
    [unit] = await city.world.fetch("SELECT * FROM unit WHERE code = $1", GRID)
    assert (unit["level"], unit["parent"], unit["party_group"]) == ("grid", VILLAGE, "group")
    # It went through the write path: it is in the log, and counts.
    assert len(await city.world.logged("kind = 'household'")) == 3
    async with city.database.reading() as connection:
        assert await differences(connection, city.settings) == []


async def test_a_dry_run_and_a_file_with_faults_write_nothing(city: City) -> None:
    assert (await city.take(small(), "dry_run")).state == "checked"
    wrong = changed(农牧户=lambda rows: rows.append([GRID, "H9", "", "", "", "", "", ""]))
    refused = await city.take(wrong)
    assert refused.state == "refused"
    [fault] = refused.report.faults
    assert (fault.kind, fault.sheet, fault.row, fault.column) == (
        "value-missing",
        "农牧户",
        5,
        "户主",
    )
    assert await city.everything() == {"unit": [], "cadre": [], "post": [], "household": []}
    taken = await city.take(wrong, "skip_bad")
    assert (taken.state, taken.counts()) == ("done", (3, 0, 0, 0, 1))


@pytest.mark.parametrize("seed", range(3))
async def test_twice_is_once(city: City, seed: int) -> None:
    """Whatever a file holds, in whatever order, once or again: every household is there once."""
    rng = random.Random(seed)
    await city.take({name: rows for name, rows in small().items() if name != "农牧户"})
    people = [f"户主{number}" for number in range(14)]
    everyone = set()
    for _ in range(3):
        rows: list[list[Any]] = []
        for number in rng.sample(range(14), rng.randint(3, 14)):
            everyone.add(number)
            key = f"N{number}" if number % 2 else ""
            grid = rng.choice([GRID, OTHER_GRID])
            phone = rng.choice(["", 13800000000.0 + number, "0472-1234567"])
            tags = rng.choice(["", "低保", "无"])
            rows.append([grid, key, people[number], phone, f"{number}号", number % 5, tags, ""])
        sheets: dict[str, Rows] = {"农牧户": [HOUSEHOLDS, *rows]}
        first = await city.take(sheets)
        assert first.state == "done", first.report.faults
        after = await city.everything()
        rng.shuffle(rows)
        again = await city.take({"农牧户": [HOUSEHOLDS, *rows]})
        assert again.is_idle
        assert again.counts()[2] == len(rows)
        assert await city.everything() == after
        assert sorted(row["head_name"] for row in after["household"]) == sorted(
            people[number] for number in everyone
        )
    async with city.database.reading() as connection:
        assert await differences(connection, city.settings) == []


async def test_a_household_with_a_number_is_known_wherever_it_moves(city: City) -> None:
    await city.take(small())
    before = {row["head_name"]: row["id"] for row in await city.households()}

    def move(rows: list[list[Any]]) -> None:
        rows[1][0], rows[1][2], rows[1][4] = OTHER_GRID, "张三丰", "2组9号"

    moved = await city.take(changed(农牧户=move))
    assert moved.counts() == (0, 1, 2, 0, 0)
    after = {row["head_name"]: (row["id"], row["grid"]) for row in await city.households()}
    assert after["张三丰"] == (before["张三"], OTHER_GRID)
    assert len(after) == 3


async def test_a_household_without_a_number_is_known_by_what_it_was_and_by_what_it_is(
    city: City,
) -> None:
    await city.take(small())
    await city.let_in("S1")
    [meng] = [row for row in await city.households() if row["head_name"] == "孟和"]
    path = f"/v1/households/{meng['id']}"
    token = {"Authorization": f"Bearer {await city.world.token('S1')}"}
    body = {"fields": {"head_name": "孟和巴图", "address": "3组3号"}}
    assert (await city.world.client.patch(path, json=body, headers=token)).status_code == 200
    # The office's old file still means the same household …
    assert (await city.take(small())).counts()[0] == 0
    assert (await city.world.client.patch(path, json=body, headers=token)).status_code == 200

    # … and so does a new one, that has it as the worker has put it right.
    def rename(rows: list[list[Any]]) -> None:
        rows[3][2], rows[3][4] = "孟和巴图", "3组3号"

    assert (await city.take(changed(农牧户=rename))).counts() == (0, 0, 3, 0, 0)
    assert len(await city.households()) == 3


async def test_an_empty_cell_changes_nothing_and_a_word_clears(city: City) -> None:
    await city.take(small())

    def edit(rows: list[list[Any]]) -> None:
        rows[1][3:7] = ["", "1组1号", "", "无"]
        rows[2][3] = "清空"

    done = await city.take(changed(农牧户=edit))
    assert done.counts() == (0, 2, 1, 0, 0)
    first, second, _ = await city.households()
    assert (first["phone"], first["members"], first["tags"]) == ("04721234567", 4, None)
    assert second["phone"] is None


async def test_what_is_not_in_the_file_stays_unless_it_is_to_end(city: City) -> None:
    await city.take(small())

    def shorten(rows: list[list[Any]]) -> None:
        del rows[-1]

    fewer = changed(农牧户=shorten, 任职=lambda rows: rows.__delitem__(2))
    assert (await city.take(fewer)).is_idle
    await city.take(
        changed(任职=lambda rows: rows.append(["W1", "网格员", OTHER_GRID, "2024-01-01", ""]))
    )
    ended = await city.take(fewer, "end_missing")
    assert ended.counts() == (0, 0, 2, 1, 0)
    assert [row["head_name"] for row in await city.households()] == ["张三", "赵四"]
    # Of posts only those of units that the file is about.
    assert ended.counts("posts")[3] == 0
    # It comes back with its number, or its head and address.
    back = await city.take(small())
    assert back.counts() == (1, 0, 2, 0, 0)
    assert len(await city.households()) == 3


async def test_undoing_gives_back_what_was_and_leaves_what_somebody_has_edited(city: City) -> None:
    first = await city.take(small())
    before = await city.everything()

    def edit(rows: list[list[Any]]) -> None:
        rows[1][2], rows[1][6] = "张三丰", "退役军人"
        rows[2][0] = OTHER_GRID
        rows.append([GRID, "H7", "钱七", "", "1组7号", "", "", ""])

    def rename(rows: list[list[Any]]) -> None:
        rows[5][1] = "新网格"

    def end(rows: list[list[Any]]) -> None:
        rows[1][4] = "2026-10-31"

    second = await city.take(changed(农牧户=edit, 单位=rename, 任职=end))
    assert (await city.undo(second.id)).state == "undone"
    assert await city.everything() == before
    await city.let_in("S1")
    house = before["household"][0]["id"]
    token = {"Authorization": f"Bearer {await city.world.token('S1')}"}
    body = {"fields": {"members": 9}}
    answer = await city.world.client.patch(f"/v1/households/{house}", json=body, headers=token)
    assert answer.status_code == 200
    undone = await city.undo(first.id)
    assert undone.state == "partly-undone"
    assert {(left.kind, left.key) for left in undone.report.left} >= {
        ("household", house),
        ("person", "S1"),
        ("unit", GRID),
        ("unit", VILLAGE),
        ("unit", CITY),
    }
    assert [row["id"] for row in await city.households()] == [house]
    units = await city.world.fetch("SELECT code FROM unit WHERE level = 'grid'")
    assert [row["code"] for row in units] == [GRID]


async def test_an_import_goes_on_without_overwriting_what_was_edited_meanwhile(city: City) -> None:
    await city.take({name: rows for name, rows in small().items() if name != "农牧户"})
    await city.let_in("S1")
    run = city.run_of(await city.ask(small()))
    written = applying.write_part

    async def killed_after_the_first(run: Run, changes: Any, *others: Any) -> int:
        await written(run, changes[:1], *others)
        raise ConnectionError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "write_part", killed_after_the_first)
        with pytest.raises(ConnectionError):
            await run.carry_out()
    [first] = await city.households()
    token = {"Authorization": f"Bearer {await city.world.token('S1')}"}
    body = {"fields": {"members": 9}}
    path = f"/v1/households/{first['id']}"
    assert (await city.world.client.patch(path, json=body, headers=token)).status_code == 200
    done = await city.go_on(run.id)
    assert done.state == "done"
    assert [row["members"] for row in await city.households()] == [9, 3, None]
    effects = await city.world.fetch("SELECT kind FROM import_effect WHERE import = $1", run.id)
    assert len(effects) == 3
    assert (await city.world.fetch("SELECT count(*) FROM roster_import_file"))[0]["count"] == 0


async def test_keys_are_known_after_the_master_key_was_changed(city: City) -> None:
    await city.take(small())
    before = await city.world.fetch("SELECT blind, content FROM import_key ORDER BY id")
    old, new = own_key(city.world), another_key()
    # Between the change and the re-encryption both are known, after it the new one is enough.
    for keys in ((new, old), (new,)):
        use_keys(city.world, *keys)
        assert (await city.take(small())).is_idle
        if old in keys:
            outcome = await reencrypt(city.database, city.settings)
            assert (outcome.complete, outcome.lost) == (True, 0)
    after = await city.world.fetch("SELECT blind, content FROM import_key ORDER BY id")
    assert len(after) == len(before)
    assert not {row["blind"] for row in before} & {row["blind"] for row in after}


async def test_every_kind_of_fault_names_its_place_and_masks_what_is_personal(city: City) -> None:
    await city.take(small())

    def wrong(rows: list[list[Any]]) -> None:
        rows.append([GRID, "", "钱七", "138000000012345678", "1组7号", "", "", "NOBODY"])
        rows.append([GRID, "H1", "重复", "", "", "", "", ""])
        rows.append(["999999999999999", "", "外人", "", "", "", "", ""])
        rows.append([VILLAGE, "", "村里", "", "", "", "", ""])

    done = await city.take(changed(农牧户=wrong))
    kinds = {(fault.kind, fault.row): fault for fault in done.report.faults}
    assert {*kinds} == {
        ("phone-form", 5),
        ("household-twice", 6),
        ("unit-unknown", 7),
        ("not-a-grid", 8),
    }
    assert "12345678" not in kinds["phone-form", 5].value


def test_another_countrys_tree_has_its_own_levels() -> None:
    """Rows of a made-up tree of four levels are checked by a scheme of those."""
    from service.imports.row_faults import Faults
    from service.imports.row_file import Row
    from service.imports.sheet_check import World
    from service.imports.unit_checking import check_units
    from service.imports.units import Scheme

    labels = {
        name: Label(zh, name)
        for name, zh in (("land", "州"), ("kreis", "县"), ("gemeinde", "乡"), ("bezirk", "片"))
    }
    scheme = Scheme.of([2, 5, 8, 10], labels)
    rows = [
        Row("f", "s", number, {"code": code, "name": code} | more)
        for number, (code, more) in enumerate(
            [
                ("07", {}),
                ("07131", {}),
                ("07131001", {"level": "gemeinde", "parent": "07131"}),
                ("0713100101", {}),
                ("0713199901", {}),
                ("071", {}),
            ],
            1,
        )
    ]
    faults = Faults()
    world = World(scheme, [""], NOW, {}, {}, {})
    changes, tally = check_units(rows, world, faults)
    assert [(c.key, c.after["level"], c.after["parent"]) for c in changes] == [
        ("07", "land", None),
        ("07131", "kreis", "07"),
        ("07131001", "gemeinde", "07131"),
        ("0713100101", "bezirk", "07131001"),
    ]
    assert {(fault.kind, fault.row) for fault in faults.listed} == {
        ("parent-unknown", 5),
        ("code-length", 6),
    }
    assert tally.bad == 2
    assert (scheme.grid, world.parent("0713100101")) == ("bezirk", "07131001")


async def test_text_files_of_an_office_are_taken_together(city: City) -> None:
    sheets = small()
    files = [
        (f"{name}.csv", text_file(rows, encoding, mark))
        for (name, rows), encoding, mark in zip(
            sheets.items(), ("gb18030", "utf-8-sig", "utf-8", "gb18030"), ",,\t\t", strict=True
        )
    ]
    done = await city.take_files(files)
    assert done.state == "done", done.report.faults
    assert [done.counts(sheet)[0] for sheet in ("units", "people", "posts", "households")] == [
        *(6, 4, 4, 3)
    ]


async def test_an_import_that_was_taken_back_and_repeated_leaves_past_counts_right(
    city: City,
) -> None:
    first = await city.take(small())
    await city.let_in("A1")

    async def households(week: str) -> int:
        found = await city.world.get("/v1/summaries/weekly", "A1", unit=CITY, week=week)
        count: int = found.json()["totals"]["households"]
        return count

    before = [await households(week) for week in ("2026-W45", "2026-W47")]
    assert before == [3, 3]
    await city.undo(first.id)
    assert (await city.households()) == []
    await city.take(small())
    assert [await households(week) for week in ("2026-W45", "2026-W47")] == before


async def test_an_import_puts_nothing_into_a_grid_that_is_closed(city: City) -> None:
    await city.take(small())
    await city.world.fetch("UPDATE unit SET closed = '2026-11-01' WHERE code = $1", OTHER_GRID)

    def move(rows: list[list[Any]]) -> None:
        rows[1][0] = OTHER_GRID

    def give(rows: list[list[Any]]) -> None:
        rows.append(["W1", "网格员", OTHER_GRID, "2026-11-20", ""])

    done = await city.take(changed(农牧户=move, 任职=give))
    assert done.state == "refused"
    assert {(fault.sheet, fault.column) for fault in done.report.faults} >= {
        ("农牧户", "网格编码"),
        ("任职", "单位编码"),
    }
