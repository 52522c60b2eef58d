"""How a job goes on whose attempt has failed, or has ended with its process."""

import logging
import random
from datetime import timedelta

from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested

from service.jobs.kinds import JobKind
from service.jobs.queries import BROKEN_OFF
from service.kit.errors import INVALID, NOT_ALLOWED, NOT_FOUND, UNAVAILABLE, Problem

log = logging.getLogger("gridloop")

_WITHOUT_DATABASE = timedelta(seconds=30)
# What is refused is refused again: nobody waits for another attempt.
_REFUSALS = (INVALID, NOT_ALLOWED, NOT_FOUND)


class JobFailed(Exception):
    """What the queue keeps of a failure: no more than its kind, for a message may hold personal
    data. The log has the rest.
    """


class BrokenOff(Exception):
    """Processes ended under so many attempts of the job, one after the other: they were killed, or
    ran out of memory.
    """

    def __init__(self, times: int) -> None:
        super().__init__(times)
        self.times = times


def judged(kind: JobKind, found: models.Job, error: Exception) -> RetryRequested | JobFailed:
    """What tells the queue how a job goes on whose work has failed."""
    told = (kind.name, found.id, found.attempts + 1)
    what = error.type.slug if isinstance(error, Problem) else type(error).__name__
    if isinstance(error, Problem) and error.type == UNAVAILABLE:
        log.warning("job %s %d waits for the database or the clock", *told[:2])
        return RetryRequested(_WITHOUT_DATABASE, what)
    if isinstance(error, Problem) and error.type in _REFUSALS:
        log.warning("job %s %d is refused: %s", *told[:2], what)
        return JobFailed(what)
    if found.attempts + 1 < kind.attempts:
        log.warning("job %s %d failed at attempt %d; it is tried again", *told, exc_info=error)
        return RetryRequested(kind.delay(found.attempts), what)
    log.error("job %s %d failed at attempt %d, its last", *told, exc_info=error)
    return JobFailed(what)


def judged_broken_off(kind: JobKind, found: models.Job, times: int) -> RetryRequested | JobFailed:
    """The same for a job under which processes ended."""
    told = (kind.name, found.id, times)
    if times < kind.attempts:
        log.warning("job %s %d broke off with its process, %d times by now", *told)
        # At different moments: of the jobs that were under way together, one may be the reason.
        return RetryRequested(kind.delay(times - 1) * random.uniform(1, 2), BROKEN_OFF)
    log.error("job %s %d broke off with its process %d times; it has failed", *told)
    return JobFailed(BROKEN_OFF)
