"""The proof of the proof: break the implementation on purpose, and the simulator must notice."""

import os

import pytest

from tests.simulation import troubles
from tests.simulation.breakages import BREAKAGES, SHOWN_BY
from tests.simulation.history import Failure
from tests.simulation.simulation import Simulation

# How many seeds a breakage may take to be noticed.
PATIENCE = 40
FIRST = 1000
# Where the histories begin of those that the first does not notice, so that a run does not live through the others each time.
LATER = {
    "never_take_credit_back": 1001,
    "trust_new_visits": 1001,
    "ignore_base": 1002,
    "drop_conflicts": 1004,
    "keep_what_a_former_view_showed": 1007,
    "believe_every_late_stamp": 1007,
    "forget_departures": 1010,
    "keep_the_epoch": 1010,
    "keep_dropped_grids": 1017,
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


@pytest.mark.skipif("GRIDLOOP_TEST_SEEDS" not in os.environ, reason="where there is time, as in CI")
@pytest.mark.parametrize(("name", "fault"), SHOWN_BY.items())
async def test_some_breakages_are_noticed_by_one_fault_only(
    name: str, fault: str, server: str, empty_households: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BREAKAGES[name](monkeypatch)
    for seed in range(FIRST, FIRST + 10):
        await Simulation(seed, server, empty_households, faults=troubles.ALL - {fault}).run()
