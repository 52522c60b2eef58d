"""Puts a week's or month's summary of a unit together from the queries."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.conditions import Breakdown, Subtree
from service.kit.database import Acquire, Connection, Row
from service.kit.settings import Settings
from service.loop import queries as loop_queries
from service.loop.counting import Counted, KeptCounts, count_loops
from service.loop.loop import Dues, dues_of
from service.organisation.tree import Grids, Tree
from service.organisation.units import UnitOn, UnitOut, grids_of, period_out, unit_out
from service.summaries import category_queries, queries, sealed
from service.summaries.answers import (
    Decisions,
    EscalatedProblem,
    LoopTotals,
    SealedWithin,
    Summary,
    Totals,
    UnitTotals,
)
from service.summaries.counts import Counts, since, together
from service.summaries.medians import WHOLE, medians
from service.summaries.sealed import NOTHING, Sealed
from service.tallies.spans import is_tallied
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period, local_day, previous

_NAMED = 100


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
            await queries.counts(connection, subtree, periods, below, but),
            await queries.standing(connection, subtree, periods, now, below, but, by_grid),
        )
    done: list[Row] = []
    standing: list[Row] = []
    for place, period in enumerate(periods):
        rows = await queries.counts_of_days(connection, subtree, period, below)
        # What there is at present is the same for every period.
        done += rows if place == 0 else [row for row in rows if row["span"]]
        standing += await queries.standing_of_days(connection, subtree, period, now, below)
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
    hours = await queries.hours_to_resolve(connection, subtree, period, below, but)
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
            found = await _composed(connection, on, period, now, kept)
            whole = together(found.values())
        else:
            whole = _with_medians(found, middles[period.name])
        answers.append(Shown(found, whole, loop, kept))
    return answers


def _with_medians(found: ByUnit, middles: Mapping[str, float]) -> Counts:
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
        await queries.duties(connection, subtree, period, below, but)
        if is_tallied(period)
        else await queries.duties_of_days(connection, subtree, period, below)
    )
    for row in rows:
        done = (row["visits"], row["problems_raised"], row["problems_resolved"])
        found.setdefault(row["code"], Counts()).count_duty(row["duty"], done)


async def _composed(
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


def _has_work(totals: Totals) -> bool:
    """Whether something was done in a unit in the period: then it is shown, though it was closed
    before, or made later.
    """
    return any(
        (totals.visits, totals.problems_raised, totals.problems_resolved, totals.problems_open)
    )


class _Numbers(NamedTuple):
    """What is shown of a period, and as it stands now; of the period before what is shown."""

    shown: ByUnit
    now: ByUnit
    last: Counts
    decisions: Decisions


class _Surroundings(NamedTuple):
    unit: Row
    children: list[Row]
    medians: Mapping[str, Mapping[str, float]]
    duties: ByUnit
    words: Vocabulary
    loop: LoopTotals
    sealed_within: list[SealedWithin]


async def summary(
    lend: Acquire,
    settings: Settings,
    on: UnitOn,
    period: Period,
    now: datetime,
    log: str,
) -> Summary | None:
    """The summary of a unit, by the tree of a day, as it stands now, or as it was sealed; None when
    there is no such unit.

    `log` is the record kind that grids file for such a period. Takes two connections side by
    side.
    """
    before = previous(period)
    code, subtree, below = on.code, on.subtree, on.breakdown
    seals = dict.fromkeys((period.name, before.name), NOTHING)
    if on.shows_seals and is_tallied(period):
        async with lend() as connection:
            seals = await sealed.read(connection, on, seals)
    mine, earlier = seals[period.name], seals[before.name]

    async def count() -> _Numbers:
        async with lend() as connection:
            found = await numbers(connection, subtree, below, (period, before), now)
            stands, last = found[period.name], found[before.name]
            shown = stands
            if mine.grids and mine.own is None:
                shown = await _composed(connection, on, period, now, mine)
            if earlier.grids and earlier.own is None:
                last = await _composed(connection, on, before, now, earlier)
            # What waits is decided by who has the unit now.
            decisions = await _decisions(connection, on.tree, code, now)
            return _Numbers(shown, stands, together(last.values()), decisions)

    async def look_around() -> _Surroundings | None:
        async with lend() as connection:
            units = await queries.unit_and_children(connection, code, on.children)
            if not units or units[0]["code"] != code:
                return None
            unit, *children = units
            by_duty: ByUnit = {}
            await add_duties(connection, subtree, below, period, by_duty)
            rules = Rules(settings, on.tree, await current_reference_data(connection))
            return _Surroundings(
                unit,
                children,
                await medians(connection, subtree, (period, before), below),
                by_duty,
                rules.vocabulary,
                await loop_of(connection, rules, on, period, now, log, mine),
                (await sealed.within(connection, on, [period])).get(period.name, []),
            )

    # About equal halves of the work.
    counted, around = await asyncio.gather(count(), look_around())
    if around is None:
        return None
    if counted.shown is counted.now:
        whole = _with_medians(counted.shown, around.medians[period.name])
        whole.duties = together(around.duties.values()).duties
    else:
        whole = together(counted.shown.values())
    if not earlier.grids:
        counted.last.median = around.medians[before.name].get(WHOLE)
    last = counted.last.totals_out()
    of_earlier = earlier.own_summary()
    if of_earlier is not None:
        last = of_earlier.totals
    totals = whole.totals_out()
    is_kept = bool(mine.grids) or mine.own is not None
    now_whole = together(counted.now.values()) if is_kept else whole
    stands = now_whole.totals_out() if is_kept else totals
    arrived = since(stands, totals) if mine.grids else None
    if arrived is not None:
        arrived["late_arrivals"] = now_whole.late - whole.late
    rows = [_unit_totals(on, child, counted, mine) for child in around.children]
    found = Summary(
        unit=unit_out(around.unit),
        period=period_out(period),
        tree_day=on.day,
        totals=totals,
        previous=last,
        previous_sealed=earlier.covering is not None,
        duties=whole.duties_out(around.words, period.last),
        duty_overlap=whole.overlap_out(),
        severities=whole.severities_out(around.words, period.last),
        categories=whole.categories_out(around.words, period.last),
        units=[row for row in rows if _has_work(row.totals) or on.is_there(row.unit.code, period)],
        loop=around.loop,
        decisions=counted.decisions,
        sealed_parts=mine.parts_out(),
        arrived_since=arrived,
        sealed_within=around.sealed_within,
        late_arrivals=whole.late,
    )
    if mine.own is not None:
        return _as_sealed(found, mine, counted.now, stands, now_whole.late)
    if mine.above is not None:
        found.sealed, found.seal = True, mine.seal_out(arrived or {})
        found.arrived_since = None
    return found


def _unit_totals(on: UnitOn, child: Row, counted: _Numbers, kept: Sealed) -> UnitTotals:
    """The row of a unit right below."""
    code = child["code"]
    totals = counted.shown.get(code, Counts()).totals_out()
    extent = kept.extent(on, code)
    arrived = None
    if extent != "none":
        arrived = since(counted.now.get(code, Counts()).totals_out(), totals)
    return UnitTotals(unit=unit_out(child), totals=totals, sealed=extent, arrived_since=arrived)


def _as_sealed(now: Summary, kept: Sealed, counts: ByUnit, stands: Totals, late: int) -> Summary:
    """The summary as it was sealed, with what arrived since beside it; what waits for a decision is
    always that of now.
    """
    found = kept.own_summary()
    assert found is not None
    arrived = since(stands, found.totals)
    arrived["late_arrivals"] = late - found.late_arrivals
    for row in found.units:
        row.sealed = "whole"
        row.arrived_since = since(counts.get(row.unit.code, Counts()).totals_out(), row.totals)
    return found.model_copy(
        update={
            "sealed": True,
            "seal": kept.seal_out(arrived),
            "sealed_parts": [],
            "arrived_since": None,
            "decisions": now.decisions,
        }
    )


def shown_grids(on: UnitOn, period: Period, kept: KeptCounts) -> Grids:
    """The grids of a unit in a period: those of which the loop is kept, and the others."""
    if not kept.by_grid:
        return grids_of(on, period)
    by_unit = Counter(on.breakdown.holding(code) for code in kept.by_grid)
    if kept.is_whole:
        return Grids(len(kept.by_grid), by_unit=by_unit)
    others = grids_of(on, period, kept.by_grid)
    return Grids(others.total + len(kept.by_grid), others.parts, by_unit + Counter(others.by_unit))


async def loop_of(
    connection: Connection,
    rules: Rules,
    on: UnitOn,
    period: Period,
    now: datetime,
    log: str,
    kept: Sealed,
) -> LoopTotals:
    """The loop of a unit; `log` is the one that is the period's own."""
    counts = kept.log_counts
    grids = shown_grids(on, period, counts)
    dues = await dues_of(connection, rules, on.subtree, grids, period, now)
    [counted] = await count_loops(connection, rules, on, [period], now, [counts])
    logs = counted.logs
    own, asked = logs[log], dues.whole.asked(log) * grids.total
    silent, silent_count = await _silent(connection, on.subtree, dues, grids, period, kept)
    filed = own.on_time + own.late
    return LoopTotals(
        grids=grids.total,
        filed=filed,
        missing=own.missing,
        not_due=own.not_due,
        owe_nothing=asked - filed - own.missing - own.not_due,
        logs=logs,
        silent=silent,
        silent_count=silent_count,
        provisional=dues.whole.provisional,
    )


