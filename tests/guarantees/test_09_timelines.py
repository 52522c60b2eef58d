"""Promise 9, when another database server takes over: what cursors of an older timeline prove, and
what they do not.
"""

import asyncio
from typing import Any

import pytest

from sync_protocol.cursor import Cursor, Position, read_cursor, sign_cursor
from tests.world import GRID, SECRETARY, WirePhone, World

BEFORE = "7000000000000000000/00000001"


async def begin_another_timeline(world: World) -> None:
    """As if the database had been written under another timeline until now, and no connection had
    noticed the change.
    """
    await world.fetch("UPDATE server SET timeline = split_part(timeline, '/', 1) || '/FFFFFFFF'")
    await world.fetch("UPDATE timeline SET name = (SELECT timeline FROM server)")


async def cursor_of(world: World, phone: WirePhone) -> Cursor:
    [row] = await world.fetch("SELECT cursor_key FROM server")
    cursor = read_cursor(phone.cursor, row["cursor_key"], phone.device)
    assert cursor is not None
    return cursor


async def signed(world: World, phone: WirePhone, **changes: Any) -> str:
    """The phone's cursor with other content, as a server of another history would have signed
    it.
    """
    [row] = await world.fetch("SELECT cursor_key FROM server")
    cursor = await cursor_of(world, phone)
    for name, value in changes.items():
        setattr(cursor, name, value)
    return sign_cursor(cursor, row["cursor_key"])


async def epoch_after(world: World, phone: WirePhone, cursor: str) -> str:
    epoch: str = (await phone.send(cursor=cursor)).json()["epoch"]
    return epoch


async def test_a_change_that_no_connection_noticed_is_kept_once_before_anything_is_written(
    world: World,
) -> None:
    phones = [world.wire(), world.wire(SECRETARY)]
    epoch = (await phones[0].send()).json()["epoch"]
    await phones[1].send()
    await begin_another_timeline(world)
    before = {row["grid"]: row["rev"] for row in await world.fetch("SELECT grid, rev FROM counter")}
    answers = await asyncio.gather(*[phone.send(phone.mutation(1)) for phone in phones])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["epoch"] for answer in answers} == {epoch}
    assert {
        row["grid"]: row["rev"]
        for row in await world.fetch("SELECT grid, rev FROM timeline_head WHERE number = 2")
    } == before
    rows = await world.fetch(
        "SELECT acked_seq FROM timeline_acked WHERE device = ANY($1)",
        [phone.device for phone in phones],
    )
    assert [row["acked_seq"] for row in rows] == [0, 0]
    assert (await cursor_of(world, phones[0])).timeline == (
        await world.fetch("SELECT timeline FROM server")
    )[0]["timeline"]


@pytest.mark.parametrize("above", ["rev", "acked", "nothing"])
async def test_a_cursor_of_the_former_timeline_proves_a_loss_if_it_is_above_what_came_over(
    world: World, above: str
) -> None:
    phone, other = world.wire(), world.wire(SECRETARY)
    epoch = (await phone.send()).json()["epoch"]
    former = await cursor_of(world, phone)
    await begin_another_timeline(world)
    timeline = (await world.fetch("SELECT timeline FROM server"))[0]["timeline"]
    for seq in range(1, 6):
        await other.send(other.mutation(seq))  # revisions that others had under the former timeline
    head = former.grids[GRID].rev
    grids = former.grids | ({GRID: Position(head + 2, 0, 0)} if above == "rev" else {})
    lost = await signed(
        world, phone, timeline=timeline, grids=grids, acked=1 if above == "acked" else 0
    )
    await world.fetch("UPDATE device SET acked_seq = 5 WHERE id = $1", phone.device)
    assert (await epoch_after(world, phone, lost) != epoch) is (above != "nothing")


async def test_what_the_present_timeline_has_written_since_proves_nothing(world: World) -> None:
    phone, other = world.wire(), world.wire(SECRETARY)
    epoch = (await phone.send()).json()["epoch"]
    await begin_another_timeline(world)
    for seq in range(1, 4):
        await other.send(other.mutation(seq))
        answer = (await phone.send()).json()
        assert (answer["epoch"], len(answer["changes"])) == (epoch, 1)


async def test_a_cursor_of_a_timeline_of_which_nothing_is_left_proves_a_loss(world: World) -> None:
    phone = world.wire()
    epoch = (await phone.send()).json()["epoch"]
    assert await epoch_after(world, phone, await signed(world, phone, timeline=BEFORE)) != epoch


async def test_a_cursor_from_before_timelines_were_known_proves_nothing_by_itself(
    world: World,
) -> None:
    phone = world.wire()
    epoch = (await phone.send()).json()["epoch"]
    assert await epoch_after(world, phone, await signed(world, phone, timeline="")) == epoch
    await begin_another_timeline(world)
    assert await epoch_after(world, phone, await signed(world, phone, timeline="")) == epoch


async def test_a_new_epoch_needs_nothing_of_what_was_kept(world: World) -> None:
    phone = world.wire()
    await phone.send()
    await begin_another_timeline(world)
    await phone.send(phone.mutation(1))
    assert await world.fetch("SELECT FROM timeline_head LIMIT 1")
    await epoch_after(world, phone, await signed(world, phone, acked=9))
    assert (
        await world.fetch("SELECT FROM timeline_head LIMIT 1")
        == await world.fetch("SELECT FROM timeline_acked LIMIT 1")
        == []
    )
