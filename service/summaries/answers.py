"""What a summary says, part by part."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from service.loop.loop import LogCounts
from service.organisation.units import TREE_DAY, PeriodOut, UnitOut


class Totals(BaseModel):
    """The numbers of a unit and a period; problems open and overdue as of the period's end, or now
    if it has not ended.

    `households_visited` are distinct; `coverage` is visited / households. `contact_households`:
    those with a party member tied to them.
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
    resolution_rate: float | None = Field(
        None, description="Resolved in the period / raised in the period"
    )
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
    provisional: bool = Field(
        description="The official calendar of these days is not out yet; make-up days are missing"
    )


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
    """What waits for a decision now, whatever the period: the problems are in `escalated`, the rest
    under /v1/conflicts and /v1/held.
    """

    escalated_problems: int
    open_conflicts: int
    held_mutations: int
    escalated: list[EscalatedProblem]


class SealOut(BaseModel):
    """Who sealed a summary, and what came since: the differences between the numbers now and those
    sealed.
    """

    by: str
    at: datetime
    arrived_since: dict[str, int]


class Summary(BaseModel):
    """A week's or month's summary of a unit. A sealed one shows the numbers as they were."""

    unit: UnitOut
    period: PeriodOut
    tree_day: date | None = Field(None, description=TREE_DAY)
    totals: Totals
    previous: Totals
    duties: list[DutyTotals]
    severities: list[SeverityTotals]
    units: list[UnitTotals]
    loop: LoopTotals
    decisions: Decisions
    sealed: bool = False
    seal: SealOut | None = None
    late_arrivals: int = Field(
        description="Visits and problems of the period that came in after it had ended"
    )
