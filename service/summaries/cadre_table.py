"""What each cadre of a unit did in a period, as it stands or as it was sealed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.kit.database import Connection, Row
from service.organisation.units import UnitOn
from service.summaries import cadre_queries, cadre_table_queries, queries, sealed
from service.summaries.cadre_table_queries import Wanted
from service.summaries.sealed import NOTHING, Sealed
from sync_protocol.periods import Period


class Shown(NamedTuple):
    """The first cadres, the sums of members and of others, what is no cadre's, in all and what is
    overdue of it by unit right below; and what of it is as it was sealed.
    """

    rows: Sequence[Row]
    groups: Sequence[Mapping[str, Any]]
    medians: Mapping[str, float]
    unassigned: Mapping[str, int]
    unassigned_by_unit: Sequence[tuple[Row, int]]
    kept: Sealed


async def cadre_table(
    connection: Connection,
    on: UnitOn,
    period: Period,
    now: datetime,
    wanted: Wanted,
) -> Shown:
    """The cadres of a unit, by the tree of a day, the highest first."""
    kept = await sealed.of_period(connection, on, period) if on.shows_seals else NOTHING
    cadres, subtree = kept.cadres, on.subtree
    table = await cadre_table_queries.table(connection, subtree, period, now, wanted, cadres)
    medians = await cadre_queries.median_hours(
        connection, subtree, period, [row["staff_code"] for row in table.rows], cadres
    )
    overdue: dict[str, int] = {}
    if table.unassigned["problems_overdue"]:
        overdue = await _unassigned(connection, on, period, now, kept)
    units = await queries.unit_and_children(connection, "", sorted(overdue))
    by_unit = [(row, overdue[row["code"]]) for row in units]
    return Shown(table.rows, table.groups, medians, table.unassigned, by_unit, kept)


async def _unassigned(
    connection: Connection, on: UnitOn, period: Period, now: datetime, kept: Sealed
) -> dict[str, int]:
    """What is overdue in nobody's hands, by unit right below."""
    found: dict[str, int] = {}
    if not kept.is_kept:
        found = await cadre_table_queries.unassigned(
            connection, on.subtree, period, now, on.breakdown, sorted(kept.grids)
        )
    for grid, one in kept.grids.items():
        count = sum(work.overdue for work in one.work if work.party_member is None)
        if count:
            unit = on.breakdown.holding(grid)
            found[unit] = found.get(unit, 0) + count
    return found
