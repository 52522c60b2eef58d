"""Promise 7: rights are judged by the posts valid when a thing was written; a revoked device may
still push, and only push.
"""

import pytest

from sync_protocol.device import DeviceRevoked
from tests.world import GRID, OTHER_GRID, SECRETARY, WORKER, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}


async def test_a_transferred_workers_old_logs_count_and_later_ones_are_held(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put("visit", AT | {"content": "以前"}, grid=GRID)
    world.clock.forward(hours=1)
    await world.transfer(WORKER, OTHER_GRID)
    world.clock.forward(hours=1)
    phone.put("visit", AT | {"content": "以后"}, grid=GRID)
    phone.put("visit", AT | {"content": "新网格"}, grid=OTHER_GRID)

    report = await phone.sync()

    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts] == [
        ("applied", None),
        ("held", "not-allowed"),
        ("applied", None),
    ]
    assert report.dropped_grids == [GRID]
    assert {view.grid for view in phone.records() if view.kind != "held"} == {OTHER_GRID}
    assert [item.reason for item in phone.held()] == ["not-allowed"]


async def test_a_post_that_began_while_offline_counts_from_its_first_moment(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put("visit", AT, grid=OTHER_GRID)
    world.clock.forward(hours=1)
    await world.transfer(WORKER, OTHER_GRID)
    phone.put("visit", AT, grid=OTHER_GRID)
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["held", "applied"]


async def test_a_cadre_with_two_posts_writes_and_reads_in_both(world: World) -> None:
    await world.fetch(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), $1, 'grid_worker', $2, $3)",
        WORKER, OTHER_GRID, world.clock.now(),
    )  # fmt: skip
    phone = world.phone()
    for grid in (GRID, OTHER_GRID):
        phone.put("visit", AT, grid=grid)
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied", "applied"]
    assert {view.grid for view in phone.records("household")} == {GRID, OTHER_GRID}


async def test_a_post_that_forbids_a_kind_holds_it(world: World) -> None:
    committee = world.phone(SECRETARY.replace("-1", "-3"))
    committee.put("visit", AT, grid=GRID)
    committee.put("weekly_analysis", {"week": "2026-W47", "situation": "代写"}, grid=GRID)
    report = await committee.sync()
    assert [(verdict.outcome, verdict.reason) for verdict in report.verdicts] == [
        ("applied", None),
        ("held", "not-allowed"),
    ]


async def test_a_revoked_device_hands_in_what_it_wrote_before_and_is_then_wiped(
    world: World,
) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put("visit", AT | {"content": "撤销之前"}, grid=GRID)
    world.clock.forward(minutes=10)
    await world.fetch(
        "UPDATE device SET revoked_at = $2 WHERE id = $1", phone.id, world.clock.now()
    )
    world.clock.forward(minutes=10)
    phone.put("visit", AT | {"content": "撤销之后"}, grid=GRID)

    with pytest.raises(DeviceRevoked):
        await phone.sync()

    assert phone.records() == []
    assert phone.store.count_unsent() == 0
    assert [row["content"] for row in await world.fetch("SELECT content FROM visit")] == [
        "撤销之前"
    ]
    [held] = (await world.get("/v1/held")).json()["items"]
    assert (held["reason"], held["mutation"]["fields"]["content"]) == ("device-revoked", "撤销之后")


async def test_a_revoked_device_gets_no_data_and_wipes_only_when_all_is_in(world: World) -> None:
    phone = world.wire()
    await phone.send()
    await world.fetch(
        "UPDATE device SET revoked_at = $2 WHERE id = $1", phone.device, world.clock.now()
    )
    waiting = await phone.send(phone.mutation(1), queued=1)
    assert (waiting.status_code, waiting.json()["type"]) == (401, "/problems/device-revoked")
    assert (waiting.json()["wipe"], waiting.json()["acked"]) == (False, 1)
    last = await phone.send(phone.mutation(2))
    assert (last.json()["wipe"], last.json()["acked"]) == (True, 2)
    assert "changes" not in last.json()
    verify = await phone.post(
        {"grids": [{"grid": GRID, "rev": 0, "count": 0, "digest": "0" * 16}]}, "/v1/sync/verify"
    )
    assert verify.json()["type"] == "/problems/device-revoked"
