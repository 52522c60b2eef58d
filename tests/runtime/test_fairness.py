"""Nobody is behind an unfair phone; counted, not timed (the times are in the bench of the same
name).
"""

import asyncio
import uuid
from typing import Any

import pytest

from service.http.account_limit import AT_ONCE, AccountLimit
from service.kit.errors import Problem
from service.runtime import failpoints
from service.runtime.admission import (
    LARGE,
    PER_ACCOUNT,
    PER_DEVICE,
    RESTS,
    WAITING_PER_ACCOUNT,
    WAITING_PER_DEVICE,
    ConcurrencyLimit,
)
from simulator.places import SUPERVISOR
from tests.world import OTHER_GRID, WORKER, World, first_held_at


async def test_a_small_push_does_not_wait_for_a_large_one(world: World) -> None:
    greedy, ordinary = world.wire(), world.wire(f"W{OTHER_GRID}-1")
    batch = [greedy.mutation(seq) for seq in range(1, 301)]
    await asyncio.gather(greedy.send(), ordinary.send())
    with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
        large = asyncio.create_task(greedy.send(*batch))
        await reached.wait()
        try:
            async with asyncio.timeout(0.4):  # less than after which batches overlap
                answer = await ordinary.send(ordinary.mutation(1, grid=OTHER_GRID))
            assert not large.done()
        finally:
            go_on.set()
        assert answer.json()["verdicts"][0]["outcome"] == "applied"
        assert len((await large).json()["verdicts"]) == 300


async def test_a_device_has_two_places_and_the_rest_of_what_it_sends_waits() -> None:
    concurrency = ConcurrencyLimit(8)
    go_on = asyncio.Event()
    inside: list[str] = []

    async def exchange(device: str) -> None:
        async with concurrency.slot(device, device):
            inside.append(device)
            await go_on.wait()

    greedy = [
        asyncio.create_task(exchange("greedy")) for _ in range(PER_DEVICE + WAITING_PER_DEVICE + 3)
    ]
    await asyncio.sleep(0)
    assert inside == ["greedy"] * PER_DEVICE
    others = [asyncio.create_task(exchange(f"phone {number}")) for number in range(6)]
    await asyncio.sleep(0)
    assert len(inside) == 8
    assert concurrency.is_full
    go_on.set()
    ends = await asyncio.gather(*greedy, *others, return_exceptions=True)
    refused = [end for end in ends if end is not None]
    assert [type(end) for end in refused] == [Problem] * 3
    assert [
        end.headers["Retry-After"].isdigit() for end in refused if isinstance(end, Problem)
    ] == [True] * 3
    async with concurrency.slot("greedy", "greedy"):
        assert not concurrency.is_full


async def test_an_account_has_no_more_places_for_having_many_devices() -> None:
    concurrency = ConcurrencyLimit(64)
    go_on = asyncio.Event()
    inside: list[str] = []

    async def exchange(device: str, account: str) -> None:
        async with concurrency.slot(device, account):
            inside.append(account)
            await go_on.wait()

    greedy = [asyncio.create_task(exchange(f"device {number}", "greedy")) for number in range(60)]
    await asyncio.sleep(0)
    assert inside == ["greedy"] * PER_ACCOUNT
    family = [
        asyncio.create_task(exchange(device, "family"))
        for device in ("phone", "tablet")
        for _ in range(PER_DEVICE)
    ]
    await asyncio.sleep(0)
    assert inside[PER_ACCOUNT:] == ["family"] * 2 * PER_DEVICE
    go_on.set()
    ends = await asyncio.gather(*greedy, *family, return_exceptions=True)
    assert (
        len([end for end in ends if isinstance(end, Problem)])
        == 60 - PER_ACCOUNT - WAITING_PER_ACCOUNT
    )
    assert concurrency.is_idle


