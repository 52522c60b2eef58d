"""Puts a week's or month's summary of a unit together from the queries."""

import asyncio
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.kit.conditions import Subtree
from service.kit.database import Acquire, Connection, Row
from service.kit.settings import Settings
from service.loop import queries as loop_queries
from service.loop.loop import Dues, counts_by_log, dues_of
from service.organisation.units import UnitOn, UnitOut, grids_of, period_out, unit_out
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
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from service.vocabulary.terms import BUILT_IN, Vocabulary
from sync_protocol.periods import Period, local_day, previous

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
    connection: Connection,
    on: UnitOn,
    periods: Sequence[Period],
    now: datetime,
    words: Vocabulary = BUILT_IN,
) -> list[Numbers]:
    """The numbers of a unit in several weeks or months, with those of the units right below.

    Without the median hours.
    """
    subtree, parts = on.subtree, on.breakdown
    found: dict[str, dict[str, Totals]] = {period.name: {} for period in periods}
    late = dict.fromkeys(found, 0)
    severities = {
        span: {
            severity: SeverityTotals(severity=severity, label=label.zh)
            for severity, label in words.labels("severity", periods[0].last).items()
        }
        for span in found
    }

    def of(span: str, unit: str) -> Totals:
        return found[span].setdefault(unit, Totals())

    for row in await queries.counts(connection, subtree, periods, parts):
        if row["span"].startswith("-"):
            totals = of(row["span"][1:], row["code"])
            totals.households += row["households"]
            totals.contact_households += row["contacts"]
        elif row["span"]:
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
    for row in await queries.standing(connection, subtree, periods, now, parts):
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


def _has_work(totals: Totals) -> bool:
    """Whether something was done in a unit in the period: then it is shown, though it was closed
    before, or made later.
    """
    return any(
        (totals.visits, totals.problems_raised, totals.problems_resolved, totals.problems_open)
    )


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
    words: Vocabulary
    loop: LoopTotals
    seal: Row | None


async def summary(
    lend: Acquire,
    settings: Settings,
    on: UnitOn,
    period: Period,
    now: datetime,
    log: str,
    with_seal: bool = True,
) -> Summary | None:
    """The summary of a unit, by the tree of a day, as it stands now, or as it was sealed; None when
    there is no such unit.

    `log` is the record kind that each grid files for such a period. Takes two connections side by
    side. What was sealed are the numbers by the tree of the period; `with_seal`: give these.
    """
    before = previous(period)
    code, subtree = on.code, on.subtree

    async def count() -> tuple[Numbers, Numbers, Decisions]:
        async with lend() as connection:
            words = (await current_reference_data(connection)).vocabulary
            mine, last = await numbers(connection, on, (period, before), now, words)
            hours = await queries.hours_to_resolve(connection, subtree, period, on.breakdown)
            _set_medians(mine, hours)
            # What waits is decided by who has the unit now.
            here = on.tree.subtree(code, local_day(now))
            return mine, last, await _decisions(connection, here)

    async def look_around() -> _Surroundings | None:
        async with lend() as connection:
            units = await queries.unit_and_children(connection, code, on.children)
            if not units or units[0]["code"] != code:
                return None
            unit, *children = units
            rules = Rules(settings, on.tree, await current_reference_data(connection))
            return _Surroundings(
                unit,
                children,
                await queries.median_hours(connection, subtree, before),
                await queries.duties(connection, subtree, period),
                rules.vocabulary,
                await _loop(connection, rules, on, period, now, log),
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
            for duty, label in around.words.labels("duty", period.last).items()
            if duty in by_duty or around.words.holds("duty", duty, period.last)
        ],
        severities=list(mine.severities.values()),
        units=[
            UnitTotals(unit=unit_out(child), totals=totals)
            for child in around.children
            if _has_work(totals := mine.below.get(child["code"], Totals()))
            or on.is_there(child["code"], period)
        ],
        loop=around.loop,
        decisions=decisions,
        late_arrivals=mine.late,
    )
    return as_sealed(found, around.seal) if around.seal and with_seal else found


async def _loop(
    connection: Connection, rules: Rules, on: UnitOn, period: Period, now: datetime, log: str
) -> LoopTotals:
    subtree = on.subtree
    grids = await grids_of(connection, on.tree, subtree, period)
    dues = await dues_of(connection, rules, subtree, grids, period, now)
    logs = await counts_by_log(connection, dues, subtree, grids, period)
    # What is due by now was counted just now: a summary is one log a month, an analysis one a week.
    if dues.is_due(log, period):
        filed = logs[log].on_time + logs[log].late
    else:
        filed = await loop_queries.filed(connection, subtree, period, log)
    return LoopTotals(
        grids=grids.total,
        filed=filed,
        missing=grids.total - filed,
        logs=logs,
        silent=await _silent(connection, subtree, dues, period),
        provisional=dues.whole.provisional,
    )


async def _silent(
    connection: Connection, subtree: Subtree, dues: Dues, period: Period
) -> list[UnitOut]:
    """The grids that owed a visit by now and made none."""
    if not dues.whole.days:
        return []  # nobody is silent for days to come
    owe_nothing = [code for code, due in dues.parts.items() if not due.days]
    rows = await loop_queries.silent(connection, subtree, period, owe_nothing, _NAMED)
    return [unit_out(row) for row in rows]


async def _decisions(connection: Connection, subtree: Subtree) -> Decisions:
    waiting = await queries.decisions(connection, subtree)
    rows = await queries.escalated(connection, subtree, _NAMED) if waiting["escalated"] else []
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
