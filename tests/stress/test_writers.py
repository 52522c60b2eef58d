"""Sixteen writers and three pullers at once on the same grids: revisions become visible in order,
and no cursor skips one.
"""

import asyncio
import random

from tests.world import GRID, OTHER_GRID, SECRETARY, WirePhone, World

WRITERS, ROUNDS = 16, 12


async def write(phone: WirePhone, rng: random.Random) -> None:
    """Batches of visits to either grid, of any size."""
    seq = 1
    for _ in range(ROUNDS):
        size = rng.randint(1, 6)
        batch = [
            phone.mutation(seq + place, grid=rng.choice((GRID, OTHER_GRID)))
            for place in range(size)
        ]
        seq += size
        answer = (await phone.send(*batch, limit=1)).json()
        assert [verdict["outcome"] for verdict in answer["verdicts"]] == ["applied"] * size
        for _ in range(rng.randint(0, 3)):
            await asyncio.sleep(0)


async def pull(phone: WirePhone, done: asyncio.Event, seen: dict[str, tuple[str, int]]) -> None:
    """Pages of five until the writers are done and there is nothing more."""
    heads: dict[str, int] = {}
    while True:
        finished = done.is_set()
        answer = (await phone.send(limit=5)).json()
        for change in answer["changes"]:
            assert change["rev"] > heads.get(change["grid"], 0), (
                "revisions of a grid come in order, each once"
            )
            heads[change["grid"]] = change["rev"]
            seen[change["id"]] = (change["grid"], change["rev"])
        if finished and not answer["more"]:
            return


async def test_sixteen_writers_and_no_puller_skips_a_revision(world: World) -> None:
    rng = random.Random(16)
    pullers = [world.wire(SECRETARY) for _ in range(3)]
    seen: list[dict[str, tuple[str, int]]] = [{} for _ in pullers]
    done = asyncio.Event()
    pulling = [
        asyncio.create_task(pull(phone, done, found))
        for phone, found in zip(pullers, seen, strict=True)
    ]
    await asyncio.gather(
        *(write(world.wire(SECRETARY), random.Random(rng.random())) for _ in range(WRITERS))
    )
    done.set()
    await asyncio.gather(*pulling)

    rows = await world.fetch("SELECT id::text, grid, rev FROM visit"
                             " UNION ALL SELECT id::text, grid, rev FROM household"
                             " WHERE grid LIKE $1",
                             GRID[:12] + "%")  # fmt: skip
    kept = {row["id"]: (row["grid"], row["rev"]) for row in rows}
    for found in seen:
        assert found == kept
    for grid in (GRID, OTHER_GRID):
        revs = sorted(rev for home, rev in kept.values() if home == grid)
        assert revs == list(range(1, len(revs) + 1))
