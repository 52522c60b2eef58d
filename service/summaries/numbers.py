"""The numbers of a unit in periods, per unit right below, as they stand or as they were sealed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Connection, Row
from service.kit.settings import Settings
from service.loop.counting import Counted, count_loops
from service.organisation.units import UnitOn
from service.summaries import category_queries, count_queries, sealed, standing_queries
from service.summaries.counts import Counts, together
from service.summaries.medians import WHOLE, medians
from service.summaries.sealed import NOTHING, Sealed
from service.tallies.spans import is_tallied
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol.periods import Period

# The numbers of each unit right below one.
ByUnit = dict[str, Counts]


async def numbers(
    connection: Connection,
    subtree: Subtree,
    below: Breakdown,
    periods: Sequence[Period],
    now: datetime,
    but: Sequence[str] = (),
    by_grid: bool = False,
) -> dict[str, ByUnit]:
    """The numbers of a unit in several periods of one kind, by name, for each unit right below;
    without duties and hours. `but`: without these grids (of weeks and months alone); `by_grid`: the
    units below are grids.
    """
    done, standing = await _rows(connection, subtree, below, periods, now, but, by_grid)
    found: dict[str, ByUnit] = {period.name: {} for period in periods}

    def of(span: str, unit: str) -> Counts:
        counts = found[span].get(unit)
        if counts is None:
            counts = found[span][unit] = Counts()
        return counts

    for row in done:
        if row["span"] and not row["span"].startswith("-"):
            counts = of(row["span"], row["code"])
            counts.count("visits", row["visits"])
            counts.count("problems_raised", row["raised"])
            counts.count("problems_resolved", row["resolved"])
            counts.count("households_visited", row["households"])
            counts.count("contact_households_visited", row["contacts"])
            counts.late += row["late"]
        else:
            for span in [row["span"][1:]] if row["span"] else found:
                counts = of(span, row["code"])
                counts.count("households", row["households"])
                counts.count("contact_households", row["contacts"])
    for row in standing:
        counts = of(row["span"], row["code"])
        counts.count("problems_open", row["open"])
        counts.count("problems_overdue", row["overdue"])
        counts.count("problems_raised_resolved", row["done"])
        counts.count_severity(row["severity"], (row["raised"], row["open"], row["overdue"]))
    for row in await category_queries.categories(connection, subtree, periods, below, but):
        counted = (row["raised"], row["resolved"])
        of(row["span"], row["code"]).count_category(row["category"], counted)
    return found


async def _rows(
    connection: Connection,
    subtree: Subtree,
    below: Breakdown,
    periods: Sequence[Period],
    now: datetime,
    but: Sequence[str],
    by_grid: bool,
) -> tuple[list[Row], list[Row]]:
    """What was done in periods, and what stood open at their ends."""
    if is_tallied(periods[0]):
        return (
            await count_queries.counts(connection, subtree, periods, below, but),
            await standing_queries.standing(connection, subtree, periods, now, below, but, by_grid),
        )
    done: list[Row] = []
    standing: list[Row] = []
    for place, period in enumerate(periods):
        rows = await count_queries.counts_of_days(connection, subtree, period, below)
        # What there is at present is the same for every period.
        done += rows if place == 0 else [row for row in rows if row["span"]]
        standing += await standing_queries.standing_of_days(connection, subtree, period, now, below)
    return done, standing


async def add_hours(
    connection: Connection,
    subtree: Subtree,
    below: Breakdown,
    period: Period,
    found: ByUnit,
    but: Sequence[str] = (),
) -> None:
    """Adds the hours from raised to resolved to the numbers of a period."""
    hours = await standing_queries.hours_to_resolve(connection, subtree, period, below, but)
    for unit, some in hours.items():
        found.setdefault(unit, Counts()).hours += some


class Shown(NamedTuple):
    """What is shown of a unit in a period: the numbers of each unit right below and of all
    together, without duties, the loop of each, and what of it is as it was sealed.
    """

    numbers: ByUnit
    whole: Counts
    loop: Counted
    kept: Sealed


async def shown_of_each(
    connection: Connection,
    settings: Settings,
    on: UnitOn,
    periods: Sequence[Period],
    now: datetime,
) -> list[Shown]:
    """What is shown of a unit in several periods of one kind, by the tree of one day."""
    subtree, below = on.subtree, on.breakdown
    seals = dict.fromkeys((period.name for period in periods), NOTHING)
    if on.shows_seals and is_tallied(periods[0]):
        seals = await sealed.read(connection, on, seals, of_own=True)
    some = await numbers(connection, subtree, below, periods, now)
    middles = await medians(connection, subtree, periods, below)
    rules = Rules(settings, on.tree, await current_reference_data(connection))
    counts = [seals[period.name].log_counts for period in periods]
    loops = await count_loops(connection, rules, on, periods, now, counts)
    answers = []
    for period, loop in zip(periods, loops, strict=True):
        kept = seals[period.name]
        found = some[period.name]
        if kept.grids:
            found = await composed(connection, on, period, now, kept)
            whole = together(found.values())
        else:
            whole = with_medians(found, middles[period.name])
        answers.append(Shown(found, whole, loop, kept))
    return answers


def with_medians(found: ByUnit, middles: Mapping[str, float]) -> Counts:
    """The numbers of units together, each and all with its median."""
    for unit, counts in found.items():
        counts.median = middles.get(unit)
    whole = together(found.values())
    whole.median = middles.get(WHOLE)
    return whole


async def add_duties(
    connection: Connection,
    subtree: Subtree,
    below: Breakdown,
    period: Period,
    found: ByUnit,
    but: Sequence[str] = (),
) -> None:
    """Adds the numbers of each duty to those of a period."""
    rows = (
        await count_queries.duties(connection, subtree, period, below, but)
        if is_tallied(period)
        else await count_queries.duties_of_days(connection, subtree, period, below)
    )
    for row in rows:
        done = (row["visits"], row["problems_raised"], row["problems_resolved"])
        found.setdefault(row["code"], Counts()).count_duty(row["duty"], done)


async def composed(
    connection: Connection, on: UnitOn, period: Period, now: datetime, kept: Sealed
) -> ByUnit:
    """The numbers of a unit of which grids are sealed: theirs as they were sealed, and those of the
    others as they stand; of one that is sealed as a whole there are no others.
    """
    found: ByUnit = {}
    if not kept.is_kept:
        but = sorted(kept.grids)
        subtree, below = on.subtree, on.breakdown
        found = (await numbers(connection, subtree, below, [period], now, but))[period.name]
        await add_hours(connection, subtree, below, period, found, but)
        await add_duties(connection, subtree, below, period, found, but)
    for grid, one in kept.grids.items():
        found.setdefault(on.breakdown.holding(grid), Counts()).add(one.counts)
    return found
