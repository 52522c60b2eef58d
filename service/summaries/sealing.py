"""Seals a week or a month of a unit: reads what is shown of it, of each grid and of each cadre,
from one state of the database.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from service.kit.conditions import Breakdown
from service.kit.database import Connection, share_connection
from service.kit.settings import Settings
from service.loop.loop import counts_of, dues_of, grid_loops
from service.organisation.units import UnitOn
from service.summaries import cadre_queries, seal_queries
from service.summaries import sealed as seals
from service.summaries.answers import Summary
from service.summaries.counts import Counts
from service.summaries.numbers import add_duties, add_hours, numbers
from service.summaries.sealed import CadreWork, KeptGrid
from service.summaries.summary import summary
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from sync_protocol.periods import Period
from sync_protocol.vocabulary import CODE_LENGTH

_BY_GRID = Breakdown(CODE_LENGTH["grid"])


class ToKeep(NamedTuple):
    """What a seal keeps: the summary, and of each grid its numbers as JSON."""

    summary: Summary
    grids: Mapping[str, str]


async def read_all(
    connection: Connection, settings: Settings, on: UnitOn, period: Period, now: datetime, log: str
) -> ToKeep:
    """Everything that is shown of a unit in a period that is over. The connection is in a
    transaction that sees one state.
    """
    shown = await summary(share_connection(connection), settings, on, period, now, log)
    assert shown is not None
    known = (await seals.of_period(connection, on, period)).grids
    grids = {**await _grids(connection, settings, on, period, now), **known}
    shown.sealed, shown.seal = False, None
    shown.sealed_parts, shown.arrived_since = [], None
    return ToKeep(shown, {grid: msgspec.json.encode(kept).decode() for grid, kept in grids.items()})


async def _grids(
    connection: Connection, settings: Settings, on: UnitOn, period: Period, now: datetime
) -> dict[str, KeptGrid]:
    subtree = on.subtree
    counted = (await numbers(connection, subtree, _BY_GRID, [period], now, by_grid=True))[
        period.name
    ]
    await add_hours(connection, subtree, _BY_GRID, period, counted)
    await add_duties(connection, subtree, _BY_GRID, period, counted)
    rows = await seal_queries.all_grids(connection, subtree)
    there = [row for row in rows if on.tree.grids([row["code"]], period.first, period.last).total]
    grids = on.tree.grids((row["code"] for row in there), period.first, period.last)
    rules = Rules(settings, on.tree, await current_reference_data(connection))
    dues = await dues_of(connection, rules, subtree, grids, period, now)
    loops = {item.grid.code: item for item in await grid_loops(connection, dues, there, period)}
    found = {
        code: KeptGrid(now, counted.get(code, Counts()), None, {}, [])
        for code in {*counted, *(row["code"] for row in rows)}
    }
    for code, item in loops.items():
        found[code].loop = item.model_dump(mode="json")
        found[code].log_counts = {
            log: counts.model_dump() for log, counts in counts_of(item, dues.of(code)).items()
        }
    await _add_work(connection, on, period, now, found)
    return found


async def _add_work(
    connection: Connection, on: UnitOn, period: Period, now: datetime, found: Mapping[str, KeptGrid]
) -> None:
    for row in await cadre_queries.work_by_grid(connection, on.subtree, period, now):
        if row["grid"] in found:
            found[row["grid"]].work.append(CadreWork(*row[1:]))
    for row in await cadre_queries.hours_by_grid(connection, on.subtree, period):
        if row["grid"] in found:
            found[row["grid"]].hours[row["resolved_by"]] = row["hours"]
