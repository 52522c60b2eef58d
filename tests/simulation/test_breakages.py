"""The proof of the proof: break the implementation on purpose, and the simulator must notice."""

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.history import Failure
from tests.simulation.simulation import Simulation

# How many seeds a breakage may take to be noticed.
PATIENCE = 40
FIRST = 1000
# Where the histories begin of those that the first does not notice, so that a run does not live through the others each time.
LATER = {
    "accept_a_repeated_seq": 1001,
    "forget_departures": 1001,
    "never_take_credit_back": 1001,
    "keep_the_epoch": 1002,
    "judge_rights_at_the_sync": 1003,
    "forget_assignments": 1005,
    "keep_what_a_former_view_showed": 1010,
    "keep_dropped_grids": 1024,
    "believe_every_late_stamp": 1025,
}


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
