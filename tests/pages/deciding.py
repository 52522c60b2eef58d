"""Builders for tests of decisions and problems on pages: what waits for a person."""

from typing import Any

from tests.world import GRID, WirePhone, World

# Texts that would run in a browser if a page did not escape them.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}"


async def a_household(wire: WirePhone, grid: str = GRID, **fields: Any) -> tuple[str, int]:
    """A new household, and its rev."""
    id = wire.new_id()
    seq = await next_seq(wire)
    fields = {"head_name": "苏和", "members": 2} | fields
    answer = await wire.send(wire.mutation(seq, "household", id=id, grid=grid, fields=fields))
    assert answer.json()["verdicts"][0]["outcome"] == "applied", answer.text
    [row] = await wire.world.fetch("SELECT rev FROM household WHERE id = $1", id)
    return id, row["rev"]


async def next_seq(wire: WirePhone) -> int:
    """The number of the device's next mutation."""
    [row] = await wire.world.fetch(
        "SELECT coalesce(max(acked_seq), 0)::int AS seq FROM device WHERE id = $1", wire.device
    )
    return int(row["seq"]) + 1


async def a_conflict(
    world: World,
    field: str,
    one: Any,
    other: Any,
    grid: str = GRID,
    by: str = "",
    **fields: Any,
) -> str:
    """Two phones set a field of a new household, neither knowing of the other; the second one, of
    the same person or of somebody else (`by`), is kept.
    """
    first, second = world.wire(f"W{grid}-1"), world.wire(by or f"W{grid}-1")
    id, rev = await a_household(first, grid, **fields)
    for wire, value in ((first, one), (second, other)):
        world.clock.forward(minutes=1)
        seq = await next_seq(wire)
        edit = wire.mutation(seq, "household", id=id, base=rev, grid=grid, fields={field: value})
        answer = await wire.send(edit)
        assert answer.json()["verdicts"][0]["outcome"] != "held", answer.text
    [row] = await world.fetch("SELECT id::text FROM conflict WHERE record = $1", id)
    return str(row["id"])


async def a_held(world: World, kind: str = "visit", **given: Any) -> str:
    """A mutation that is held: of a visit on a day that is none, if nothing else is given."""
    wire = world.wire(f"W{given.get('grid', GRID)}-1")
    seq = await next_seq(wire)
    fields = {"visited_at": "昨天", "content": "走访"}
    mutation = wire.mutation(seq, kind, **({"fields": fields, "grid": GRID} | given))
    answer = await wire.send(mutation)
    assert answer.json()["verdicts"][0]["outcome"] == "held", answer.text
    [row] = await world.fetch(
        "SELECT id::text FROM held WHERE device = $1 AND seq = $2", wire.device, seq
    )
    return str(row["id"])
