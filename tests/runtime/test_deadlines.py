"""Deadlines by one timer: what passes, what is moved, and who else cancels."""

import asyncio

import pytest

from service.runtime import deadlines
from service.runtime.deadlines import Deadline


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.01)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_is_awaited_ends_when_the_deadline_has_passed() -> None:
    with pytest.raises(TimeoutError), Deadline(_now() + 0.02):
        await asyncio.Event().wait()
    await asyncio.sleep(0.03)  # nothing of it is left to be cancelled later


async def test_what_is_done_in_time_is_left_alone() -> None:
    with Deadline(_now() + 0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_a_deadline_can_be_moved_and_be_passed_at_once() -> None:
    moved = Deadline(_now())
    with moved:
        moved.until = _now() + 60
        await asyncio.sleep(0.05)
    ended = Deadline(_now() + 60)
    asyncio.get_running_loop().call_later(0.01, ended.pass_now)
    with pytest.raises(TimeoutError), ended:
        await asyncio.Event().wait()


async def test_only_the_inner_of_two_passes() -> None:
    with Deadline(_now() + 60):
        with pytest.raises(TimeoutError), Deadline(_now()):
            await asyncio.Event().wait()
        await asyncio.sleep(0.03)


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        with Deadline(_now() + 0.01):
            try:
                await asyncio.Event().wait()
            finally:
                task.cancel()  # besides

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_an_error_of_its_own_passes_through() -> None:
    with pytest.raises(ValueError, match="own"), Deadline(_now() + 60):
        raise ValueError("own")


def test_each_event_loop_has_its_own() -> None:
    async def ends() -> None:
        with pytest.raises(TimeoutError), Deadline(_now()):
            await asyncio.Event().wait()

    asyncio.run(ends())
    asyncio.run(ends())
