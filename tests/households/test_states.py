"""A household that moves away, dies out or is merged stays, counts nowhere, and comes back."""

import pytest

from service.tallies.recount import differences
from simulator.places import VILLAGE
from tests.world import GRID, SECRETARY, WORKER, World

ANYONE = "any"


async def households(world: World, **query: str) -> list[str]:
    page = await world.get("/v1/households", SECRETARY, unit=GRID, limit=200, **query)
    assert page.status_code == 200, page.text
    return [item["id"] for item in page.json()["items"]]


async def counted(world: World) -> tuple[int, int]:
    """Households and contact households of the village's week."""
    found = await world.get("/v1/summaries/weekly", SECRETARY, unit=VILLAGE, week="2026-W47")
    totals = found.json()["totals"]
    return totals["households"], totals["contact_households"]


async def assert_recounted(world: World) -> None:
    async with world.state.database.reading() as connection:
        assert await differences(connection, world.state.settings) == []


@pytest.mark.parametrize("state", ["away", "died", "merged"])
async def test_who_has_left_counts_nowhere_and_comes_back(world: World, state: str) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    gone, other = [view.id for view in phone.records("household") if view.grid == GRID][:2]
    phone.put("household", {"contact_member": SECRETARY}, grid=GRID, id=gone)
    await phone.sync()
    before = await counted(world)
    listed = await households(world)
    into = {"merged_into": other} if state == "merged" else {}
    fields = {"state": state, "state_since": "2026-11-20"} | into
    phone.put("household", fields, grid=GRID, id=gone)
    await phone.sync()
    assert await counted(world) == (before[0] - 1, before[1] - 1)
    assert await households(world) == [id for id in listed if id != gone]
    assert await households(world, state=state) == [gone]
    assert await households(world, state=ANYONE) == listed
    shown = (await world.get(f"/v1/households/{gone}", SECRETARY)).json()
    assert (shown["state"], shown["state_since"]) == (state, "2026-11-20")
    await assert_recounted(world)
    phone.put(
        "household",
        {"state": "present", "state_since": None, "merged_into": None},
        grid=GRID,
        id=gone,
    )
    await phone.sync()
    assert await counted(world) == before
    assert await households(world) == listed
    await assert_recounted(world)


async def test_a_contact_member_who_is_named_meanwhile_counts_on_the_return(world: World) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    id = next(view.id for view in phone.records("household") if view.grid == GRID)
    before = await counted(world)
    for fields in ({"state": "away"}, {"contact_member": SECRETARY}, {"state": "present"}):
        phone.put("household", fields, grid=GRID, id=id)
        await phone.sync()
    assert await counted(world) == (before[0], before[1] + 1)
    await assert_recounted(world)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "gone"),
        ("state_since", "2026-02-30"),
        ("state_since", "20261120"),
        ("state_since", "1999-12-31"),
        ("merged_into", "01a0c000-0000-7000-8000-00000000abcd"),
    ],
)
async def test_a_wrong_state_is_held_and_changes_nothing(
    world: World, field: str, value: str
) -> None:
    phone = world.phone(WORKER)
    await phone.sync()
    id = next(view.id for view in phone.records("household") if view.grid == GRID)
    before = await counted(world)
    phone.put_unchecked("household", {field: value}, grid=GRID, id=id)
    await phone.sync()
    held = (await world.get("/v1/held", SECRETARY, unit=VILLAGE)).json()["items"]
    assert [(item["record"], item["grid"]) for item in held] == [(id, GRID)]
    assert await counted(world) == before
