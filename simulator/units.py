"""Units that are split, merged and moved while phones may be offline, and what lies under what."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.devices import GRIDS, SimDevice
from simulator.history import check
from simulator.places import PASSWORD, TOWNSHIP, VILLAGE
from sync_protocol.lifecycle import unit_above
from sync_protocol.periods import from_ms, local_day

if TYPE_CHECKING:
    from simulator.simulation import Simulation

ADMIN = "UNITS"
OTHER_TOWNSHIP = "150202101"
SPELLS = "SELECT unit, parent, valid_from, valid_to FROM unit_parent"


class Units:
    """What lies under what, worked out anew by walking up: by code, but for units that moved."""

    def __init__(self, spells: Iterable[Any] = ()) -> None:
        self._spells = list(spells)

    def parent(self, code: str, day: date | None = None) -> str | None:
        """The unit right above on a day."""
        for spell in self._spells:
            begins, ends = spell["valid_from"], spell["valid_to"]
            if spell["unit"] != code or day is None or begins > day:
                continue
            if ends is None or day < ends:
                return str(spell["parent"])
        return unit_above(code)

    def under(self, top: str, code: str, moment: datetime) -> bool:
        """Whether a unit is `top` or lay under it at a moment."""
        at: str | None = code
        while at is not None and at != top:
            at = self.parent(at, local_day(moment))
        return at == top


async def change_units(sim: "Simulation", device: SimDevice) -> None:
    """Splits a grid, merges one that was made by that into another, or lets the village go to
    another township, or back.
    """
    form = {"grant_type": "password", "username": ADMIN, "password": PASSWORD}
    token = (await sim.client.post("/v1/auth/token", data=form)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    async def ask(path: str, body: dict[str, Any], *expected: int) -> Any:
        answer = await sim.client.post(f"/v1/units/{path}", json=body, headers=headers)
        check(answer.status_code in (200, *expected), f"units: {path} {body}: {answer.text}")
        sim.note(f"{path.rpartition('/')[2]} of {path}: {answer.status_code}")
        sim.counts[f"units: {path.rpartition('/')[2]} {answer.status_code}"] += 1
        return answer.json()

    there = [
        row["code"]
        for row in await sim.database.pool.fetch(
            "SELECT code FROM unit WHERE code = ANY($1) AND closed IS NULL", sim.made_grids
        )
    ]
    match sim.rng.choice(("split", "split", "merge", "move")):
        case "split":
            grid = sim.rng.choice([*GRIDS, *there])
            rows = await sim.database.pool.fetch(
                "SELECT id::text FROM household WHERE grid = $1 AND NOT deleted ORDER BY id", grid
            )
            if rows:
                some = sim.rng.sample([row["id"] for row in rows], (len(rows) + 1) // 2)
                made = await ask(f"{grid}/split", {"name": sim.word(), "households": some})
                if made["unit"]["code"] not in sim.made_grids:
                    sim.made_grids.append(made["unit"]["code"])
        case "merge" if there:
            grid = sim.rng.choice(there)
            to = sim.rng.choice([other for other in [*GRIDS, *there] if other != grid])
            await ask(f"{grid}/merge", {"to": to})
        case _:
            day = local_day(from_ms(sim.now_ms)) + timedelta(days=sim.rng.randint(1, 2))
            to = sim.rng.choice((OTHER_TOWNSHIP, TOWNSHIP))
            await ask(f"{VILLAGE}/move", {"to": to, "from": str(day)})
