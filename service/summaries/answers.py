"""What a summary says, part by part."""

from datetime import date, datetime
from typing import Any, ClassVar, Literal

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
    disputes_raised: int = Field(0, description="Problems of the category `dispute` 矛盾纠纷")
    disputes_settled: int = Field(0, description="Of that category, resolved in the period")
    worries_raised: int = Field(0, description="Problems of the category `worry` 揪心事烦心事")
    worries_answered: int = Field(0, description="Of that category, resolved in the period")
    problems_raised_resolved: int = Field(
        0, description="Of those raised in the period, resolved by now, in whatever period"
    )
    resolution_rate: float | None = Field(
        None,
        description="Resolved in the period, whenever raised / raised in the period; above 1 where"
        " more was resolved than raised. The same as `flow_resolution_rate`",
    )
    flow_resolution_rate: float | None = Field(
        None, description="`problems_resolved` / `problems_raised`"
    )
    cohort_resolution_rate: float | None = Field(
        None, description="`problems_raised_resolved` / `problems_raised`; never above 1"
    )
    median_hours_to_resolve: float | None = None


class DutyTotals(BaseModel):
    """The numbers of one duty; a visit counts under each of its duties."""

    duty: str
    label: str
    visits: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0


class DutyOverlap(BaseModel):
    """How many more the duties together count than the totals: a visit counts under each of its
    duties, and one without any under none, so that visits may also be fewer. A problem has one
    duty.
    """

    visits: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0


class CategoryTotals(BaseModel):
    """The problems of one category; those without any, and of a category that is no word of the
    list, are in the totals alone.
    """

    category: str
    label: str
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
    """A unit right below, with its numbers: sealed ones as they were sealed."""

    unit: UnitOut
    totals: Totals
    sealed: Literal["whole", "part", "none"] = Field(
        "none", description="Whether the numbers of the unit, or of part of it, are sealed"
    )
    arrived_since: dict[str, int] | None = Field(
        None, description="What came in after that part was sealed, which the totals leave out"
    )


class LoopTotals(BaseModel):
    """Of the grids, how many have filed the period's log, and every log on time, late, missing and
    not due.

    `filed` and `missing` are those of the log that is the period's own: the visit of a day, the
    analysis of a week, the summary of a month or of the months of a longer period. With `not_due`
    and `owe_nothing` they add up to the logs of all grids. `silent` names grids without any visit,
    the first hundred of `silent_count`.
    """

    grids: int
    filed: int
    missing: int = Field(description="Due by now, and not filed")
    not_due: int = Field(0, description="Not due yet, and not filed")
    owe_nothing: int = Field(
        0, description="Logs of grids before they went live, or after they ended"
    )
    logs: dict[str, LogCounts]
    silent: list[UnitOut]
    silent_count: int | None = Field(
        None, description="How many grids there are without any visit; not kept by older seals"
    )
    provisional: bool = Field(
        description="The official calendar of these days is not out yet; make-up days are missing"
    )


class EscalatedProblem(BaseModel):
    """An open problem that was passed up, and not handed down again."""

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
    sealed. `unit`: the one that was sealed; that is this unit, or one above it.
    """

    unit: str
    by: str
    at: datetime
    arrived_since: dict[str, int]


class SealedPart(BaseModel):
    """A unit further below whose numbers are sealed, and by whom."""

    unit: str
    by: str
    at: datetime


class SummaryLine(BaseModel):
    """A summary as CSV: a line of the unit, then one of each right below."""

    period: str
    unit: UnitOut
    totals: Totals
    sealed: str


class Summary(BaseModel):
    """The summary of a unit and a period. A sealed week or month shows the numbers as they were; so
    does that of a unit below a sealed one. Above, the sealed parts count as they were sealed.
    """

    csv_model: ClassVar[type[BaseModel]] = SummaryLine

    unit: UnitOut
    period: PeriodOut
    tree_day: date | None = Field(None, description=TREE_DAY)
    totals: Totals
    previous: Totals
    previous_sealed: bool = Field(False, description="Whether `previous` is sealed as a whole")
    duties: list[DutyTotals]
    duty_overlap: DutyOverlap = DutyOverlap()
    severities: list[SeverityTotals]
    categories: list[CategoryTotals] = Field([], description="Not kept by older seals")
    units: list[UnitTotals]
    loop: LoopTotals
    decisions: Decisions
    sealed: bool = False
    seal: SealOut | None = None
    sealed_parts: list[SealedPart] = Field(
        [], description="The topmost sealed units below one that is not sealed"
    )
    arrived_since: dict[str, int] | None = Field(
        None, description="What came in after parts were sealed, which the numbers leave out"
    )
    late_arrivals: int = Field(
        description="Visits and problems of a day, week or month that came in after it had ended;"
        " of other periods those that came in after the month of their day"
    )

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of an answer as CSV."""
        extent = "whole" if body["sealed"] else "part" if body["sealed_parts"] else "none"
        whole = {"unit": body["unit"], "totals": body["totals"], "sealed": extent}
        return [{"period": body["period"]["name"], **row} for row in (whole, *body["units"])]
