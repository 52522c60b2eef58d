"""Puts the values of an indicator together: of a unit, of those below, and what is missing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.indicators import queries
from service.indicators.adding_up import Reported, progress_of, target_of, together
from service.indicators.answers import BelowItem, ValueItem
from service.kit.database import Connection
from service.organisation.tree import UnitFacts
from service.organisation.units import UnitOn, UnitOut, unit_out
from service.vocabulary.indicators import Indicator
from sync_protocol.periods import Period


class OfUnit(NamedTuple):
    """What was reported of an indicator in a unit and a period: the units that are to report it,
    what each has reported, and what each is to reach.
    """

    indicator: Indicator
    units: Sequence[Any]
    rows: Mapping[str, Any]
    targets: Mapping[str, float | None]

    def part(self, units: Sequence[str]) -> dict[str, Any]:
        """What some of the units come to."""
        aggregate = self.indicator.aggregate
        rows = [self.rows[unit] for unit in units if unit in self.rows]
        value = together(
            aggregate, [Reported(row["unit"], row["value"], row["stamp"]) for row in rows]
        )
        target = target_of(aggregate, [self.targets[unit] for unit in units])
        return {
            "value": value,
            "target": target,
            "progress": progress_of(value, target),
            "units": len(units),
            "reported": len(rows),
            "reached": sum(map(self._has_reached, rows)),
        }

    def _has_reached(self, row: Any) -> bool:
        target = self.targets[row["unit"]]
        return target is not None and row["value"] >= target

    @property
    def codes(self) -> list[str]:
        """The units that are to report."""
        return [unit["code"] for unit in self.units]

    @property
    def missing(self) -> list[UnitOut]:
        """The units that have not reported."""
        return [unit_out(unit) for unit in self.units if unit["code"] not in self.rows]

    def items(self) -> list[ValueItem]:
        """What each has reported, in order of unit."""
        found = []
        for unit in self.units:
            row = self.rows.get(unit["code"])
            if row is None:
                continue
            target = self.targets[unit["code"]]
            values = {
                name: row[name]
                for name in ("value", "source", "evidence", "note", "by", "name", "received_at")
            }
            progress = progress_of(row["value"], target)
            found.append(ValueItem(unit=unit_out(unit), target=target, progress=progress, **values))
        return found

    def below(self, on: UnitOn, children: Sequence[Any]) -> list[BelowItem]:
        """What the units right below come to, those in which somebody reports."""
        found = []
        for child in children:
            code = child["code"]
            codes = [one for one in self.codes if on.tree.covers(code, one, on.day)]
            if codes:
                found.append(BelowItem(unit=unit_out(child), **self.part(codes)))
        return found


async def read_values(
    connection: Connection, on: UnitOn, indicators: Sequence[Indicator], period: Period
) -> list[OfUnit]:
    """What was reported of indicators in a unit and a period."""
    codes = [one.code for one in indicators]
    rows: dict[str, dict[str, Any]] = {code: {} for code in codes}
    for row in await queries.values(connection, on.subtree, codes, [period.name]):
        rows[row["indicator"]][row["unit"]] = row
    targets = await queries.targets(connection, on.subtree, codes, period.name)
    units: dict[str, list[Any]] = {}
    for level in {one.level for one in indicators}:
        found = await queries.reporting_units(connection, on.subtree, level)
        units[level] = [unit for unit in found if _is_there(on.tree.units, unit, period)]
    return [
        OfUnit(
            one,
            units[one.level],
            rows[one.code],
            {
                unit["code"]: targets.get((one.code, unit["code"]), one.target)
                for unit in units[one.level]
            },
        )
        for one in indicators
    ]


def _is_there(units: Mapping[str, UnitFacts], row: Any, period: Period) -> bool:
    known = units.get(row["code"])
    return known is None or known.is_open(period.first, period.last)
