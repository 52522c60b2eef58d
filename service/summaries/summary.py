"""Puts a week's or month's summary of a unit together from the queries."""

import asyncio
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.kit.database import Acquire, Connection, Row
from service.kit.settings import Settings
from service.loop import queries as loop_queries
from service.loop.loop import counts_by_log
from service.organisation.units import count_grids, period_out, unit_out
from service.summaries import queries
from service.summaries.answers import (
    Decisions,
    DutyTotals,
    EscalatedProblem,
    LoopTotals,
    SealOut,
    SeverityTotals,
    Summary,
    Totals,
    UnitTotals,
)
from sync_protocol.periods import Period, previous
from sync_protocol.vocabulary import CODE_LENGTH, DUTIES, SEVERITIES

_LENGTHS = [*CODE_LENGTH.values()]
_BELOW = dict(zip(_LENGTHS, [*_LENGTHS[1:], _LENGTHS[-1]], strict=True))
_NAMED = 100


class Numbers(NamedTuple):
    """The totals of a unit and a period, those of the units right below, by severity, and how many
    logs came in late.
    """

    whole: Totals
    below: dict[str, Totals]
    severities: dict[str, SeverityTotals]
    late: int


async def numbers(
    connection: Connection, code: str, periods: Sequence[Period], now: datetime, width: int
) -> list[Numbers]:
    """The numbers of a unit in several weeks or months, with those of the units below whose codes
    have `width` digits.

    Without the median hours.
    """
    found: dict[str, dict[str, Totals]] = {period.name: {} for period in periods}
    late = dict.fromkeys(found, 0)
    severities = {
        span: {
            severity: SeverityTotals(severity=severity, label=label.zh)
            for severity, label in SEVERITIES.items()
        }
        for span in found
    }

    def of(span: str, unit: str) -> Totals:
        return found[span].setdefault(unit, Totals())

    for row in await queries.counts(connection, code, list(found), width):
        if row["span"]:
            totals = of(row["span"], row["code"])
            totals.visits, totals.problems_raised, totals.problems_resolved = (
                row["visits"],
                row["raised"],
                row["resolved"],
            )
            totals.households_visited, totals.contact_households_visited = (
                row["households"],
                row["contacts"],
            )
            late[row["span"]] += row["late"]
        else:
            for span in found:
                totals = of(span, row["code"])
                totals.households, totals.contact_households = row["households"], row["contacts"]
    for row in await queries.standing(connection, code, periods, now, width):
        for part in (of(row["span"], row["code"]), severities[row["span"]][row["severity"]]):
            part.problems_open += row["open"]
            part.problems_overdue += row["overdue"]
        severities[row["span"]][row["severity"]].problems_raised += row["raised"]
    answers = []
    for period in periods:
        below = found[period.name]
        whole = Totals(
            **{name: sum(getattr(totals, name) for totals in below.values()) for name in _SUMMED}
        )
        for totals in (whole, *below.values()):
            totals.coverage = _ratio(totals.households_visited, totals.households)
            totals.resolution_rate = _ratio(totals.problems_resolved, totals.problems_raised)
        answers.append(Numbers(whole, below, severities[period.name], late[period.name]))
    return answers


_SUMMED = [name for name, field in Totals.model_fields.items() if field.annotation is int]


def _set_medians(found: Numbers, hours: dict[str, list[float]]) -> None:
    for unit, some in hours.items():
        some.sort()
        found.below.setdefault(unit, Totals()).median_hours_to_resolve = _rounded(
            statistics.median(some)
        )
    # Sorted runs, so that sorting the whole only merges them.
    every = [one for some in hours.values() for one in some]
    found.whole.median_hours_to_resolve = _rounded(statistics.median(every)) if every else None


def _rounded(hours: float | None) -> float | None:
    return None if hours is None else round(hours, 2)


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


class _Surroundings(NamedTuple):
    unit: Row
    children: list[Row]
    median_before: float | None
    duties: list[Row]
    loop: LoopTotals
    seal: Row | None


