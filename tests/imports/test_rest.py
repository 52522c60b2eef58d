"""Imports over REST: who may, what is answered, and what comes back as a workbook."""

import io
from datetime import timedelta
from typing import Any

import openpyxl
import pytest

from service.imports.importer import Importer
from sync_protocol.periods import local_day
from sync_protocol.texts import restored
from tests.imports.books import BANNER, CITY, GRID, OTHER_GRID, TOWNSHIP, VILLAGE, book, small
from tests.imports.city import City
from tests.imports.test_imports import changed
from tests.world import FAR_GRID, SECRETARY, WORKER, World, until_none

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def send(world: World, staff_code: str, content: bytes, **form: Any) -> Any:
    """Asks for an import of a workbook."""
    world.clock.forward(seconds=1)
    headers = {"Authorization": f"Bearer {await world.token(staff_code)}"}
    return await world.client.post(
        "/v1/imports",
        headers=headers,
        files=[("files", ("roster.xlsx", content, XLSX))],
        data=form,
    )


@pytest.fixture
async def peopled(city: City) -> City:
    """A city with an administrator of all and one of the village."""

    def posts(rows: list[list[Any]]) -> None:
        rows.append(["S1", "系统管理员", VILLAGE, "2020-01-01", ""])

    assert (await city.take(changed(任职=posts))).state == "done"
    await city.let_in("A1", "S1", "W1", "W2")
    return city


async def test_an_administrator_imports_and_reads_what_came_of_it(peopled: City) -> None:
    def edit(rows: list[list[Any]]) -> None:
        rows.append([GRID, "H7", "钱七", "138-0000-0009", "1组7号", 2, "", ""])

    answer = await send(peopled.world, "A1", book(changed(农牧户=edit)))
    assert answer.status_code == 202, answer.text
    assert (answer.json()["units"], answer.json()["asked_by"]) == ([CITY], "A1")
    found = await peopled.until_ended(answer.json()["id"], "A1")
    assert (found["state"], found["fault_count"]) == ("done", 0)
    tallies = {tally["sheet"]: tally for tally in found["tallies"]}
    assert (tallies["households"]["new"], tallies["households"]["unchanged"]) == (1, 3)
    listed = (await peopled.world.get("/v1/imports", "A1")).json()["items"]
    assert [item["state"] for item in listed] == ["done", "done"][: len(listed)]
    # It stands in the history under who has imported it.
    [house] = [row for row in await peopled.households() if row["head_name"] == "钱七"]
    history = await peopled.world.get(f"/v1/history/household/{house['id']}", "A1")
    assert {item["staff_code"] for item in history.json()["items"]} == {"A1"}
    undone = await peopled.world.post(f"/v1/imports/{found['id']}/undo", None, "A1")
    assert undone.status_code == 202
    assert (await peopled.until_ended(found["id"], "A1"))["state"] == "undone"
    assert len(await peopled.households()) == 3


async def test_an_administrator_imports_nothing_outside_the_own_unit(peopled: City) -> None:
    def edit(rows: list[list[Any]]) -> None:
        rows.append([TOWNSHIP + "202001", "", "外村", "", "", "", "", ""])

    def rename(rows: list[list[Any]]) -> None:
        rows[3][1] = "改名镇"

    before = await peopled.everything()
    answer = await send(peopled.world, "S1", book(changed(农牧户=edit, 单位=rename)))
    found = await peopled.until_ended(answer.json()["id"], "S1")
    assert found["state"] == "refused"
    assert {(f["kind"], f["sheet"]) for f in found["faults"]} >= {
        ("outside", "农牧户"),
        ("outside", "单位"),
        ("outside", "任职"),
    }
    assert await peopled.everything() == before
    # What an administrator of the whole city does is none of the village's.
    above = (await send(peopled.world, "A1", book(small()))).json()["id"]
    await peopled.until_ended(above, "A1")
    assert (await peopled.world.get(f"/v1/imports/{above}", "S1")).status_code == 404
    assert (await peopled.world.post(f"/v1/imports/{above}/undo", None, "S1")).status_code == 404
    assert [i["id"] for i in (await peopled.world.get("/v1/imports", "S1")).json()["items"]] == [
        found["id"]
    ]


