"""The proof of the proof: break the implementation on purpose, and the simulator must notice."""

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import Failure
from tests.simulation.simulation import Simulation

# How many seeds a breakage may take to be noticed.
PATIENCE = 40
FIRST = 1000
# Where the histories begin of those that only a rare one notices, so that a run does not live through thirty others each time.
LATER = {"keep_the_epoch": 1034, "keep_dropped_grids": 1030, "believe_every_late_stamp": 1021}


@pytest.mark.parametrize("name", BREAKAGES)
async def test_every_breakage_is_noticed(name: str, server: str, empty_households: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKAGES[name](monkeypatch)
    first = LATER.get(name, FIRST)
    for seed in range(first, first + PATIENCE):
        try:
            await Simulation(seed, server, empty_households).run()
        except Failure as noticed:
            print(f"{name}: noticed by seed {seed}: {noticed}")
            return
    pytest.fail(f"{PATIENCE} seeds ran through with {name}")
