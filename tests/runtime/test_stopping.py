"""A service ends although something of it hangs."""

import asyncio

import asyncpg
import pytest

from service.kit import database
from service.kit.database import close_pool, open_pool
from service.runtime import stopping
from service.runtime.stopping import end_tasks


async def test_a_pool_closes_although_somebody_keeps_a_connection(
    server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "CLOSING_S", 0.1)
    pool = await open_pool(server, 1)
    kept = await pool.acquire()
    await close_pool(pool)
    assert "did not close within 0.1 s" in caplog.text
    with pytest.raises(asyncpg.InterfaceError):
        await kept.fetchval("SELECT 1")


async def test_a_task_that_misses_a_cancellation_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stopping, "ENDS_IN_S", 0.05)
    missed = []

    async def misses_one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            missed.append(1)
        await asyncio.Event().wait()

    async def never_ends() -> None:
        while not given_up.is_set():
            try:
                await given_up.wait()
            except asyncio.CancelledError:
                missed.append(2)

    given_up = asyncio.Event()
    task = asyncio.create_task(misses_one())
    stubborn = asyncio.create_task(never_ends(), name="stubborn")
    await asyncio.sleep(0)
    await end_tasks([task, stubborn])
    assert task.cancelled()
    assert missed.count(1) == 1
    assert "did not end: stubborn" in caplog.text
    given_up.set()
    await stubborn
