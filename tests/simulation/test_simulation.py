"""Seeds of the simulator, and the proof that it notices what is broken."""

import os

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import Failure
from tests.simulation.simulation import Simulation

SEEDS = int(os.environ.get("GRIDLOOP_TEST_SEEDS", "50"))
# How many seeds a breakage may take to be noticed.
PATIENCE = 40


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_promise_breaks(seed: int, server: str, empty_households: str) -> None:
    simulation = Simulation(seed, server, empty_households)
    try:
        await simulation.run()
    except BaseException:
        print(f"\nseed {seed}, the last steps:\n" + "\n".join(simulation.trace[-60:]))
        raise


@pytest.mark.parametrize("name", BREAKAGES)
async def test_every_breakage_is_noticed(name: str, server: str, empty_households: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKAGES[name](monkeypatch)
    for seed in range(1000, 1000 + PATIENCE):
        try:
            await Simulation(seed, server, empty_households).run()
        except Failure:
            return
    pytest.fail(f"{PATIENCE} seeds ran through with {name}")
