"""A lost or broken phone: revoked, signed in on a new one, and what it had not handed in taken in
without false holds.
"""

import pytest

from sync_protocol.device import DeviceRevoked
from tests.world import GRID, OTHER_GRID, WORKER, Phone, World

AT = {"visited_at": "2026-11-20T09:00:00+08:00"}
ADMIN = "admin"


async def revoke(world: World, phone: Phone) -> None:
    response = await world.post(f"/v1/devices/{phone.id}/revocation", None, ADMIN)
    assert response.status_code == 200, response.text


async def broken_phone(world: World, ahead_ms: int = 0) -> tuple[Phone, str, str]:
    """A phone with a household that the server knows, one that it does not, and edits of both, all
    offline.
    """
    phone = world.phone(ahead_ms=ahead_ms)
    known = phone.put("household", {"head_name": "苏和"}, grid=GRID)
    await phone.sync()
    world.clock.forward(hours=1)
    phone.put("household", {"members": 3}, grid=GRID, id=known)
    new = phone.put("household", {"head_name": "乌云"}, grid=GRID)
    phone.put("household", {"members": 5}, grid=GRID, id=new)
    phone.put("visit", AT | {"household_id": new, "content": "屏幕碎了之前"}, grid=GRID)
    return phone, known, new


async def test_an_exported_outbox_is_handed_in_by_the_new_phone_whole(world: World) -> None:
    old, known, new = await broken_phone(world)
    exported = old.export_outbox()
    await revoke(world, old)
    world.clock.forward(hours=2)
    phone = world.phone()
    await phone.sync()
    assert phone.import_outbox(exported) == 4
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"] * 4
    houses = {view.id: view.fields for view in phone.records("household")}
    assert (houses[known]["members"], houses[new]["head_name"], houses[new]["members"]) == (
        3,
        "乌云",
        5,
    )
    assert phone.held() == []
    assert await world.fetch("SELECT FROM conflict") == []
    with pytest.raises(DeviceRevoked):
        await old.sync()


async def test_what_the_old_phone_handed_in_after_all_counts_once(world: World) -> None:
    old, _, new = await broken_phone(world)
    exported = old.export_outbox()
    await old.sync()
    phone = world.phone()
    phone.import_outbox(exported)
    await phone.sync()
    assert len(await world.fetch("SELECT FROM visit")) == 1
    assert len(await world.fetch("SELECT FROM household WHERE id = $1", new)) == 1
    assert (phone.held(), await world.fetch("SELECT FROM conflict")) == ([], [])


async def test_edits_that_the_new_phone_made_meanwhile_stay_newer(world: World) -> None:
    old, known, _ = await broken_phone(world)
    exported = old.export_outbox()
    phone = world.phone()
    await phone.sync()
    world.clock.forward(hours=1)
    phone.put("household", {"members": 4}, grid=GRID, id=known)
    phone.import_outbox(exported)
    await phone.sync()
    assert (await world.fetch("SELECT members FROM household WHERE id = $1", known))[0][
        "members"
    ] == 4


async def test_a_broken_phone_whose_clock_was_a_day_ahead_does_no_harm(world: World) -> None:
    day_ms = 24 * 3600 * 1000
    old, known, _ = await broken_phone(world, ahead_ms=day_ms)
    exported = old.export_outbox()
    phone = world.phone()
    await phone.sync()
    world.clock.forward(hours=1)
    phone.put("household", {"members": 4}, grid=GRID, id=known)
    phone.import_outbox(exported)
    report = await phone.sync()
    assert {verdict.outcome for verdict in report.verdicts} <= {"applied", "merged"}
    assert (await world.fetch("SELECT members FROM household WHERE id = $1", known))[0][
        "members"
    ] == 4


async def test_the_outbox_of_a_transferred_cadre_counts_in_the_old_grid(world: World) -> None:
    old, _, new = await broken_phone(world)
    world.clock.forward(hours=1)
    await world.transfer(WORKER, OTHER_GRID)
    refresh_token = old.store.get("refresh_token")
    phone = world.phone()
    phone.import_outbox(old.export_outbox())
    phone.store.set(predecessor=refresh_token)
    report = await phone.sync()
    assert [verdict.outcome for verdict in report.verdicts] == ["applied"] * 4
    times = await world.fetch(
        "SELECT DISTINCT created_at FROM device WHERE id = ANY($1::uuid[])", [old.id, phone.id]
    )
    assert len(times) == 1  # the new phone counts as registered since the old one was
    assert await world.fetch("SELECT FROM household WHERE id = $1 AND grid = $2", new, GRID)


async def test_the_outbox_of_somebody_else_is_not_taken_over(world: World) -> None:
    old, _, _ = await broken_phone(world)
    with pytest.raises(ValueError, match="this is the outbox of"):
        world.phone(f"W{OTHER_GRID}-1").import_outbox(old.export_outbox())


async def test_an_export_holds_no_secret(world: World) -> None:
    old, _, _ = await broken_phone(world)
    assert old.store.get("refresh_token")
    assert old.store.get("refresh_token").encode() not in old.export_outbox()


async def test_a_phone_whose_refresh_was_lost_goes_on(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    form = {"grant_type": "refresh_token", "refresh_token": phone.store.get("refresh_token")}
    assert (
        await world.client.post("/v1/auth/token", data=form)
    ).status_code == 200  # its answer never comes
    world.clock.forward(hours=1)
    signed_in = await world.fetch("SELECT count(*) FROM audit WHERE action = 'signed-in'")
    await phone.sync()
    assert await world.fetch("SELECT count(*) FROM audit WHERE action = 'signed-in'") == signed_in
