"""A supervisor who settles conflicts, and releases or discards what is held."""

from typing import TYPE_CHECKING, Any

import asyncpg

from simulator.devices import (
    SECRETARY,
    SimDevice,
)
from simulator.history import check
from simulator.places import PASSWORD
from sync_protocol.ids import is_uuid

if TYPE_CHECKING:
    from simulator.simulation import Simulation


async def decide(sim: "Simulation", device: SimDevice) -> None:
    """A supervisor settles a conflict, or releases or discards a held mutation."""
    sim.network.fault_rate = 0
    form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
    token = (await sim.client.post("/v1/auth/token", data=form)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    conflicts = (
        await sim.client.get("/v1/conflicts", params={"state": "open"}, headers=headers)
    ).json()["items"]
    held = (await sim.client.get("/v1/held", headers=headers)).json()["items"]
    if conflicts and sim.rng.random() < 0.5:
        names = ("created_at", "record", "field", "rev", "lost_device", "lost")
        conflict = min(conflicts, key=lambda item: [str(item[name]) for name in names])
        choice = sim.rng.choice(("kept", "lost"))
        response = await sim.client.post(
            f"/v1/conflicts/{conflict['id']}/resolution",
            json={"choice": choice},
            headers=headers,
        )
        check(response.status_code < 500, f"settling failed: {response.text}")
        sim.note(
            f"the conflict on {conflict['field']} is settled: {choice} ({response.status_code})"
        )
        sim.counts["settled"] += 1
    elif held:
        moves = [item for item in held if item["reason"] == "needs-acceptance"]
        some = moves if moves and sim.rng.random() < 0.7 else held
        item = min(some, key=lambda item: (item["received_at"], item["seq"], item["device"]))
        before = await _place(sim, item["record"])
        if sim.rng.random() < 0.5:
            response = await sim.client.post(
                f"/v1/held/{item['id']}/release", json={}, headers=headers
            )
        else:
            response = await sim.client.post(
                f"/v1/held/{item['id']}/discard", json={"reason": "sim"}, headers=headers
            )
        check(response.status_code < 500, f"deciding failed: {response.text}")
        sim.counts["decided"] += 1
        if item["reason"] == "needs-acceptance":
            await _check_decided(sim, item, before, response.json().get("outcome"))


async def _place(sim: "Simulation", household: str) -> str | None:
    if not is_uuid(household):
        return None
    rows = await _read(sim, "SELECT grid FROM household WHERE id = $1", household)
    return rows[0]["grid"] if rows else None


async def _read(sim: "Simulation", sql: str, *values: Any) -> list[Any]:
    """Reads beside the service, whose connections may be lost."""
    connection = await asyncpg.connect(sim.url)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def _check_decided(
    sim: "Simulation", item: dict[str, Any], before: str | None, outcome: str | None
) -> None:
    """A move that a worker has asked for: a household that moves leaves no open problem behind
    where it was `before`, and a refusal leaves it there.
    """
    sim.counts[f"moves asked for: {outcome}"] += 1
    sim.note(f"the move of {item['record'][-6:]} to {item['grid'][-3:]}: {outcome}")
    if outcome == "held":
        return
    [row] = await _read(sim, "SELECT state FROM held WHERE id = $1", item["id"])
    state = row["state"]
    expected = "discarded" if outcome == "discarded" else "released"
    check(state == expected, f"a move was {outcome} and its notice says {state}")
    if outcome == "discarded":
        check(await _place(sim, item["record"]) == before, "a move that was refused moved")
    left = await _read(
        sim,
        "SELECT p.id FROM problem p JOIN case_file c ON c.problem = p.id"
        " JOIN household h ON h.id = p.household_id WHERE h.id = $1 AND NOT p.deleted"
        " AND p.grid = $2 AND h.grid <> p.grid"
        " AND c.state NOT IN ('closed', 'rejected', 'joined')",
        item["record"],
        before,
    )
    check(not left, f"open problems stayed behind their household: {left[:3]}")