async def test_a_trial_is_applied_with_the_files_that_were_sent(peopled: City) -> None:
    world = peopled.world

    def edit(rows: list[list[Any]]) -> None:
        rows.append([GRID, "H7", "钱七", "138-0000-0009", "1组7号", 2, "", ""])

    asked = await send(world, "A1", book(changed(农牧户=edit)), dry_run="true")
    path = f"/v1/imports/{asked.json()['id']}"
    found = await peopled.until_ended(asked.json()["id"], "A1")
    assert found["state"] == "checked"
    detail = (await world.get(path, "A1")).json()
    assert detail["files_until"] is not None
    kept = await world.fetch("SELECT body FROM roster_import_file")
    assert kept
    assert all("钱七".encode() not in row["body"] for row in kept)
    assert (await world.post(f"{path}/apply", {}, "S1")).status_code == 404
    assert (await world.post(f"{path}/apply", {"dry_run": True}, "A1")).status_code == 422
    applied = await world.post(f"{path}/apply", {"skip_bad": True}, "A1")
    assert applied.status_code == 202
    assert applied.json()["options"] == ["skip_bad"]
    assert (await peopled.until_ended(asked.json()["id"], "A1"))["state"] == "done"
    assert "钱七" in [row["head_name"] for row in await peopled.households()]
    assert await world.fetch("SELECT FROM roster_import_file") == []
    assert (await world.get(path, "A1")).json()["files_until"] is None
    assert (await world.post(f"{path}/apply", {}, "A1")).status_code == 409


async def test_files_that_nobody_has_applied_go_after_their_time(peopled: City) -> None:
    world = peopled.world
    asked = await send(world, "A1", book(small()), dry_run="true")
    await peopled.until_ended(asked.json()["id"], "A1")
    assert await world.fetch("SELECT FROM roster_import_file") != []
    world.clock.forward(hours=world.state.settings.import_files_hours, minutes=1)

    async def left() -> list[Any]:
        world.state.of(Importer).wake()
        return await world.fetch("SELECT FROM roster_import_file")

    await until_none(left)
    late = await world.post(f"/v1/imports/{asked.json()['id']}/apply", {}, "A1")
    assert late.status_code == 409


async def test_one_import_at_a_time_for_a_unit(peopled: City) -> None:
    await peopled.ask(small())
    for staff_code in ("A1", "S1"):
        answer = await send(peopled.world, staff_code, book(small()))
        assert answer.status_code == 409, answer.text
        assert answer.json()["type"] == "/problems/not-now"


async def test_nobody_but_an_administrator_imports(world: World) -> None:
    for staff_code in (WORKER, SECRETARY, "S1502"):
        assert (await send(world, staff_code, book(small()))).status_code == 403
        nothing = "00000000-0000-7000-8000-000000000000"
        for path in ("/v1/imports", f"/v1/imports/{nothing}"):
            assert (await world.get(path, staff_code)).status_code == 403
        undo = await world.post(f"/v1/imports/{nothing}/undo", None, staff_code)
        assert undo.status_code == 403
    assert (await world.get(f"/v1/imports/{nothing}", "admin")).status_code == 404
    export = await world.get("/v1/exports/roster.xlsx", WORKER, unit=FAR_GRID)
    assert export.status_code == 404


async def test_a_form_is_refused_that_has_no_file_or_something_unknown(peopled: City) -> None:
    headers = {"Authorization": f"Bearer {await peopled.world.token('A1')}"}
    client = peopled.world.client
    none = await client.post("/v1/imports", headers=headers, data={"dry_run": "true"})
    assert none.status_code == 422
    odd = await send(peopled.world, "A1", book(small()), dryrun="true")
    assert odd.status_code == 422, odd.text
    assert "dryrun" in odd.json()["detail"]
    large = await send(peopled.world, "A1", b"x" * (34 * 1024 * 1024))
    assert large.status_code == 413


def rows_of(content: bytes) -> dict[str, list[tuple[Any, ...]]]:
    found = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
    return {sheet.title: [*sheet.iter_rows(values_only=True)] for sheet in found.worksheets}


async def test_an_export_is_what_an_import_reads(peopled: City) -> None:
    for lang, title, by, unit in (
        ("zh", "农牧户", "W1", GRID),
        ("en", "Households", "A1", CITY),
    ):
        answer = await peopled.world.get("/v1/exports/roster.xlsx", by, unit=unit, lang=lang)
        assert answer.status_code == 200, answer.text
        rows = rows_of(answer.content)[title]
        phones = {row[3]: row[4] for row in rows[1:]}
        # Whole for who works there, masked for who only administers.
        assert phones["张三"] == ("04721234567" if lang == "zh" else "047****4567")
        before = await peopled.everything()
        again = await peopled.take_files([("roster.xlsx", answer.content)])
        assert again.state == "done", again.report.faults
        assert again.is_idle
        assert await peopled.everything() == before
    lines = await peopled.world.fetch("SELECT staff_code FROM audit WHERE action = 'export-roster'")
    assert {line["staff_code"] for line in lines} == {"W1", "A1"}
    assert rows_of(answer.content)["Units"][0][:3] == ("Unit code", "Name", "Level")


async def test_what_somebody_wrote_never_becomes_a_formula(peopled: City) -> None:
    def edit(rows: list[list[Any]]) -> None:
        rows[3][2] = "=HYPERLINK(1)"

    await peopled.take(changed(农牧户=edit))
    answer = await peopled.world.get("/v1/exports/roster.xlsx", "A1", unit=OTHER_GRID)
    book_read = openpyxl.load_workbook(io.BytesIO(answer.content))
    cells = {cell.value: cell.data_type for cell in book_read["农牧户"]["D"]}
    assert cells["=HYPERLINK(1)"] == "s"


