"""Promise 1: acknowledgement and mutations commit together; a retry gets the same verdicts; a gap
is refused.
"""

from typing import Any

import asyncpg
import pytest

from service.runtime import failpoints
from sync_protocol.device import Unreachable
from tests.world import GRID, SECRETARY, World


class Died(BaseException):
    """The service process ended here."""


def die_at(name: str) -> None:
    async def hook(reached: str) -> None:
        if reached == name:
            raise Died(name)

    failpoints.set_hook(hook)


@pytest.fixture(autouse=True)
def no_hook_stays() -> Any:
    yield
    failpoints.set_hook(None)


async def test_verdicts_name_applied_and_duplicate_with_the_first_outcome(world: World) -> None:
    phone = world.wire()
    mutation = phone.mutation(1)
    first = (await phone.send(mutation)).json()
    again = (await phone.send(mutation)).json()
    assert first["verdicts"] == [
        {"seq": 1, "outcome": "applied", "rev": first["verdicts"][0]["rev"]}
    ]
    assert again["verdicts"] == [
        {"seq": 1, "outcome": "duplicate", "rev": first["verdicts"][0]["rev"], "first": "applied"}
    ]
    assert again["acked"] == 1
    assert len(await world.fetch("SELECT FROM visit")) == 1


async def test_a_retry_repeats_conflicts_and_reasons_word_for_word(world: World) -> None:
    one, two = world.wire(), world.wire(SECRETARY)
    house = (await one.send()).json()["changes"][0]
    edit = {"id": house["id"], "kind": "household", "base": house["rev"]}
    await two.send(two.mutation(1, **edit, fields={"phone": "2"}))
    sent = [one.mutation(1, **edit, fields={"phone": "1"}), one.mutation(2, kind="telegram")]

    first = (await one.send(*sent)).json()["verdicts"]
    again = (await one.send(*sent)).json()["verdicts"]

    assert [verdict["outcome"] for verdict in first] == ["merged", "held"]
    assert first[0]["conflicts"]
    for before, after in zip(first, again, strict=True):
        assert after == before | {"outcome": "duplicate", "first": before["outcome"]}


async def test_a_batch_that_overlaps_the_last_one_takes_only_what_is_new(world: World) -> None:
    phone = world.wire()
    mutations = [phone.mutation(seq) for seq in range(1, 6)]
    await phone.send(*mutations[:3])
    answer = (await phone.send(*mutations[1:])).json()
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == [
        "duplicate",
        "duplicate",
        "applied",
        "applied",
    ]
    assert answer["acked"] == 5
    assert len(await world.fetch("SELECT FROM visit")) == 5


async def test_a_gap_in_seq_is_refused_with_the_expected_number(world: World) -> None:
    phone = world.wire()
    response = await phone.send(phone.mutation(2))
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/seq-gap"
    assert response.json()["expected"] == 1
    assert not await world.fetch("SELECT FROM visit")


@pytest.mark.parametrize(
    ("failpoint", "outcome", "kept"),
    [
        (failpoints.PUSH_LOCKED, "applied", 0),
        (failpoints.PUSH_WRITTEN, "applied", 0),
        (failpoints.PUSH_COMMITTED, "duplicate", 1),
    ],
)
async def test_a_service_that_dies_in_a_push_has_all_of_it_or_nothing(
    world: World, failpoint: str, outcome: str, kept: int
) -> None:
    phone = world.wire()
    await phone.send()
    mutation = phone.mutation(1)
    die_at(failpoint)
    with pytest.raises(Died):
        await phone.send(mutation)
    failpoints.set_hook(None)
    for table in ("visit", "mutation", "tally"):
        where = " WHERE kind = 'visit'" if table == "mutation" else ""
        assert len(await world.fetch(f"SELECT FROM {table}{where}")) == kept, table

    [verdict] = (await phone.send(mutation)).json()["verdicts"]

    assert verdict["outcome"] == outcome
    assert [row["visits"] for row in await world.fetch("SELECT visits FROM tally")] == [1]


async def test_a_push_that_begins_again_counts_once(world: World) -> None:
    """A retry of a transaction does not repeat its effects."""
    failures = 2

    async def deadlock(reached: str) -> None:
        nonlocal failures
        if reached == failpoints.PUSH_WRITTEN and failures:
            failures -= 1
            raise asyncpg.DeadlockDetectedError("deadlock detected")

    phone = world.wire()
    failpoints.set_hook(deadlock)
    answer = (await phone.send(phone.mutation(1), phone.mutation(2, kind="telegram"))).json()
    assert failures == 0
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == ["applied", "held"]
    assert [row["visits"] for row in await world.fetch("SELECT visits FROM tally")] == [1]
    assert len(await world.fetch("SELECT FROM held")) == 1
    assert [
        row["seq"]
        for row in await world.fetch(
            "SELECT seq FROM mutation WHERE kind <> 'household' ORDER BY seq"
        )
    ] == [1, 2]


async def test_after_one_failure_the_next_sync_hands_in_everything(world: World) -> None:
    """The upload does not wait for another local edit."""
    phone = world.phone(max_tries=1)
    for _ in range(3):
        phone.put("visit", {"visited_at": "2026-11-20T09:00:00+08:00"}, grid=GRID)
    world.app.state.gridloop.database.pool, pool = _Down(), world.state.database.pool
    with pytest.raises(Unreachable):
        await phone.sync()
    world.app.state.gridloop.database.pool = pool

    report = await phone.sync()

    assert [verdict.outcome for verdict in report.verdicts] == ["applied"] * 3
    assert phone.store.count_unsent() == 0


class _Down:
    """A pool whose database is away."""

    def acquire(self, timeout: float) -> Any:
        raise ConnectionRefusedError
