"""The phones of the simulation, and whose they are."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from simulator.knowledge import Knowledge
from simulator.places import PASSWORD, SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.device import Account, Device, Store, Transport

if TYPE_CHECKING:
    from simulator.simulation import Simulation

GRIDS = [VILLAGE + "001", VILLAGE + "002", VILLAGE + "003"]
ELSEWHERE = TOWNSHIP + "201"
EVERY_GRID = [*GRIDS, ELSEWHERE + "001"]


class Cadre(NamedTuple):
    """A cadre with a phone: the staff code, where the phone's new records lie, what is written, and
    how often.
    """

    staff_code: str
    grids: list[str]
    writes: str
    weight: float = 1


WORKERS = [f"W{GRIDS[0]}-1", f"W{GRIDS[1]}-1"]
SECRETARY, COMMITTEE = f"C{VILLAGE}-1", f"C{VILLAGE}-3"
CONTACT = "CONTACT"
NEIGHBOUR = f"C{ELSEWHERE}-1"
CADRES = [
    *[Cadre(code, GRIDS, "logs") for code in (*WORKERS, SECRETARY, COMMITTEE, WORKERS[0])],
    # The supervisor of the township, a contact member with some tied households, a secretary whom
    # problems are assigned to.
    Cadre(SUPERVISOR, GRIDS, "problems", 0.6),
    Cadre(CONTACT, GRIDS, "ties", 0.6),
    Cadre(NEIGHBOUR, [ELSEWHERE + "001"], "few", 0.4),
]


def damage(path: str | Path, sql: str, *values: object) -> int:
    """Changes a phone's file from outside, as a fault of its disk or of its app would; returns how
    many rows.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        return file.execute(sql, values).rowcount


class SimDevice:
    """A phone of the simulation: its file survives the death of its process."""

    def __init__(self, sim: "Simulation", name: str, cadre: Cadre, ahead_ms: int) -> None:
        self.sim = sim
        self.name = name
        self.cadre = cadre
        self.ahead_ms = ahead_ms
        self.jumped = False
        self.path = sim.folder / f"{name}.sqlite3"
        self.backup: Path | None = None
        self.restored = False
        self.revs: dict[tuple[str, str], tuple[str, int]] = {}
        self.knowledge = Knowledge()
        self.knew_at_backup = Knowledge()
        self.open()

    @property
    def staff_code(self) -> str:
        """Whose it is."""
        return self.cadre.staff_code

    def open(self) -> None:
        """Starts the phone's process."""
        rng = random.Random(self.sim.rng.getrandbits(64))
        self.device = Device(
            Store(self.path),
            Transport(self.sim.client),
            Account(self.staff_code, PASSWORD),
            now=lambda: self.sim.now_ms + self.ahead_ms,
            rng=rng,
            sleep=self.sim.no_sleep,
            page=self.sim.rng.choice((3, 10, 500)),
            max_tries=2,
            name=self.name,
        )

    def kill(self) -> None:
        """Ends the phone's process and starts it again."""
        self.device.store.close()
        self.open()
