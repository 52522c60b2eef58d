"""Promise 10: a phone may be restored from a backup, or cloned."""

from pathlib import Path

from tests.world import GRID, SECRETARY, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


async def test_other_content_under_a_used_number_means_a_forked_device(world: World) -> None:
    phone = world.wire()
    await phone.send(phone.mutation(1))
    response = await phone.send(
        phone.mutation(1, fields={"visited_at": "2026-11-19T09:00:00+08:00"})
    )
    assert (response.status_code, response.json()["type"]) == (409, "/problems/device-forked")
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_a_phone_restored_from_a_backup_registers_again_and_loses_nothing(
    world: World, tmp_path: Path
) -> None:
    phone = world.phone()
    phone.put("visit", AT | {"content": "备份里有"}, grid=GRID)
    await phone.sync()
    old = phone.store.copy_to(tmp_path / "old.sqlite3")
    phone.put("visit", AT | {"content": "备份里没有"}, grid=GRID)
    await phone.sync()
    first_id = phone.id

    phone.store.close()
    phone.store = old
    phone.put("visit", AT | {"content": "恢复之后"}, grid=GRID)
    await phone.sync()

    assert phone.id != first_id
    assert sorted(view.fields["content"] for view in phone.records("visit")) == sorted(
        ["备份里有", "备份里没有", "恢复之后"]
    )
    assert len(await world.fetch("SELECT FROM visit")) == 3
    assert await phone.verify() == []


async def test_a_restored_phone_that_wrote_nothing_simply_goes_on(
    world: World, tmp_path: Path
) -> None:
    phone = world.phone()
    phone.put("visit", AT, grid=GRID)
    old = phone.store.copy_to(tmp_path / "old.sqlite3")
    await phone.sync()
    phone.store.close()
    phone.store = old
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["duplicate"]
    phone.put("visit", AT, grid=GRID)
    await phone.sync()
    assert len(await world.fetch("SELECT FROM visit")) == 2


async def test_two_phones_with_one_device_id_keep_all_that_both_write(
    world: World, tmp_path: Path
) -> None:
    one = world.phone()
    one.put("visit", AT | {"content": "0"}, grid=GRID)
    await one.sync()
    two = world.phone()
    two.store.close()
    two.store = one.store.copy_to(tmp_path / "clone.sqlite3")
    assert one.id == two.id
    for number in range(1, 4):
        for name, phone in (("a", one), ("b", two)):
            phone.put("visit", AT | {"content": f"{name}{number}"}, grid=GRID)
            await phone.sync()
    await one.sync()
    reader = world.phone(SECRETARY)
    await reader.sync()
    wanted = ["0", "a1", "a2", "a3", "b1", "b2", "b3"]
    for phone in (one, two, reader):
        assert sorted(view.fields["content"] for view in phone.records("visit")) == wanted
    assert len({one.id, two.id}) == 2
