"""Households are compared once, when all is checked, and written as they were found unless
something has changed since.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.imports import applying, runs
from service.imports.household_checking import HouseholdCheck
from service.imports.plan import Plan
from service.imports.row_file import Spool
from service.imports.runs import Run
from service.tallies.recount import differences
from tests.imports.books import GRID, HOUSEHOLDS, OTHER_GRID, TOWNSHIP, Rows, small
from tests.imports.city import City

NEW_ONES: dict[str, Rows] = {
    "农牧户": [
        HOUSEHOLDS,
        [GRID, "H1", "张三", "", "1组1号", 5, "", ""],
        [GRID, "", "钱七", "", "1组7号", "", "", ""],
        [GRID, "H8", "孙八", "", "1组8号", "", "", ""],
    ]
}


async def test_what_changes_between_checking_and_writing_is_compared_again(city: City) -> None:
    await city.take(small())
    await city.let_in("S1")
    [house] = [row["id"] for row in await city.households() if row["head_name"] == "张三"]
    run = city.run_of(await city.ask(NEW_ONES))
    compared = _Counting()

    async def edited_before(run: Run, plan: Plan) -> None:
        token = {"Authorization": f"Bearer {await city.world.token('S1')}"}
        path, body = f"/v1/households/{house}", {"fields": {"members": 9}}
        answer = await city.world.client.patch(path, json=body, headers=token)
        assert answer.status_code == 200
        fields = {"head_name": "钱七", "address": "1组7号", "members": 2}
        answer = await city.world.post("/v1/households", {"grid": GRID, "fields": fields}, "S1")
        assert answer.status_code == 201
        await applying.apply(run, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "apply", edited_before)
        compared.patch(patch)
        await run.carry_out()
    assert run.report.sheets["households"].new == 2  # as it was when it was checked
    households = {row["head_name"]: row["members"] for row in await city.households()}
    assert households == {"张三": 5, "赵四": 3, "孟和": None, "钱七": 2, "孙八": None}
    assert len(await city.households()) == 5
    assert compared.rows == 2 * 3
    # Where nothing happens in between, each is compared once; nor is what is left alone.
    compared.rows = 0
    with pytest.MonkeyPatch.context() as patch:
        compared.patch(patch)
        assert (await city.take(NEW_ONES)).is_idle
        more: Rows = [*NEW_ONES["农牧户"], [OTHER_GRID, "H9", "周九", "", "", "", "", ""]]
        assert (await city.take({"农牧户": more})).counts() == (1, 0, 3, 0, 0)
    assert compared.rows == 3 + 4


@pytest.mark.parametrize("moment", ["checked", "about to write"])
async def test_a_household_that_another_import_brings_meanwhile_is_not_doubled(
    city: City, moment: str
) -> None:
    await city.take(small())
    run = city.run_of(await city.ask(NEW_ONES))
    other: dict[str, Rows] = {
        "农牧户": [HOUSEHOLDS, [OTHER_GRID, "H8", "孙八", "", "2组8号", "", "", ""]]
    }
    written = applying.write_part

    async def after_another(run: Run, plan: Plan) -> None:
        patch.undo()
        await city.take(other)
        await applying.apply(run, plan)

    async def written_after_another(run: Run, *rest: Any) -> int:
        patch.undo()
        await city.take(other)
        return await written(run, *rest)

    with pytest.MonkeyPatch.context() as patch:
        if moment == "checked":
            patch.setattr(runs, "apply", after_another)
        else:
            patch.setattr(applying, "write_part", written_after_another)
        await run.carry_out()
    found = [row for row in await city.households() if row["head_name"] == "孙八"]
    assert [(row["grid"], row["address"]) for row in found] == [(GRID, "1组8号")]
    assert len(await city.households()) == 5


@pytest.mark.parametrize("gently", [False, True])
async def test_a_command_writes_villages_side_by_side_and_the_service_one_by_one(
    city: City, gently: bool
) -> None:
    villages = [f"{TOWNSHIP}{number}" for number in range(202, 206)]
    sheets: dict[str, Any] = {name: [*rows] for name, rows in small().items()}
    for code in villages:
        sheets["单位"] += [[code, "村"], [f"{code}001", "网格"]]
        sheets["农牧户"] += [[f"{code}001", "", f"户{number}"] for number in range(3)]
    run = runs.Run(
        city.database, city.settings, await city.ask(sheets), city.world.clock.now, gently=gently
    )
    run.pace.compared = run.pace.together = 1
    write = Run.write
    inside, most, several = 0, 0, asyncio.Event()

    async def written(run: Run, *rest: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        done = await write(run, *rest)
        if inside > 1:
            several.set()
        elif not gently:
            # Written and not committed yet: another one need not wait for that.
            await asyncio.wait_for(several.wait(), 20)
        inside -= 1
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write", written)
        await run.carry_out()
    assert most == (1 if gently else 2)
    assert run.report.sheets["households"].new == len(await city.households()) == 15
    lines = await city.world.fetch("SELECT seq, stamp FROM mutation WHERE kind = 'household'")
    # Each has a number and a stamp of its own.
    for column in ("seq", "stamp"):
        assert len({line[column] for line in lines}) == len(lines) == 15
    async with city.database.reading() as connection:
        assert await differences(connection, city.settings) == []


async def test_a_value_that_cannot_be_decrypted_gives_way_to_that_of_the_file(city: City) -> None:
    await city.take(small())
    before = await city.households()
    await city.world.fetch("UPDATE household SET phone = 'gl2.00000000.AAAA' WHERE phone <> ''")
    done = await city.take(small())
    assert (done.state, done.counts()) == ("done", (0, 2, 1, 0, 0))
    assert await city.households() == before
    assert (await city.undo(done.id)).state == "undone"


def test_what_is_kept_lies_on_the_disk_encrypted(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.keep(3, "张三".encode())
    assert spool.kept(3) == "张三".encode()
    assert spool.kept(4) is None
    spool.close()
    [file] = tmp_path.iterdir()
    assert "张三".encode() not in file.read_bytes()


class _Counting:
    """Counts the rows that are compared."""

    def __init__(self) -> None:
        self.rows = 0

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """While the patch holds."""
        compare = HouseholdCheck.village

        async def counted(check: HouseholdCheck, rows: Any, *rest: Any) -> Any:
            self.rows += len(rows)
            return await compare(check, rows, *rest)

        patch.setattr(HouseholdCheck, "village", counted)
