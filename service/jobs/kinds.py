"""What a domain says of its work in the background, and what the work is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from service.jobs.results import Result
from service.kit.database import Database
from service.kit.settings import Settings

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(hours=1)


@dataclass(frozen=True)
class Job:
    """A job under way. It may be carried out more than once, for its process can die: so the work
    looks at what is done already.

    `attempt`: how often it was tried before. `now`: the service's clock; raises `Problem` while
    nothing may be stored. `result`: where progress is told and what it makes is kept, for a job
    that somebody asked for (`results.ask`).
    """

    id: int
    payload: dict[str, Any]
    attempt: int
    database: Database
    settings: Settings
    now: Callable[[], datetime]
    result: Result | None = None


def doubled(attempt: int) -> timedelta:
    """How long the next attempt waits: twice as long each time."""
    return min(FIRST_DELAY * (1 << min(attempt, 20)), LONGEST_DELAY)


@dataclass(frozen=True)
class JobKind:
    """A kind of job, by a name that stays: processes of two releases share the queue.

    `attempts`: after so many it has failed, and waits for `gridloop jobs retry`; a kill of its
    process counts, too. `max_concurrency`:
    how many of the kind all processes together carry out at a time; 0: any number. `every`: a cron
    expression in UTC, for work that comes again by itself. `delay`: how long the next attempt
    waits.
    """

    name: str
    work: Callable[[Job], Awaitable[None]]
    attempts: int = 5
    max_concurrency: int = 0
    every: str | None = None
    delay: Callable[[int], timedelta] = field(default=doubled)
