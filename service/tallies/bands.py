"""Bands of hours: how long problems took from raised to resolved, counted in steps that grow by an
eighth. In which of them a median lies is known from the counts; only its problems are then read.
Pure.
"""

from bisect import bisect_right
from datetime import datetime, timedelta

# The seconds at which the next band begins: from a quarter of an hour to about four months.
BEGINS = tuple(round(900 * 1.125**step) for step in range(80))


def band_of(raised_at: datetime, resolved_at: datetime) -> int:
    """The band of a problem: how many of `BEGINS` it has passed. SQL says the same by
    `width_bucket`.
    """
    return bisect_right(BEGINS, (resolved_at - raised_at).total_seconds())


def bounds_of_band(band: int) -> tuple[timedelta, timedelta]:
    """From how long (included) to how long (excluded) a band goes."""
    return (
        timedelta(seconds=BEGINS[band - 1]) if band > 0 else -_EVER,
        timedelta(seconds=BEGINS[band]) if band < len(BEGINS) else _EVER,
    )


_EVER = timedelta(days=1_000_000)
