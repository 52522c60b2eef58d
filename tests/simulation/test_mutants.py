"""The proof of the proof: break the implementation on purpose, and the simulator must notice."""

import os

import pytest

from simulator import troubles
from simulator.history import Failure
from simulator.simulation import Simulation
from tests.simulation.mutants import BREAKAGES, SHOWN_BY

# How many seeds a breakage may take to be noticed.
PATIENCE = 40
FIRST = 1000
# Where the histories begin of those that the first does not notice, so that a run does not live
# through the others each time.
LATER = {
    "ignore_base": 1001,
    "judge_rights_at_the_sync": 1001,
    "make_ids_without_the_key": 1001,
    "never_take_credit_back": 1001,
    "trust_new_visits": 1002,
    "claim_that_nothing_was_changed": 1003,
    "drop_what_may_not_be_kept": 1003,
    "acknowledge_what_a_limit_kept_out": 1004,
    "drop_conflicts": 1006,
    "take_forked_devices_for_honest": 1006,
    "forget_departures": 1008,
    "forget_the_number_after_a_lost_commit": 1008,
    "believe_every_late_stamp": 1025,
    "keep_acknowledged_numbers_in_the_process": 1026,
    "keep_what_a_former_view_showed": 1022,
    "keep_dropped_grids": 1034,
    "keep_the_epoch": 1036,
}


@pytest.mark.parametrize("name", BREAKAGES)
async def test_every_breakage_is_noticed(
    name: str, server: str, empty_households: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    for seed in range(FIRST, FIRST + 3):
        await Simulation(seed, server, empty_households, faults=troubles.ALL - {fault}).run()
