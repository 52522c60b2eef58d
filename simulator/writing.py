"""What the cadres of the simulation write on their phones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simulator.devices import CONTACT, ELSEWHERE, GRIDS, NEIGHBOUR, SECRETARY, SimDevice
from simulator.history import check
from simulator.places import TOWNSHIP
from sync_protocol.device import Device
from sync_protocol.moments import moment_at

if TYPE_CHECKING:
    from simulator.simulation import Simulation

WEEKS = ["2026-W46", "2026-W47"]
_ACTIONS = [
    "accept",
    "handle",
    "resolve",
    "resolve",
    "verify",
    "reopen",
    "return",
    "reject",
    "escalate",
    "close",
    "note",
    "assign",
]
_ACTIONS += ["assign"]  # so that much lies in other hands
# What is written how often, by the phone's `writes`.
_OFTEN: Mapping[str, Mapping[str, float]] = {
    "logs": {
        "visit": 4,
        "household": 2,
        "edit": 6,
        "tie": 0.7,
        "delete": 1.5,
        "problem": 2,
        "step": 4,
        "analysis": 1.5,
        "move": 2.5,
        "bad": 0.8,
        "again": 0.6,
    },
    "problems": {"problem": 2, "step": 6, "edit": 2, "visit": 0.4},
    "ties": {"visit": 3, "problem": 2, "step": 2, "edit": 2},
    "few": {"visit": 1, "step": 5, "edit": 1},
}


class Writer:
    """Lets a phone of the simulation write something, as the seed says."""

    def __init__(self, sim: "Simulation", device: SimDevice) -> None:
        self._sim = sim
        self._rng = sim.rng
        self._device = device
        self._phone = device.device
        self._views = [view for view in self._phone.records() if view.kind != "held"]
        self._grid = self._rng.choice(device.cadre.grids)
        self._at = moment_at(sim.now_ms + device.ahead_ms)

    def write(self) -> None:
        """One mutation, or none if there is nothing that it could be about."""
        often = _OFTEN[self._device.cadre.writes]
        what = self._rng.choices(list(often), list(often.values()))[0]
        getattr(self, f"_{what}")()

    def _put(
        self, kind: str, fields: Mapping[str, Any], grid: str | None = None, id: str | None = None
    ) -> None:
        self._phone.put_unchecked(
            kind, dict(fields), grid=grid or self._grid, id=id or new_id(self._phone)
        )

    def _some(self, *kinds: str) -> Any:
        found = [view for view in self._views if view.kind in kinds]
        return self._rng.choice(found) if found else None

    def _about(self) -> tuple[str, dict[str, Any]]:
        """The grid and the household that a contact member's record is about; others say nothing of
        one.
        """
        house = self._some("household") if self._device.cadre.writes == "ties" else None
        return (house.grid, {"household_id": house.id}) if house is not None else (self._grid, {})

    def _visit(self) -> None:
        grid, about = self._about()
        duties = {"add": [self._rng.choice(("emergency", "public_order"))]}
        self._put(
            "visit",
            {"visited_at": self._at, "duties": duties, "content": self._sim.word()} | about,
            grid,
        )

    def _household(self) -> None:
        fields: dict[str, Any] = {
            "head_name": self._sim.word(),
            "phone": "100",
            "tags": {"add": [self._tag()]},
        }
        if self._rng.random() < 0.5:
            fields["contact_member"] = CONTACT
        self._phone.put("household", fields, grid=self._grid)

    def _tie(self) -> None:
        house = self._some("household")
        if house is not None:
            self._put(
                "household",
                {"contact_member": self._rng.choice((CONTACT, CONTACT, None))},
                house.grid,
                house.id,
            )

    def _delete(self) -> None:
        view = self._rng.choice(self._views) if self._views else None
        if view is not None and view.kind in ("household", "visit"):
            self._phone.delete(view.kind, view.id, grid=view.grid)

    def _again(self) -> None:
        """Brings back what was deleted."""
        gone = [
            change
            for change in self._phone.store.pulled()
            if change.deleted and change.kind in ("household", "visit")
        ]
        if gone:
            change = self._rng.choice(gone)
            name = "note" if change.kind == "household" else "content"
            self._put(change.kind, {name: self._sim.word()}, change.grid, change.id)

    def _problem(self) -> None:
        grid, about = self._about()
        fields = {
            "title": self._sim.word(),
            "duty": "emergency",
            "severity": self._severity(),
            "raised_at": self._at,
            "contact": "100",
        }
        self._put("problem", fields | about, grid)

    def _step(self) -> None:
        problem = self._some("problem")
        if problem is None:
            return
        action = self._rng.choice(_ACTIONS)
        fields = {
            "problem_id": problem.id,
            "action": action,
            "at": self._at,
            "note": self._sim.word(),
        }
        if action == "assign":
            fields |= self._rng.choice(
                (
                    {"to_cadre": NEIGHBOUR, "to_unit": ELSEWHERE},
                    {"to_unit": ELSEWHERE},
                    {"to_unit": TOWNSHIP},
                    {"to_cadre": CONTACT},
                    {"to_cadre": SECRETARY},
                )
            )
        self._put("step", fields, problem.grid)

    def _analysis(self) -> None:
        name = self._rng.choice(("situation", "measures"))
        self._phone.put(
            "weekly_analysis",
            {"week": self._rng.choice(WEEKS), name: self._sim.word()},
            grid=self._grid,
        )

    def _move(self) -> None:
        house = self._some("household")
        if house is None:
            return
        carried: dict[str, Any] = {"note": self._sim.word()} if self._rng.random() < 0.4 else {}
        self._phone.put("household", carried, grid=self._rng.choice(GRIDS), id=house.id)
        if self._rng.random() < 0.4:
            # Its copy shows the record where it was before: it takes its own move back.
            self._phone.put("household", {}, grid=house.grid, id=house.id)

    def _bad(self) -> None:
        kind, fields = self._rng.choice(
            (
                ("visit", {"visited_at": "昨天"}),
                ("telegram", {"text": self._sim.word()}),
                ("visit", {"visited_at": self._at, "household_id": new_id(self._phone)}),
            )
        )
        self._put(kind, fields)

    def _edit(self) -> None:
        view = self._rng.choice(self._views) if self._views else None
        if view is None:
            return
        rng, word = self._rng, self._sim.word
        match view.kind:
            case "household":
                change: dict[str, Any] = rng.choice(
                    (
                        {"phone": word()},
                        {"phone": "100"},
                        {"members": rng.randint(1, 3)},
                        {"phone": None},
                        {"tags": {"add": [self._tag()]}},
                        {"tags": {"remove": [self._tag()]}},
                        {"note": word()},
                    )
                )
            case "visit":
                change = rng.choice(
                    (
                        {"content": word()},
                        {"duties": {"add": ["emergency"]}},
                        {"duties": {"remove": ["emergency"]}},
                    )
                )
            case "problem":
                change = rng.choice(
                    ({"severity": self._severity()}, {"title": word()}, {"mood": word()})
                )
            case "weekly_analysis":
                change = {rng.choice(("situation", "measures")): word()}
            case _:
                return
        self._put(view.kind, change, view.grid, view.id)
        shown = next((item for item in self._phone.records(view.kind) if item.id == view.id), None)
        name, value = next(iter(change.items()))
        if not isinstance(value, dict):
            check(
                shown is not None and shown.fields.get(name) == value,
                f"read your writes: {view.kind} {name}",
            )

    def _tag(self) -> str:
        return self._rng.choice(("veteran", "disabled"))

    def _severity(self) -> str:
        return self._rng.choice(("ordinary", "urgent", "emergency"))


def new_id(phone: Device) -> str:
    """An id for a new record."""
    return phone.id_for("visit", {}, GRIDS[0])
