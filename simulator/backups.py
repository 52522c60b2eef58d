"""Backups of phones and of the server, what is lost by going back to them, and copied phones."""

import shutil
from typing import TYPE_CHECKING

import asyncpg

from simulator.devices import (
    CADRES,
    SimDevice,
)

if TYPE_CHECKING:
    from simulator.simulation import Simulation


def name_of(url: str) -> str:
    """The database that a URL names."""
    return url.partition("?")[0].rpartition("/")[2]


async def back_up_device(sim: "Simulation", device: SimDevice) -> None:
    """The phone is backed up, with what is known of what it has seen."""
    device.device.store.close()
    device.backup = device.path.with_suffix(".backup")
    device.knew_at_backup = device.knowledge.copy()
    shutil.copy(device.path, device.backup)
    device.open()


async def restore_device(sim: "Simulation", device: SimDevice) -> None:
    """The phone is restored from its backup: what it wrote since then is gone from it."""
    if device.backup is None:
        return
    sim.counts["device restored"] += 1
    device.device.store.close()
    for leftover in sim.folder.glob(f"{device.name}.sqlite3-*"):
        leftover.unlink()
    shutil.copy(device.backup, device.path)
    device.restored = True
    device.revs = {}
    device.knowledge = device.knew_at_backup.copy()
    device.open()
    sim.note(f"{device.name} is restored from its backup")


async def copy_device(sim: "Simulation", device: SimDevice) -> None:
    """A second phone is set up from the first one's data: both think they are the same
    device.
    """
    if len(sim.devices) > len(CADRES) + 2:
        return
    sim.counts["device cloned"] += 1
    device.device.store.close()
    name = f"phone{len(sim.devices)}"
    shutil.copy(device.path, sim.folder / f"{name}.sqlite3")
    device.open()
    twin = SimDevice(sim, name, device.cadre, device.ahead_ms)
    twin.jumped = device.jumped
    twin.knowledge = device.knowledge.copy()
    sim.devices.append(twin)
    sim.note(f"{name} is a copy of {device.name}")


async def back_up_server(sim: "Simulation", device: SimDevice) -> None:
    """The server's database is backed up."""
    await sim.stop()
    sim.backup = name_of(await sim.clone(name_of(sim.url), "backup"))
    sim.asked_at_backup = len(sim.asked)
    await sim.start(sim.url)
    sim.note("the server's database is backed up")


async def restore_server(sim: "Simulation", device: SimDevice) -> None:
    """The server's database is restored: it has lost its last hours."""
    if sim.backup is None:
        return
    sim.counts["server restored"] += 1
    await sim.stop()
    await sim.start(await sim.clone(sim.backup, "live"))
    connection = await asyncpg.connect(sim.url)
    await connection.execute(
        "UPDATE server SET epoch = gen_random_uuid()"
    ) if sim.rng.random() < 0.5 else None
    await connection.close()
    for item in sim.devices:
        item.revs = {}
    for asked in sim.asked[sim.asked_at_backup :]:
        asked.lost = True
    sim.note("the server's database is restored")
