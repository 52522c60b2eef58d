"""Promise 12: every device can prove its copy, and heals it without touching what is not handed in
yet.
"""

from typing import Any

import pytest

from simulator.devices import damage
from simulator.places import SUPERVISOR, TOWNSHIP
from sync_protocol.device import SyncReport
from sync_protocol.digest import copy_digest
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, Phone, World

DAY_MS = 24 * 3600 * 1000
AT = {"visited_at": "2026-11-20T09:00:00+08:00"}
SPOILS = {
    "a record is missing": "DELETE FROM record WHERE id = (SELECT min(id) FROM record"
    " WHERE kind = 'household')",
    "a record is old": "UPDATE record SET rev = rev - 1 WHERE id = (SELECT min(id) FROM record"
    " WHERE kind = 'household')",
    "a record is not the server's": "UPDATE record SET id = '00000000-0000-4000-8000-000000000000'"
    " WHERE id = (SELECT min(id) FROM record WHERE kind = 'household')",
    "everything is gone": "DELETE FROM record WHERE kind = 'household'",
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_copy_is_noticed_and_healed(world: World, spoil: str) -> None:
    phone = world.phone()
    phone.put("visit", AT, grid=GRID)
    await phone.sync()
    assert await phone.verify() == []
    damage(phone.store.path, SPOILS[spoil])
    phone.doubt()
    report = await phone.sync()
    assert report.healed == [GRID]
    assert await phone.verify() == []
    assert len(phone.records("household")) == 3
    assert len(phone.records("visit")) == 1


async def test_healing_leaves_the_outbox_alone(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    phone.put_unchecked(
        "visit", {"visited_at": "昨天"}, grid=GRID, id=phone.id_for("visit", {}, GRID)
    )
    await phone.sync()
    house = phone.records("household")[0].id
    phone.put("household", {"phone": "1"}, grid=GRID, id=house)
    phone.store.ask_again([GRID], world.clock.ms())
    before = [(mutation.seq, mutation.fields) for mutation in phone.store.unsent(10)]
    assert not await phone.exchange_once(SyncReport())
    assert len(phone.held()) == 1
    assert before == [(2, {"phone": "1"})]
    assert (
        next(view for view in phone.records("household") if view.id == house).fields["phone"] == "1"
    )
    assert await phone.verify() == []


async def test_a_device_verifies_once_a_day_by_itself(world: World) -> None:
    phone = world.phone()
    await phone.sync()
    damage(phone.store.path, "DELETE FROM record WHERE kind = 'household'")
    world.clock.forward(hours=23)
    assert (await phone.sync()).healed == []
    world.clock.forward(hours=2)
    assert (await phone.sync()).healed == [GRID]


async def test_the_digest_is_that_of_the_contract(world: World) -> None:
    phone = world.wire()
    changes = [
        change for change in (await phone.send()).json()["changes"] if change["kind"] == "household"
    ]
    digest = copy_digest((change["id"], change["rev"]) for change in changes)
    claim = {
        "grid": GRID,
        "rev": max(change["rev"] for change in changes),
        "count": 3,
        "digest": digest,
    }
    for change, mismatched in (({}, []), ({"count": 2}, [GRID]), ({"digest": "0" * 16}, [GRID])):
        answer = await phone.post({"grids": [claim | change]}, "/v1/sync/verify")
        assert answer.json() == {"mismatched": mismatched}


async def test_a_grid_outside_the_scope_never_matches(world: World) -> None:
    phone = world.wire()
    claim = {"grid": FAR_GRID, "rev": 0, "count": 0, "digest": "0" * 16}
    assert (await phone.post({"grids": [claim]}, "/v1/sync/verify")).json() == {
        "mismatched": [FAR_GRID]
    }
    assert (await phone.post({"grids": [claim, claim]}, "/v1/sync/verify")).status_code == 422
    assert (await phone.post({"grids": "all"}, "/v1/sync/verify")).status_code == 422


async def test_copies_agree_as_the_windows_move_on(world: World) -> None:
    """What a first pull would give now changes with the days; a phone that pulled long ago still
    proves its copy.
    """
    phone, reader = world.phone(), world.phone(SECRETARY)
    phone.put("visit", AT, grid=GRID)
    made = phone.put(
        "problem", {"title": "a", "duty": "emergency", "raised_at": AT["visited_at"]}, grid=GRID
    )
    phone.put(
        "step",
        {"problem_id": made, "action": "reject", "reason": "unfounded", "at": AT["visited_at"]},
        grid=GRID,
    )
    await phone.sync()
    await reader.sync()
    for _ in range(4):
        world.clock.forward(days=20)
        for each in (phone, reader):
            assert (await each.sync()).healed == []
            assert await each.verify() == []


# ---------------------------------------------------------------------------------------- mailboxes


MAILBOX = f"@{WORKER}"
ARTICLES = f"#{TOWNSHIP}"
EMPTY = {"rev": 0, "count": 0, "digest": "0" * 16}


async def published(world: World, unit: str = TOWNSHIP, staff_code: str = SUPERVISOR) -> str:
    made = await world.post(
        "/v1/articles", {"unit": unit, "kind": "policy", "title": "政策", "body": "……"}, staff_code
    )
    await world.post(f"/v1/articles/{made.json()['id']}/publication", None, staff_code)
    return str(made.json()["id"])


async def with_mailboxes(world: World) -> Phone:
    """A phone with two held mutations, one of them discarded, and two articles, one of them
    withdrawn.
    """
    phone = world.phone()
    await published(world)
    withdrawn = await published(world)
    for number in range(3):
        phone.put_unchecked(
            "visit", {"visited_at": f"第{number}天"}, grid=GRID, id=phone.id_for("visit", {}, GRID)
        )
    await phone.sync()
    discarded = phone.held()[0]
    [held] = await world.fetch(
        "SELECT id::text FROM held WHERE device = $1 AND seq = $2", phone.id, discarded.seq
    )
    assert (
        await world.post(f"/v1/held/{held['id']}/discard", {"reason": "重复"}, SECRETARY)
    ).status_code == 200
    await world.post(f"/v1/articles/{withdrawn}/withdrawal", None, SUPERVISOR)
    await phone.sync()
    assert (len(phone.held()), len(phone.records("article"))) == (2, 1)
    return phone


async def test_mailboxes_are_proven_like_grids(world: World) -> None:
    phone = await with_mailboxes(world)
    claims = {claim["grid"]: claim for claim in phone.copies()}
    assert claims.keys() >= {MAILBOX, ARTICLES, GRID}
    assert (claims[MAILBOX]["count"], claims[ARTICLES]["count"]) == (2, 1)
    assert await phone.verify() == []
    wire = world.wire()
    for mailbox in (MAILBOX, ARTICLES):
        for change in ({"count": 7}, {"digest": "0" * 16}, EMPTY):
            answer = await wire.post({"grids": [claims[mailbox] | change]}, "/v1/sync/verify")
            assert answer.json() == {"mismatched": [mailbox]}


OPEN = "(SELECT min(id) FROM record WHERE kind = 'held' AND fields LIKE '%\"open\"%')"
DAMAGES = {
    "a notice is missing": (f"DELETE FROM record WHERE id = {OPEN}", MAILBOX),
    "a notice is not the server's": (
        f"UPDATE record SET id = '00000000-0000-4000-8000-000000000000' WHERE id = {OPEN}",
        MAILBOX,
    ),
    "all notices are gone": ("DELETE FROM record WHERE kind = 'held'", MAILBOX),
    "an article is missing": ("DELETE FROM record WHERE kind = 'article'", ARTICLES),
    "an article is old": (
        "UPDATE record SET rev = rev - 1 WHERE kind = 'article' AND NOT deleted",
        ARTICLES,
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_damaged_copy_of_a_mailbox_is_noticed_and_healed(world: World, what: str) -> None:
    phone = await with_mailboxes(world)
    held, articles = phone.held(), phone.records("article")
    statement, mailbox = DAMAGES[what]
    assert damage(phone.store.path, statement)
    phone.doubt()
    assert (await phone.sync()).healed == [mailbox]
    assert await phone.verify() == []
    # What was decided is not shown as held again, though a first pull tells nothing of it.
    assert (phone.held(), phone.records("article")) == (held, articles)


async def test_an_own_mailbox_in_which_nothing_ever_lay_is_matched_by_an_empty_copy(
    world: World,
) -> None:
    wire = world.wire()
    mailboxes = [MAILBOX, ARTICLES, "#1502", f"#{GRID}"]
    claims = [{"grid": mailbox} | EMPTY for mailbox in mailboxes]
    assert (await wire.post({"grids": claims}, "/v1/sync/verify")).json() == {"mismatched": []}
    claims = [claim | {"count": 1} for claim in claims]
    assert (await wire.post({"grids": claims}, "/v1/sync/verify")).json() == {
        "mismatched": mailboxes
    }


async def test_somebody_elses_mailbox_tells_nothing(world: World) -> None:
    phone = await with_mailboxes(world)
    await published(world, FAR_GRID[:9], f"S{FAR_GRID[:9]}")
    stranger = world.wire(SECRETARY)
    right = next(claim for claim in phone.copies() if claim["grid"] == MAILBOX)
    far = f"#{FAR_GRID[:9]}"
    odd = ["@", "#", "", f"@{WORKER}x", "@nobody", f"{ARTICLES}\0", "#一", "#1502-", "#1", "#15"]
    claims: list[dict[str, Any]] = [right]
    claims += [{"grid": name} | EMPTY for name in (far, *odd)]
    answer = await stranger.post({"grids": claims}, "/v1/sync/verify")
    # The right count is refused as the wrong one is.
    assert answer.json() == {"mismatched": [MAILBOX, far, *odd]}
    wrong = await stranger.post({"grids": [{"grid": MAILBOX} | EMPTY]}, "/v1/sync/verify")
    assert wrong.json() == {"mismatched": [MAILBOX]}


async def test_a_copy_of_articles_agrees_as_their_year_moves_on(world: World) -> None:
    phone = world.phone()
    await published(world)
    await phone.sync()
    for _ in range(8):
        world.clock.forward(days=60)
        assert (await phone.sync()).healed == []
        assert await phone.verify() == []
    assert next(claim["count"] for claim in phone.copies() if claim["grid"] == ARTICLES) == 0
