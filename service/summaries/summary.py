"""Puts a week's or month's summary of a unit together from the queries."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from service.kit.database import Acquire, Connection, Row
from service.kit.settings import Settings
from service.organisation.tree import Tree
from service.organisation.units import UnitOn, period_out, unit_out
from service.summaries import queries, sealed
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
from service.summaries.numbers import ByUnit, add_duties, composed, numbers, with_medians
from service.summaries.sealed import NOTHING, Sealed
from service.summaries.unit_loop import loop_of
from service.tallies.spans import is_tallied
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from service.vocabulary.terms import Vocabulary
from sync_protocol.periods import Period, local_day, previous

_NAMED = 100


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
                shown = await composed(connection, on, period, now, mine)
            if earlier.grids and earlier.own is None:
                last = await composed(connection, on, before, now, earlier)
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
        whole = with_medians(counted.shown, around.medians[period.name])
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