async def test_an_account_has_no_more_requests_under_way_for_having_signed_in_often(
    world: World,
) -> None:
    go_on = asyncio.Event()
    inside: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.append(scope["path"])
        await go_on.wait()

    shares = AccountLimit(app)

    def ask(path: str, token: str) -> asyncio.Task[None]:
        scope = {
            "type": "http",
            "app": world.app,
            "path": path,
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }
        return asyncio.create_task(shares(scope, None, None))  # type: ignore[arg-type]

    greedy = [await world.token(WORKER, str(uuid.uuid4())) for _ in range(AT_ONCE + 2)]
    tasks = [ask("greedy", token) for token in greedy] + [
        ask("other", await world.token(SUPERVISOR)),
        ask("nobody", "a.b.c"),
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(inside) == ["greedy"] * AT_ONCE + ["nobody", "other"]
    go_on.set()
    await asyncio.gather(*tasks)
    assert len(inside) == len(tasks)


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    concurrency = ConcurrencyLimit(1)
    for _ in range(3):
        tasks = [asyncio.create_task(hold(concurrency)) for _ in range(4)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with concurrency.slot("phone", "phone"):
        assert concurrency.is_full
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.01), concurrency.slot("phone", "phone"):
            await asyncio.sleep(1)
    assert not concurrency.is_full


class Slept:
    """A clock, and a sleep that takes no time but moves it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds


async def begin(concurrency: ConcurrencyLimit, account: str, device: str = "phone") -> None:
    async with concurrency.slot(f"{device} of {account}", account):
        pass


async def test_a_device_rests_after_a_large_push_while_others_are_about() -> None:
    time = Slept()
    concurrency = ConcurrencyLimit(4, lambda: time.now, time.sleep)
    await begin(concurrency, "ordinary")
    await begin(concurrency, "greedy")
    concurrency.took("greedy", LARGE + 1, 0.2)
    time.now += 0.1
    await begin(concurrency, "greedy")
    assert time.slept == [pytest.approx(0.2 * RESTS - 0.1)]
    concurrency.took("greedy", LARGE, 0.2)  # as large as a phone should make them
    await begin(concurrency, "greedy")
    await begin(concurrency, "ordinary")
    concurrency.took("greedy", LARGE + 1, 20)
    await begin(concurrency, "greedy")
    assert time.slept[1:] == [2.0]  # and no longer than that


@pytest.mark.parametrize("device", ["phone", "tablet"])
async def test_whatever_an_account_sends_waits_until_it_has_rested(device: str) -> None:
    """Else an exchange of nothing rested in place of the next large push, or the push came from
    another device.
    """
    time = Slept()
    waking: list[asyncio.Future[None]] = []

    async def sleep(seconds: float) -> None:
        time.slept.append(round(seconds, 3))
        waking.append(asyncio.get_running_loop().create_future())
        await waking[-1]

    concurrency = ConcurrencyLimit(8, lambda: time.now, sleep)
    await begin(concurrency, "ordinary")
    await begin(concurrency, "greedy")
    concurrency.took("greedy", LARGE + 1, 0.2)
    decoy = asyncio.create_task(begin(concurrency, "greedy"))
    await asyncio.sleep(0)
    time.now += 0.05
    large = asyncio.create_task(begin(concurrency, "greedy", device))
    await asyncio.sleep(0)
    assert time.slept == [pytest.approx(0.2 * RESTS), pytest.approx(0.2 * RESTS - 0.05)]
    time.now += 0.2 * RESTS
    for turn in waking:
        turn.set_result(None)
    await asyncio.gather(decoy, large)
    await begin(concurrency, "greedy")
    assert len(time.slept) == 2


async def test_a_device_that_is_alone_does_not_rest() -> None:
    time = Slept()
    concurrency = ConcurrencyLimit(4, lambda: time.now, time.sleep)
    await begin(concurrency, "ordinary")
    time.now += 5
    for _ in range(3):
        await begin(concurrency, "recovering")
        concurrency.took("recovering", 1_000, 0.2)
        time.now += 0.2
    assert time.slept == []


async def test_who_gives_up_resting_leaves_its_turn() -> None:
    now = 100.0
    concurrency = ConcurrencyLimit(4, lambda: now)
    await begin(concurrency, "ordinary")
    await begin(concurrency, "greedy")
    concurrency.took("greedy", 1_000, 10)
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.01):
            await begin(concurrency, "greedy")
    now += 3
    for _ in range(PER_DEVICE + 1):
        await begin(concurrency, "greedy")


async def hold(concurrency: ConcurrencyLimit) -> None:
    async with concurrency.slot("phone", "phone"):
        await asyncio.sleep(60)
