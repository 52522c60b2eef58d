"""Seeds of the simulator."""

import os

import pytest

from simulator.simulation import Simulation

SEEDS = int(os.environ.get("GRIDLOOP_TEST_SEEDS", "8"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_promise_breaks(seed: int, server: str, empty_households: str) -> None:
    simulation = Simulation(seed, server, empty_households)
    try:
        await simulation.run()
    except BaseException:
        print(f"\nseed {seed}, the last steps:\n" + "\n".join(simulation.trace[-60:]))
        raise
