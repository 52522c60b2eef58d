"""The proof of the proof: break the implementation on purpose, and the simulator must notice."""

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import Failure
from tests.simulation.simulation import Simulation

# How many seeds a breakage may take to be noticed.
PATIENCE = 40


@pytest.mark.parametrize("name", BREAKAGES)
async def test_every_breakage_is_noticed(name: str, server: str, empty_households: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKAGES[name](monkeypatch)
    for seed in range(1000, 1000 + PATIENCE):
        try:
            await Simulation(seed, server, empty_households).run()
        except Failure as noticed:
            print(f"{name}: noticed by seed {seed}: {noticed}")
            return
    pytest.fail(f"{PATIENCE} seeds ran through with {name}")