@pytest.mark.parametrize("hour", [0, 9, 18])
async def test_a_post_that_ends_within_a_day_or_is_to_end_comes_back_as_it_was(
    peopled: City, hour: int
) -> None:
    await peopled.world.fetch(
        "UPDATE post SET valid_to = '2026-11-30T00:00:00+08:00'::timestamptz + $1 * interval"
        " '1 hour' WHERE staff_code = 'W1'",
        hour,
    )
    await peopled.world.fetch(
        "UPDATE post SET valid_to = '2026-11-20T08:30:00+08:00' WHERE staff_code = 'W2'"
    )
    before = await peopled.everything()
    answer = await peopled.world.get("/v1/exports/roster.xlsx", "A1", unit=CITY, lang="zh")
    held = {row[0] for row in rows_of(answer.content)["任职"][1:]}
    assert "W1" in held
    again = await peopled.take_files([("roster.xlsx", answer.content)])
    assert again.is_idle
    assert await peopled.everything() == before


async def test_who_is_to_get_a_village_exports_it_from_the_day_of_the_move_on(city: City) -> None:
    other = BANNER + "101"

    def units(rows: list[list[Any]]) -> None:
        rows.append([other, "另一镇", "", "", "", "镇", ""])

    def posts(rows: list[list[Any]]) -> None:
        rows.append(["S1", "系统管理员", other, "2020-01-01", ""])

    assert (await city.take(changed(单位=units, 任职=posts))).state == "done"
    await city.let_in("A1", "S1")
    day = local_day(city.world.clock.now()) + timedelta(days=1)
    body = {"to": other, "from": day.isoformat()}
    moved = await city.world.post(f"/v1/units/{VILLAGE}/move", body, "A1")
    assert moved.status_code == 200, moved.text

    async def heads() -> list[str]:
        answer = await city.world.get("/v1/exports/roster.xlsx", "S1", unit=other, lang="zh")
        assert answer.status_code == 200, answer.text
        return [str(row[3]) for row in rows_of(answer.content)["农牧户"][1:]]

    assert await heads() == []
    city.world.clock.forward(days=1)
    assert "张三" in await heads()


async def test_units_that_have_moved_or_lie_elsewhere_than_their_code_says_come_back(
    city: City,
) -> None:
    """What REST takes an import takes, too: a village may lie in a township with another code."""
    other, village = BANNER + "101", TOWNSHIP + "299"

    def units(rows: list[list[Any]]) -> None:
        rows.append([other, "另一镇", "", "", "", "镇", ""])

    assert (await city.take(changed(单位=units))).state == "done"
    await city.let_in("A1")
    made = await city.world.post(
        "/v1/units", {"parent": other, "name": "外村", "code": village}, "A1"
    )
    assert made.status_code == 201, made.text
    day = local_day(city.world.clock.now()) + timedelta(days=1)
    body = {"to": other, "from": day.isoformat()}
    moved = await city.world.post(f"/v1/units/{VILLAGE}/move", body, "A1")
    assert moved.status_code == 200, moved.text
    city.world.clock.forward(days=1)
    answer = await city.world.get("/v1/exports/roster.xlsx", "A1", unit=CITY, lang="zh")
    parents = {row[0]: row[3] for row in rows_of(answer.content)["单位"][1:]}
    assert parents[VILLAGE] == parents[village] == other
    again = await city.take_files([("roster.xlsx", answer.content)])
    assert again.state == "done", again.report.faults
    assert again.is_idle

    def wrong(rows: list[list[Any]]) -> None:
        rows.append([other, "另一镇", "", "", "", "镇", ""])
        rows.append([TOWNSHIP + "298", "村", "", BANNER, "", "村", ""])
        rows.append([village + "001", "网格", "", VILLAGE, "", "", ""])

    refused = await city.take(changed(单位=wrong))
    kinds = sorted(fault.kind for fault in refused.report.faults)
    assert kinds == ["grid-code", "parent-level"]


async def test_undoing_an_import_leaves_the_last_administrator(city: City) -> None:
    def second(rows: list[list[Any]]) -> None:
        rows.append(["S1", "系统管理员", CITY, "2020-01-01", ""])

    first = await city.take(small())
    later = await city.take(changed(任职=second))
    assert (await city.undo(later.id)).state == "undone"
    undone = await city.undo(first.id)
    assert undone.state == "partly-undone"
    rows = await city.world.fetch("SELECT staff_code FROM post WHERE role = 'admin'")
    assert [row["staff_code"] for row in rows] == ["A1"]
    [left] = [left for left in undone.report.left if left.kind == "post"]
    assert "last administrator" in restored(left.why)
