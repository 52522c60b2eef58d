"""Whatever is transferred, split, merged and moved: the tallies are those of a recount, and the
numbers of every unit are those of the records that lay below it, by the tree of any day.
"""

import random
from collections import Counter
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from service.tallies.recount import differences
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.periods import local_day, week_around
from tests.organisation.test_changes import ADMIN, FAR_TOWNSHIP, FAR_VILLAGE, admin
from tests.world import FAR_GRID, GRID, OTHER_GRID, World


class Life:
    """A random life of two villages and their grids."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.grids = [GRID, OTHER_GRID, FAR_GRID]
        self.seqs: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.towns = [TOWNSHIP, FAR_TOWNSHIP]

    async def live(self, steps: int) -> None:
        await admin(self.world)
        # Who reads everything writes everywhere, too: a secretary for the whole city.
        await self.world.fetch(
            "INSERT INTO post (id, staff_code, role, unit, valid_from)"
            " VALUES (gen_random_uuid(), $1, 'village_secretary', '1502', '2020-01-01')",
            ADMIN,
        )
        self.wire = self.world.wire(ADMIN)
        acts = [self.visit, self.visit, self.visit, self.split, self.merge, self.move]
        acts += [self.household_moves, self.raise_problem, self.step]
        for _ in range(steps):
            self.world.clock.forward(hours=self.rng.randint(1, 30))
            act = self.rng.choice(acts)
            if await act():
                self.done[act.__name__] += 1

    async def send(self, kind: str, grid: str, fields: dict[str, Any], **given: Any) -> bool:
        self.seqs["wire"] += 1
        mutation = self.wire.mutation(self.seqs["wire"], kind, grid=grid, fields=fields, **given)
        answer = await self.wire.send(mutation)
        assert answer.status_code == 200, answer.text
        assert answer.json()["verdicts"][0]["outcome"] in ("applied", "merged"), answer.text
        return True

    async def houses(self, grid: str) -> list[Any]:
        return await self.world.fetch(
            "SELECT id::text, rev FROM household WHERE grid = $1 AND NOT deleted ORDER BY id", grid
        )

    async def visit(self) -> bool:
        grid = self.rng.choice(self.grids)
        houses = await self.houses(grid)
        at = self.world.clock.now() - timedelta(hours=self.rng.randint(0, 200))
        fields = {"visited_at": at.isoformat(), "content": "走访", "duties": {"add": ["emergency"]}}
        if houses:
            fields["household_id"] = self.rng.choice(houses)["id"]
        return await self.send("visit", grid, fields)

    async def raise_problem(self) -> bool:
        grid = self.rng.choice(self.grids)
        at = self.world.clock.now().isoformat()
        fields = {"title": "水管", "duty": "emergency", "raised_at": at}
        houses = await self.houses(grid)
        if houses:
            fields["household_id"] = self.rng.choice(houses)["id"]
        return await self.send("problem", grid, fields)

    async def step(self) -> bool:
        rows = await self.world.fetch("SELECT id::text, grid FROM problem ORDER BY id")
        if not rows:
            return False
        problem = self.rng.choice(rows)
        action = self.rng.choice(["accept", "escalate", "resolve", "reopen", "note"])
        at = self.world.clock.now().isoformat()
        fields = {"problem_id": problem["id"], "action": action, "at": at}
        return await self.send("step", problem["grid"], fields)

    async def household_moves(self) -> bool:
        of, to = self.rng.sample(self.grids, 2)
        houses = await self.houses(of)
        if not houses:
            return False
        house = self.rng.choice(houses)
        return await self.send("household", to, {}, id=house["id"], base=house["rev"], base_grid=of)

    async def split(self) -> bool:
        grid = self.rng.choice(self.grids)
        houses = await self.houses(grid)
        if len(houses) < 2:
            return False
        some = self.rng.sample(houses, len(houses) // 2)
        body = {"name": "分", "households": [house["id"] for house in some]}
        answer = await self.world.post(f"/v1/units/{grid}/split", body, ADMIN)
        assert answer.status_code == 200, answer.text
        self.grids.append(answer.json()["unit"]["code"])
        return True

    async def merge(self) -> bool:
        if len(self.grids) < 3:
            return False
        of, to = self.rng.sample(self.grids, 2)
        answer = await self.world.post(f"/v1/units/{of}/merge", {"to": to}, ADMIN)
        assert answer.status_code == 200, answer.text
        self.grids.remove(of)
        return True

    async def move(self) -> bool:
        village = self.rng.choice([VILLAGE, FAR_VILLAGE])
        day = local_day(self.world.clock.now()) + timedelta(days=self.rng.randint(1, 3))
        body = {"to": self.rng.choice(self.towns), "from": str(day)}
        answer = await self.world.post(f"/v1/units/{village}/move", body, ADMIN)
        assert answer.status_code == 200, answer.text
        return True


class Plainly:
    """What a plain reader of the rows says."""

    def __init__(self, units: list[Any], spells: list[Any], visits: list[Any]) -> None:
        self.made: dict[str, str | None] = {row["code"]: row["parent"] for row in units}
        self.spells = spells
        self.visits = visits

    @classmethod
    async def read(cls, world: World) -> "Plainly":
        return cls(
            await world.fetch("SELECT code, parent FROM unit"),
            await world.fetch("SELECT * FROM unit_parent"),
            await world.fetch("SELECT grid, visited_at FROM visit WHERE NOT deleted"),
        )

    def parent(self, code: str, day: date) -> str | None:
        found = [
            spell["parent"]
            for spell in self.spells
            if spell["unit"] == code
            and spell["valid_from"] <= day
            and (spell["valid_to"] is None or day < spell["valid_to"])
        ]
        return found[0] if found else self.made[code]

    def lies_under(self, top: str, code: str, day: date) -> bool:
        at: str | None = code
        while at is not None and at != top:
            at = self.parent(at, day)
        return at == top

    def count(self, top: str, week: str, day: date) -> int:
        return sum(
            self.lies_under(top, visit["grid"], day)
            for visit in self.visits
            if week_around(local_day(visit["visited_at"])).name == week
        )


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_numbers_of_any_day_are_those_of_a_recount(world: World, seed: int) -> None:
    life = Life(world, seed)
    first = local_day(world.clock.now())
    await life.live(40)
    assert {"visit", "split", "merge", "move"} <= set(life.done)
    connection = await asyncpg.connect(world.state.settings.database_url)
    try:
        assert await differences(connection, world.state.settings) == []
    finally:
        await connection.close()
    plain = await Plainly.read(world)
    today = local_day(world.clock.now())
    days = [first, *(first + timedelta(days=life.rng.randint(0, 40)) for _ in range(3)), today]
    seen = 0
    for day in sorted({min(day, today) for day in days}):
        week = week_around(min(day, today) - timedelta(days=life.rng.randint(0, 7))).name
        for top in ("1502", TOWNSHIP[:6], TOWNSHIP, FAR_TOWNSHIP, VILLAGE, life.grids[-1]):
            answer = await world.get(
                "/v1/summaries/weekly", "S1502", unit=top, week=week, as_of=str(day)
            )
            assert answer.status_code == 200, answer.text
            found = answer.json()
            assert found["totals"]["visits"] == plain.count(top, week, day), (top, week, day)
            for child in found["units"]:
                code = child["unit"]["code"]
                visits = child["totals"]["visits"]
                assert visits == plain.count(code, week, day), (code, week, day)
                seen += visits
            below = sum(child["totals"]["visits"] for child in found["units"])
            assert not found["units"] or below == found["totals"]["visits"]
    assert seen
