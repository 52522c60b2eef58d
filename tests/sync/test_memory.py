"""What an exchange held is free when it is answered: nothing of it is tied up in circles, which
only the garbage collector finds.
"""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.world import WORKER, World

# What a push weighs by, and all that leads to it.
_HEAVY = {
    "Mutation",
    "ParsedMutation",
    "PreparedMutation",
    "Exchange",
    "UnitOfWork",
    "Judge",
    "Snapshot",
    "ReadSet",
    "VisitColumns",
    "PreparedVisitColumns",
    "Stored",
    "Verdict",
}


@contextmanager
def _collected(found: Counter[str]) -> Iterator[None]:
    """Counts by type what is left in circles meanwhile."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found.update(type(item).__name__ for item in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    "kinds", [("visit",) * 20, ("visit", "problem", "step"), ("nonsense", "visit")]
)
async def test_what_a_push_held_is_free_at_once(world: World, kinds: tuple[str, ...]) -> None:
    phone = world.wire(WORKER)
    assert (await phone.send(phone.mutation(1))).status_code == 200
    problem = phone.new_id()
    mutations = [phone.mutation(2 + place, kind) for place, kind in enumerate(kinds)]
    for mutation in mutations:
        if mutation["kind"] == "problem":
            mutation |= {"id": problem, "fields": {"title": "水管冻裂", "duty": "emergency"}}
        if mutation["kind"] == "step":
            mutation["fields"] = {"problem_id": problem, "type": "accept"}
    found: Counter[str] = Counter()
    with _collected(found):
        answer = await phone.send(*mutations)
        assert answer.status_code == 200, answer.text
        assert (await phone.send()).status_code == 200
        assert (await phone.send(phone.mutation(99))).status_code == 409  # a gap
        del answer
    assert not _HEAVY & found.keys(), {name: found[name] for name in _HEAVY & found.keys()}
