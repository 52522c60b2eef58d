"""The loop of a unit in a summary: what was due, filed and missing, and who fell silent."""

from collections import Counter
from datetime import datetime

from service.kit.conditions import Subtree
from service.kit.database import Connection
from service.loop import queries as loop_queries
from service.loop.counting import KeptCounts, count_loops
from service.loop.loop import Dues, dues_of
from service.organisation.tree import Grids
from service.organisation.units import UnitOn, UnitOut, grids_of, unit_out
from service.summaries.answers import (
    LoopTotals,
)
from service.summaries.sealed import Sealed
from service.vocabulary.rules import Rules
from sync_protocol.periods import Period

_NAMED = 100


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
