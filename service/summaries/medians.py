"""Exact medians of however many problems: the tally says in which band of hours the middle lies,
and only the problems of that band are read.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection
from service.summaries import median_queries, standing_queries
from service.tallies.bands import bounds_of_band
from service.tallies.spans import is_tallied
from sync_protocol.periods import Period

# Of so many problems in a period the hours of each are read.
FEW = 4_000
WHOLE = ""


async def medians(
    connection: Connection,
    subtree: Subtree,
    periods: Sequence[Period],
    below: Breakdown,
) -> dict[str, dict[str, float]]:
    """The median hours from raised to resolved of what was resolved in each of these periods, by
    unit right below and of the `WHOLE`.
    """
    counts: dict[str, dict[str, dict[int, int]]] = {period.name: {} for period in periods}
    if subtree.height > 1 and all(map(is_tallied, periods)):
        for row in await median_queries.bands(connection, subtree, list(counts), below):
            counts[row["span"]].setdefault(row["code"], {})[row["band"]] = row["problems"]
    found = {}
    for period in periods:
        by_unit = counts[period.name]
        if sum(sum(bands.values()) for bands in by_unit.values()) > FEW:
            found[period.name] = await _of_bands(connection, subtree, period, below, by_unit)
        else:
            hours = await standing_queries.hours_to_resolve(connection, subtree, period, below, ())
            found[period.name] = medians_of(hours)
    return found


def medians_of(hours: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The medians of units, and of them all together."""
    runs = {unit: sorted(some) for unit, some in hours.items() if some}
    found = {unit: statistics.median(run) for unit, run in runs.items()}
    if runs:
        # Sorted runs, so that sorting the whole only merges them.
        found[WHOLE] = statistics.median([one for run in runs.values() for one in run])
    return found


async def _of_bands(
    connection: Connection,
    subtree: Subtree,
    period: Period,
    below: Breakdown,
    counts: Mapping[str, Mapping[int, int]],
) -> dict[str, float]:
    every: dict[int, int] = defaultdict(int)
    for bands in counts.values():
        for band, problems in bands.items():
            every[band] += problems
    if not every:
        return {}
    of_all = {**counts, WHOLE: every}
    places = {unit: _middle(bands) for unit, bands in of_all.items()}
    wanted = sorted({band for place in places.values() for band, _ in place})
    hours: dict[int, dict[str, list[float]]] = {}
    for first, last in _runs(wanted):
        bounds = (bounds_of_band(first)[0], bounds_of_band(last)[1])
        some = await median_queries.hours_between(connection, subtree, period, below, bounds)
        for band in range(first, last + 1):
            hours[band] = {unit: _within(one, bounds_of_band(band)) for unit, one in some.items()}
    found = {}
    for unit, place in places.items():
        values = []
        for band, at in place:
            run = (
                sorted(one for some in hours[band].values() for one in some)
                if unit == WHOLE
                else sorted(hours[band].get(unit, ()))
            )
            # A problem that was written between the two reads is one more, or one less.
            if run:
                values.append(run[min(at, len(run) - 1)])
        if values:
            found[unit] = sum(values) / len(values)
    return found


def _middle(bands: Mapping[int, int]) -> list[tuple[int, int]]:
    """Where the middle of counted problems lies: the band, and the place in it, of the one in the
    middle or of the two around it.
    """
    count = sum(bands.values())
    found = []
    for place in {(count - 1) // 2, count // 2}:
        before = 0
        for band in sorted(bands):
            if place < before + bands[band]:
                found.append((band, place - before))
                break
            before += bands[band]
    return found


def _runs(bands: Sequence[int]) -> list[tuple[int, int]]:
    """Bands that follow on each other as their first and last."""
    found: list[tuple[int, int]] = []
    for band in bands:
        if found and found[-1][1] == band - 1:
            found[-1] = (found[-1][0], band)
        else:
            found.append((band, band))
    return found


def _within(hours: Sequence[float], bounds: tuple[timedelta, timedelta]) -> list[float]:
    low, high = (one.total_seconds() / 3600 for one in bounds)
    return [one for one in hours if low <= one < high]
