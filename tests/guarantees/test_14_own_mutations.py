"""Promise 14: a device's own mutations that were applied as sent are not sent back."""

from typing import Any

import pytest

from tests.world import GRID, SECRETARY, WORKER, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


async def test_own_mutations_applied_as_sent_are_not_sent_back(world: World) -> None:
    phone = world.wire()
    answer = (await phone.send(phone.mutation(1))).json()
    assert [change["kind"] for change in answer["changes"]] == ["household"] * 3
    assert (await phone.send(phone.mutation(2))).json()["changes"] == []


async def test_what_was_changed_on_the_way_is_sent_back(world: World) -> None:
    phone = world.wire()
    await phone.send()
    trimmed = phone.mutation(
        1, fields={"visited_at": "2026-11-20T09:00:00+08:00", "content": "  看望  "}
    )
    [change] = (await phone.send(trimmed)).json()["changes"]
    assert change["fields"]["content"] == "看望"


SPELLINGS = {
    "00:00+08:00": False,
    "00:00.123Z": False,
    "00:00.123000Z": False,
    "00:00,123+0800": False,
    "00+08": False,
}
SPELLINGS |= {
    "00:00.1234Z": True,
    "00:00.123456Z": True,
    "00:00.1230001+08:00": True,
    "00:00,12345Z": True,
    "00:00.123456789+08": True,
}


@pytest.mark.parametrize(("spelling", "is_cut"), SPELLINGS.items())
async def test_a_time_is_sent_back_if_something_of_it_was_cut(
    world: World, spelling: str, is_cut: bool
) -> None:
    phone = world.wire()
    await phone.send()
    answer = (
        await phone.send(phone.mutation(1, fields={"visited_at": f"2026-11-19T09:{spelling}"}))
    ).json()
    assert (answer["verdicts"][0]["outcome"], len(answer["changes"])) == ("applied", int(is_cut))


async def test_what_was_merged_is_sent_back(world: World) -> None:
    one, two = world.wire(), world.wire(SECRETARY)
    house = (await one.send()).json()["changes"][0]
    edit = {"id": house["id"], "kind": "household", "base": house["rev"]}
    await two.send()
    await two.send(two.mutation(1, **edit, fields={"members": 7}))
    answer = (await one.send(one.mutation(1, **edit, fields={"phone": "1"}))).json()
    [change] = [change for change in answer["changes"] if change["id"] == house["id"]]
    assert (change["fields"]["phone"], change["fields"]["members"]) == ("1", 7)


async def test_a_phone_that_lost_its_cursor_gets_its_own_records_back(world: World) -> None:
    phone = world.wire()
    sent = phone.mutation(1)
    await phone.send(sent)
    phone.cursor = None
    assert sent["id"] in {change["id"] for change in (await phone.send()).json()["changes"]}


async def test_a_deletion_stays_deleted(world: World) -> None:
    """Own changes that come back late do not revive a record."""
    worker, secretary = world.phone(WORKER), world.phone(SECRETARY)
    visit = worker.put("visit", AT, grid=GRID)
    await worker.sync()
    await secretary.sync()
    worker.put("visit", {"content": " 要删 "}, grid=GRID, id=visit)
    worker.delete("visit", visit, grid=GRID)
    for phone in (worker, secretary, worker, secretary):
        await phone.sync()
        assert phone is secretary or visit not in {view.id for view in phone.records("visit")}
    assert visit not in {view.id for view in secretary.records("visit")}
    [row] = await world.fetch("SELECT deleted FROM visit")
    assert row["deleted"]


@pytest.mark.parametrize("together", [True, False])
async def test_the_rev_of_an_own_mutation_stays_known_when_the_own_next_one_has_replaced_it(
    world: World, together: bool
) -> None:
    """The cursor is behind it, and the record's clocks tell of the newest mutation only: the log
    knows.
    """
    other, wire = world.wire(SECRETARY), world.wire()
    created = other.mutation(1)
    base = (await other.send(created)).json()["verdicts"][0]["rev"]
    await wire.send()
    behind = wire.cursor
    about: dict[str, Any] = {"id": created["id"]}
    [verdict] = (
        await wire.send(wire.mutation(1, base=base, fields={"content": "一"}, **about))
    ).json()["verdicts"]
    assert verdict["outcome"] == "applied"
    # That answer was taken, and the cursor of an earlier one kept: two exchanges that overlapped.
    wire.cursor = behind
    about["base"] = verdict["rev"]
    edit = wire.mutation(2, fields={"content": "二"}, **about)
    delete = wire.mutation(3, op="delete", fields={}, **about)
    for pushed in [[edit, delete]] if together else [[edit], [delete]]:
        verdicts = (await wire.send(*pushed, cursor=behind)).json()["verdicts"]
        assert [verdict["outcome"] for verdict in verdicts] == ["applied"] * len(pushed)
    await other.send()
    assert await world.fetch("SELECT FROM visit WHERE id = $1 AND deleted", created["id"])
