"""A supervisor who settles conflicts, and releases or discards what is held."""

from typing import TYPE_CHECKING

from simulator.devices import (
    SECRETARY,
    SimDevice,
)
from simulator.history import check
from simulator.places import PASSWORD

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
        item = min(held, key=lambda item: (item["received_at"], item["seq"], item["device"]))
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