async def _silent(
    connection: Connection,
    subtree: Subtree,
    dues: Dues,
    grids: Grids,
    period: Period,
    kept: Sealed,
) -> tuple[list[UnitOut], int]:
    """The first grids that owed a visit by now and made none, and how many there are."""
    loops = {grid: one.loop for grid, one in kept.grids.items() if one.loop}
    found = [
        UnitOut(**loop["grid"])
        for loop in loops.values()
        if loop["days_due"] and all(day == "missing" for day in loop["days"].values())
    ]
    count = len(found)
    # Nobody is silent for days to come.
    if dues.has_days and grids.total > len(loops):
        but = [code for code, due in dues.parts.items() if not due.days]
        rows = await loop_queries.silent(connection, subtree, period, [*but, *loops], _NAMED)
        found += [unit_out(row) for row in rows]
        count += rows[0]["every"] if rows else 0
    return sorted(found, key=lambda unit: unit.code)[:_NAMED], count


async def _decisions(connection: Connection, tree: Tree, code: str, now: datetime) -> Decisions:
    subtree = tree.subtree(code, local_day(now))
    first_handlers = tree.first_handlers
    waiting = await queries.decisions(connection, subtree, first_handlers)
    rows = (
        await queries.escalated(connection, subtree, first_handlers, _NAMED)
        if waiting["escalated"]
        else []
    )
    return Decisions(
        escalated_problems=waiting["escalated"],
        open_conflicts=waiting["conflicts"],
        held_mutations=waiting["held"],
        escalated=[EscalatedProblem(**dict(row)) for row in rows],
    )
