"""Puts a week's or month's summary of a unit together from the queries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from service.database import Connection
from service.loop import queries as loop_queries
from service.loop.loop import LogCounts, counts_by_log
from service.settings import Settings
from service.summaries import queries
from service.units import PeriodOut, UnitOut, count_grids, period_out, unit_out
from sync_protocol.periods import Period, previous
from sync_protocol.vocabulary import CODE_LENGTH, DUTIES, SEVERITIES

_LENGTHS = [*CODE_LENGTH.values()]
_BELOW = dict(zip(_LENGTHS, [*_LENGTHS[1:], _LENGTHS[-1]], strict=True))
_NAMED = 100


class Totals(BaseModel):
    """The numbers of a unit and a period; problems open and overdue as of the period's end, or now if it has not ended.

    `households_visited` are distinct; `coverage` is visited / households. `contact_households`: those with a party member tied to them.
    """

    visits: int = 0
    households_visited: int = 0
    households: int = 0
    coverage: float | None = None
    contact_households: int = 0
    contact_households_visited: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0
    problems_open: int = 0
    problems_overdue: int = 0
    resolution_rate: float | None = Field(None, description="Resolved in the period / raised in the period")
    median_hours_to_resolve: float | None = None


class DutyTotals(BaseModel):
    """The numbers of one duty; a visit counts under each of its duties."""

    duty: str
    label: str
    visits: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0


class SeverityTotals(BaseModel):
    """The problems of one severity: raised in the period, open and overdue at its end."""

    severity: str
    label: str
    problems_raised: int = 0
    problems_open: int = 0
    problems_overdue: int = 0


class UnitTotals(BaseModel):
    """A unit right below, with its numbers."""

    unit: UnitOut
    totals: Totals


class LoopTotals(BaseModel):
    """Of the grids, how many have filed the period's log, and every log on time, late and missing.

    `silent` names the grids without any visit.
    """

    grids: int
    filed: int
    missing: int
    logs: dict[str, LogCounts]
    silent: list[UnitOut]
    provisional: bool = Field(description="The official calendar of these days is not out yet; make-up days are missing")


class EscalatedProblem(BaseModel):
    """An open problem that was passed up."""

    id: str
    grid: str
    title: str
    severity: str
    handler_unit: str
    raised_at: datetime
    due: datetime | None


class Decisions(BaseModel):
    """What waits for a decision now, whatever the period: the problems are in `escalated`, the rest under /v1/conflicts and /v1/held."""

    escalated_problems: int
    open_conflicts: int
    held_mutations: int
    escalated: list[EscalatedProblem]


class SealOut(BaseModel):
    """Who sealed a summary, and what came since: the differences between the numbers now and those sealed."""

    by: str
    at: datetime
    arrived_since: dict[str, int]


class Summary(BaseModel):
    """A week's or month's summary of a unit. A sealed one shows the numbers as they were."""

    unit: UnitOut
    period: PeriodOut
    totals: Totals
    previous: Totals
    duties: list[DutyTotals]
    severities: list[SeverityTotals]
    units: list[UnitTotals]
    loop: LoopTotals
    decisions: Decisions
    sealed: bool = False
    seal: SealOut | None = None
    late_arrivals: int = Field(description="Visits and problems of the period that came in after it had ended")


class Numbers(NamedTuple):
    """The totals of a unit and a period, those of the units right below, and how many logs came in late."""

    whole: Totals
    below: dict[str, Totals]
    late: int


async def numbers(connection: Connection, code: str, periods: Sequence[Period], now: datetime, width: int) -> list[Numbers]:
    """The numbers of a unit in several weeks or months, with those of the units below whose codes have `width` digits."""
    found: dict[str, dict[str, Totals]] = {period.name: {} for period in periods}
    late = dict.fromkeys(found, 0)

    def of(span: str, unit: str) -> Totals:
        return found[span].setdefault(unit, Totals())

    for row in await queries.counts(connection, code, list(found), width):
        totals = of(row["span"], row["code"])
        totals.visits, totals.problems_raised, totals.problems_resolved = row["visits"], row["raised"], row["resolved"]
        totals.households_visited, totals.contact_households_visited = row["households_visited"], row["contacts_visited"]
        late[row["span"]] += row["late"]
    for row in await queries.households(connection, code, width):
        for span in found:
            totals = of(span, row["code"])
            totals.households, totals.contact_households = row["households"], row["contacts"]
    for row in await queries.standing(connection, code, periods, now, width):
        totals = of(row["span"], row["code"])
        totals.problems_open, totals.problems_overdue = row["open"], row["overdue"]
    answers = []
    for place, period in enumerate(periods):
        below, whole = found[period.name], Totals()
        for totals in below.values():
            for name in _SUMMED:
                setattr(whole, name, getattr(whole, name) + getattr(totals, name))
        # The units below are asked for in the first period only.
        for row in await queries.median_hours(connection, code, period, width if place == 0 else len(code)):
            totals = whole if row["code"] is None else of(period.name, row["code"])
            totals.median_hours_to_resolve = None if row["hours"] is None else round(row["hours"], 2)
        for totals in (whole, *below.values()):
            totals.coverage = _ratio(totals.households_visited, totals.households)
            totals.resolution_rate = _ratio(totals.problems_resolved, totals.problems_raised)
        answers.append(Numbers(whole, below, late[period.name]))
    return answers


_SUMMED = [name for name, field in Totals.model_fields.items() if field.annotation is int]


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


async def summary(connection: Connection, settings: Settings, unit: Any, period: Period, now: datetime, log: str) -> Summary:
    """The summary of a unit as it stands now; `log` is the record kind that each grid files for such a period."""
    code = unit["code"]
    mine, before = await numbers(connection, code, (period, previous(period)), now, _BELOW[len(code)])
    by_duty = {row["duty"]: row for row in await queries.duties(connection, code, period)}
    by_severity = {row["severity"]: row for row in await queries.severities(connection, code, period, now)}
    children = await queries.children(connection, code)
    return Summary(
        unit=unit_out(unit),
        period=period_out(period),
        totals=mine.whole,
        previous=before.whole,
        duties=[
            DutyTotals(
                duty=duty,
                label=label.zh,
                **{name: by_duty[duty][name] if duty in by_duty else 0 for name in ("visits", "problems_raised", "problems_resolved")},
            )
            for duty, label in DUTIES.items()
        ],
        severities=[
            SeverityTotals(
                severity=severity,
                label=label.zh,
                **{
                    f"problems_{name}": by_severity[severity][name] if severity in by_severity else 0
                    for name in ("raised", "open", "overdue")
                },
            )
            for severity, label in SEVERITIES.items()
        ],
        units=[UnitTotals(unit=unit_out(child), totals=mine.below.get(child["code"], Totals())) for child in children],
        loop=await _loop(connection, settings, code, period, now, log),
        decisions=await _decisions(connection, code),
        late_arrivals=mine.late,
    )


async def _loop(connection: Connection, settings: Settings, code: str, period: Period, now: datetime, log: str) -> LoopTotals:
    grids = await count_grids(connection, code)
    logs, provisional = await counts_by_log(connection, settings, code, grids, period, now)
    filed = await loop_queries.filed(connection, code, period, log)
    silent = await loop_queries.silent(connection, code, period, _NAMED)
    return LoopTotals(
        grids=grids, filed=filed, missing=grids - filed, logs=logs, silent=[unit_out(row) for row in silent], provisional=provisional
    )


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
    """The summary as it was sealed, with what arrived since beside it; what waits for a decision is always that of now."""
    kept = Summary.model_validate_json(seal["summary"])
    since = {
        name: getattr(now.totals, name) - getattr(kept.totals, name)
        for name in ("visits", "households_visited", "problems_raised", "problems_resolved")
    }
    since["late_arrivals"] = now.late_arrivals - kept.late_arrivals
    seal_out = SealOut(by=seal["sealed_by"], at=seal["sealed_at"], arrived_since=since)
    return kept.model_copy(update={"sealed": True, "seal": seal_out, "decisions": now.decisions})