async def summary(
    lend: Acquire, settings: Settings, code: str, period: Period, now: datetime, log: str
) -> Summary | None:
    """The summary of a unit as it stands now, or as it was sealed; None when there is no such unit.

    `log` is the record kind that each grid files for such a period. Takes two connections side by
    side.
    """
    width = _BELOW.get(len(code))
    if width is None:
        return None

    before = previous(period)

    async def count() -> tuple[Numbers, Numbers, Decisions]:
        async with lend() as connection:
            mine, last = await numbers(connection, code, (period, before), now, width)
            _set_medians(mine, await queries.hours_to_resolve(connection, code, period, width))
            return mine, last, await _decisions(connection, code)

    async def look_around() -> _Surroundings | None:
        async with lend() as connection:
            units = await queries.unit_and_children(connection, code)
            if not units or units[0]["code"] != code:
                return None
            unit, *children = units
            return _Surroundings(
                unit,
                children,
                await queries.median_hours(connection, code, before),
                await queries.duties(connection, code, period),
                await _loop(connection, settings, unit, children, period, now, log),
                await queries.seal_in_force(connection, code, period.name),
            )

    # About equal halves of the work.
    (mine, last, decisions), around = await asyncio.gather(count(), look_around())
    if around is None:
        return None
    last.whole.median_hours_to_resolve = _rounded(around.median_before)
    by_duty = {row["duty"]: row for row in around.duties}
    found = Summary(
        unit=unit_out(around.unit),
        period=period_out(period),
        totals=mine.whole,
        previous=last.whole,
        duties=[
            DutyTotals(
                duty=duty,
                label=label.zh,
                **{
                    name: by_duty[duty][name] if duty in by_duty else 0
                    for name in ("visits", "problems_raised", "problems_resolved")
                },
            )
            for duty, label in DUTIES.items()
        ],
        severities=list(mine.severities.values()),
        units=[
            UnitTotals(unit=unit_out(child), totals=mine.below.get(child["code"], Totals()))
            for child in around.children
        ],
        loop=_with_silent(around, mine),
        decisions=decisions,
        late_arrivals=mine.late,
    )
    return as_sealed(found, around.seal) if around.seal else found


async def _loop(
    connection: Connection,
    settings: Settings,
    unit: Row,
    children: list[Row],
    period: Period,
    now: datetime,
    log: str,
) -> LoopTotals:
    code = unit["code"]
    match unit["level"]:
        case "grid":
            grids = 1
        case "village":
            grids = len(children)
        case _:
            grids = await count_grids(connection, code)
    due, logs = await counts_by_log(connection, settings, code, grids, period, now)
    # What is due by now was counted just now: a summary is one log a month, an analysis one a week.
    if due.is_due(log, period):
        filed = logs[log].on_time + logs[log].late
    else:
        filed = await loop_queries.filed(connection, code, period, log)
    silent = (
        [] if _shows_grids(unit) else await loop_queries.silent(connection, code, period, _NAMED)
    )
    named = [unit_out(row) for row in silent]
    return LoopTotals(
        grids=grids,
        filed=filed,
        missing=grids - filed,
        logs=logs,
        silent=named,
        provisional=due.provisional,
    )


def _shows_grids(unit: Row) -> bool:
    return unit["level"] in ("village", "grid")


def _with_silent(around: _Surroundings, found: Numbers) -> LoopTotals:
    """The loop with the silent grids: below a village they are those among its own rows without a
    visit.
    """
    if _shows_grids(around.unit):
        grids = [around.unit] if around.unit["level"] == "grid" else around.children
        silent = [
            row
            for row in grids
            if row["code"] not in found.below or not found.below[row["code"]].visits
        ]
        return around.loop.model_copy(update={"silent": [unit_out(row) for row in silent]})
    return around.loop


async def _decisions(connection: Connection, code: str) -> Decisions:
    waiting = await queries.decisions(connection, code)
    rows = await queries.escalated(connection, code, _NAMED) if waiting["escalated"] else []
    return Decisions(
        escalated_problems=waiting["escalated"],
        open_conflicts=waiting["conflicts"],
        held_mutations=waiting["held"],
        escalated=[EscalatedProblem(**dict(row)) for row in rows],
    )


def as_sealed(now: Summary, seal: Any) -> Summary:
    """The summary as it was sealed, with what arrived since beside it; what waits for a decision is
    always that of now.
    """
    kept = Summary.model_validate_json(seal["summary"])
    since = {
        name: getattr(now.totals, name) - getattr(kept.totals, name)
        for name in ("visits", "households_visited", "problems_raised", "problems_resolved")
    }
    since["late_arrivals"] = now.late_arrivals - kept.late_arrivals
    seal_out = SealOut(by=seal["sealed_by"], at=seal["sealed_at"], arrived_since=since)
    return kept.model_copy(update={"sealed": True, "seal": seal_out, "decisions": now.decisions})
