"""What a phone may hold after a sync, and in which order it may see things."""

from typing import TYPE_CHECKING

from simulator.devices import (
    SimDevice,
)
from simulator.history import check
from simulator.units import SPELLS, Units
from simulator.visible import EVERY_POST, HIDDEN, Post, view_of
from sync_protocol.periods import from_ms

if TYPE_CHECKING:
    from simulator.simulation import Simulation


async def check_scope(sim: "Simulation", device: SimDevice) -> None:
    """After a sync a device holds nothing that its cadre's present posts do not show (promise
    8).
    """
    rows = await sim.database.pool.fetch(f"{EVERY_POST} WHERE staff_code = $1", device.staff_code)
    posts, now = [Post(*row[1:]) for row in rows], from_ms(sim.now_ms)
    units = Units(await sim.database.pool.fetch(SPELLS))
    for change in device.device.store.pulled():
        if not change.grid.isdigit():
            continue
        view = view_of(posts, change.grid, now, units)
        # What was assigned is shown from elsewhere, too; which problems that are is checked at
        # the end.
        check(
            view or change.kind in ("problem", "step"),
            f"promise 8: {device.name} keeps {change} beyond its scope",
        )
        shown = {
            name
            for name in change.fields.keys() & HIDDEN
            if (device.staff_code, change.id, name) not in sim.own
        }
        check(
            not shown or view in ("full", "tied"),
            f"promise 8: {device.name} was shown {shown} of {change}",
        )


def check_monotonic(device: SimDevice) -> None:
    """A device never sees an older state of a record than before, within one history of the
    server.
    """
    epoch = device.device.store.epoch
    for change in device.device.store.pulled():
        key = (change.kind, change.id)
        place, before = f"{epoch} {change.grid}", device.revs.get(key)
        if before is not None and before[0] == place:
            check(
                change.rev >= before[1],
                f"monotonic reads: {device.name} {key} went from {before[1]} to {change.rev}",
            )
        if change.rev:
            device.revs[key] = (place, change.rev)
