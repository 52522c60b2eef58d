"""Two pushes at once, which run into each other, while a third phone pulls."""

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from service.runtime import failpoints
from simulator.devices import (
    GRIDS,
    SimDevice,
)
from simulator.places import WAITING_FOR_LOCKS
from simulator.servers import patient
from simulator.writing import new_id
from sync_protocol.device import SyncReport
from sync_protocol.moments import moment_at

if TYPE_CHECKING:
    from simulator.simulation import Simulation


async def overlap(sim: "Simulation", device: SimDevice) -> None:
    """Two pushes at once: the first stops before its commit, the second runs into it, a third
    device pulls meanwhile.

    Who goes first is settled at every point, so that a seed always lives through the same
    history.
    """
    workers = [item for item in sim.devices if item.cadre.writes == "logs"]
    device = device if device in workers else workers[0]
    others = [item for item in workers if item is not device]
    second, third = sim.rng.sample(others, 2)
    for item in (device, second):
        _write_visit(sim, item)
    sim.network.fault_rate = 0
    release, written, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hook(name: str) -> None:
        if asyncio.current_task() is not pushing or done.is_set():
            return
        if name == failpoints.PUSH_WRITTEN and not written.is_set():
            written.set()
            await release.wait()
        elif name == failpoints.PUSH_COMMITTED:
            await done.wait()

    failpoints.set_hook(hook)
    sim.counts["overlap"] += 1
    pushing = asyncio.create_task(_exchange(sim, device, waits=False))
    reached = asyncio.create_task(written.wait())
    await asyncio.wait({pushing, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    following = looking = asyncio.create_task(_exchange(sim, second))
    try:
        await _until_blocked(sim, following)
        ids = {device.device.id, second.device.id}
        if third.device.id not in ids and not third.device.store.count_unsent():
            # It takes none of the locks and runs through, unless the first push has just found
            # that the server was restored.
            looking = asyncio.create_task(_exchange(sim, third))
            await _until_blocked(sim, looking, beyond=0 if following.done() else 1)
        release.set()
        await following
        await looking
    finally:
        release.set()
        done.set()
        await asyncio.gather(pushing, following, looking, return_exceptions=True)
        failpoints.set_hook(sim.hook)
    await pushing
    sim.note(f"{device.name} and {second.name} pushed at once, {third.name} looked on")


async def _exchange(sim: "Simulation", device: SimDevice, waits: bool = True) -> None:
    """One exchange; what remains comes with a later sync. `waits`: with the process that waits
    for others' locks.
    """
    patient.set(waits)
    await device.device.exchange(SyncReport())
    await sim.look_around(device)


def _write_visit(sim: "Simulation", device: SimDevice) -> None:
    before = device.device.store.next_seq
    at = moment_at(sim.now_ms + device.ahead_ms)
    device.device.put_unchecked(
        "visit",
        {"visited_at": at, "content": sim.word()},
        grid=GRIDS[0],
        id=new_id(device.device),
    )
    sim.remember(device, before, {})


async def _until_blocked(sim: "Simulation", task: "asyncio.Task[None]", beyond: int = 0) -> None:
    """Until a task has run into another's lock, or is done; `beyond` others wait already."""
    connection = await asyncpg.connect(sim.url)
    try:
        while not task.done():
            waiting = await connection.fetchval(WAITING_FOR_LOCKS)
            if waiting > beyond:
                return
            await asyncio.sleep(0.001)
    finally:
        await connection.close()
