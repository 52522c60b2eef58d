"""A city with some weeks of work in one of its villages, for browsers to look at."""

import random
from datetime import timedelta
from pathlib import Path

from service.app import create_app
from service.kit.settings import Settings
from simulator.places import NOW, VILLAGE
from tests.conftest import running
from tests.world import GRID, Clock, World

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'--><b>"
_WEEKS = 6
_DUTIES = ("emergency", "public_order", "social_relief", "public_service")
_SEVERITIES = ("ordinary", "ordinary", "urgent", "emergency")


async def some_weeks(settings: Settings, folder: Path) -> None:
    """Visits, problems and analyses of each of the last weeks, up to `NOW`, with hostile texts."""
    clock = Clock(NOW - timedelta(weeks=_WEEKS))
    app = create_app(settings, clock.now)
    async with running(app) as client:
        world = World(app, client, clock, folder)
        rng = random.Random(1)
        for grid in (GRID, VILLAGE + "002"):
            await _work(world, grid, rng)
        await world.close()


async def _work(world: World, grid: str, rng: random.Random) -> None:
    clock = world.clock
    phone = world.phone(f"W{grid}-1")
    for week in range(_WEEKS + 1):
        clock.stand_at(NOW - timedelta(weeks=_WEEKS - week))
        for _ in range(rng.randint(3, 9)):
            fields = {"visited_at": clock.now().isoformat(), "content": HOSTILE}
            phone.put("visit", fields | {"duties": {"add": [rng.choice(_DUTIES)]}}, grid=grid)
        for _ in range(rng.randint(1, 4)):
            fields = {"title": HOSTILE, "raised_at": clock.now().isoformat()}
            fields |= {"duty": rng.choice(_DUTIES), "severity": rng.choice(_SEVERITIES)}
            problem = phone.put("problem", fields, grid=grid)
            action = rng.choice(("resolve", "escalate", ""))
            if action:
                step = {"problem_id": problem, "action": action, "at": clock.now().isoformat()}
                phone.put("step", step, grid=grid)
        name = world.clock.now().date().isocalendar()
        text = {"week": f"{name.year}-W{name.week:02d}", "situation": HOSTILE, "causes": "无"}
        phone.put("weekly_analysis", text, grid=grid)
        await phone.sync()
