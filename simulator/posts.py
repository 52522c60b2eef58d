"""Who has which post, and transfers while phones may be offline."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from simulator.devices import (
    COMMITTEE,
    CONTACT,
    GRIDS,
    SECRETARY,
    WORKERS,
    SimDevice,
)
from simulator.places import TOWNSHIP, VILLAGE
from simulator.units import ADMIN
from sync_protocol.periods import from_ms

if TYPE_CHECKING:
    from simulator.simulation import Simulation

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def appoint(sim: "Simulation") -> None:
    """A contact member, who has no post in the roster."""
    pool = sim.database.pool
    await pool.execute(
        "INSERT INTO cadre SELECT $1, '联系人', '', true, password, true FROM cadre"
        " WHERE staff_code = $2",
        CONTACT,
        SECRETARY,
    )
    await _post(sim, CONTACT, "contact_member", VILLAGE, LONG_AGO)
    await pool.execute(
        "INSERT INTO cadre SELECT $1, '管理员', '', false, password, true FROM cadre"
        " WHERE staff_code = $2",
        ADMIN,
        SECRETARY,
    )
    await _post(sim, ADMIN, "admin", "1502", LONG_AGO)
    owner = await asyncpg.connect(sim.url)
    await owner.execute("UPDATE server SET own_work_from = $1", sim.own_work_from)
    await owner.close()


async def _post(sim: "Simulation", staff_code: str, role: str, unit: str, since: datetime) -> None:
    """A cadre's posts end, and another begins."""
    pool = sim.database.pool
    await pool.execute(
        "UPDATE post SET valid_to = $2 WHERE staff_code = $1 AND valid_to IS NULL",
        staff_code,
        since,
    )
    await pool.execute(
        "INSERT INTO post (id, staff_code, role, unit, valid_from)"
        " VALUES (gen_random_uuid(), $1, $2, $3, $4)",
        staff_code,
        role,
        unit,
        since,
    )


async def change_post(sim: "Simulation", device: SimDevice) -> None:
    """Transfers a worker to another grid, or back, while the phone may be offline; or makes a
    cadre of the village one who supervises, or a contact member of grids that the cadre did not
    have, so that the view changes.
    """
    sim.counts["post changed"] += 1
    staff_code, role, unit = sim.rng.choice(
        [(worker, "grid_worker", grid) for worker in WORKERS for grid in GRIDS]
        + [
            (COMMITTEE, "village_committee", VILLAGE),
            (COMMITTEE, "supervisor", TOWNSHIP),
            (CONTACT, "contact_member", VILLAGE),
        ]
        + [(CONTACT, "contact_member", GRIDS[0]), (CONTACT, "village_committee", VILLAGE)]
    )
    await _post(sim, staff_code, role, unit, from_ms(sim.now_ms))
    sim.note(f"{staff_code} is {role} of {unit} now")
