"""Builders for tests of jobs."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from service.jobs.kinds import Job, JobKind
from service.jobs.queue import add
from service.jobs.runner import Runner
from tests.world import World


def a_kind(work: Callable[[Job], Awaitable[None]], name: str = "test", **given: Any) -> JobKind:
    """A kind of job that waits for nothing between its attempts."""
    return JobKind(name, work, **{"delay": lambda _: timedelta(0), **given})


def runner_of(world: World, *kinds: JobKind) -> Runner:
    """What carries out jobs of these kinds, as a service process does."""
    state = world.state
    return Runner(kinds, state.database, state.settings, world.clock.now)


async def added(world: World, kind: JobKind, count: int = 1, **given: Any) -> list[int | None]:
    """Adds jobs in a transaction of their own."""
    async with world.state.database.transaction() as connection:
        return [await add(connection, kind, **given) for _ in range(count)]
