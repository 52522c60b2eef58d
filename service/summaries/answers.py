"""What a summary says, part by part."""

from datetime import date, datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from service.loop.loop import LogCounts
from service.organisation.units import TREE_DAY, PeriodOut, UnitOut


class Totals(BaseModel):
    """The numbers of a unit and a period; households and problems that stand as of the period's
    end, or now if it has not ended.
    """

    visits: int = Field(0, description="Visits on the days of the period, whenever they came in")
    households_visited: int = Field(
        0,
        description="Distinct households with a visit; one that was visited in several grids counts"
        " once, in the grid with the highest code",
    )
    households: int = Field(
        0, description="Households of the unit at the period's end, without those moved away"
    )
    coverage: float | None = Field(
        None,
        description="`households_visited` / `households`; never above 1: a household that was"
        " visited may have gone before the period's end",
    )
    contact_households: int = Field(
        0, description="Of the households, those with a party member tied to them at that time"
    )
    contact_households_visited: int = Field(
        0, description="Of the households visited, those that were contact households at that time"
    )
    problems_raised: int = Field(
        0, description="Raised in the period; without those rejected or joined to another"
    )
    problems_resolved: int = Field(
        0, description="Of whose resolutions that stand the day lies in the period"
    )
    problems_open: int = Field(
        0,
        description="Raised and not resolved at the period's end, by what is known now: one that is"
        " reopened later was never resolved, also at the end of a period that is over, unless that"
        " is sealed",
    )
    problems_overdue: int = Field(
        0,
        description="Of those open at the period's end, past their limit then. One resolved late is"
        " not among them, whereas `overdue` of a problem stays",
    )
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
    median_hours_to_resolve: float | None = Field(
        None, description="Hours from raised to resolved of what was resolved in the period; exact"
    )


class DutyTotals(BaseModel):
    """The numbers of one duty; a visit counts under each of its duties."""

    duty: str = Field(description="The slug of the duty")
    label: str = Field(description="What it is called on the last day of the period, in Chinese")
    visits: int = Field(0, description="Visits about it")
    problems_raised: int = Field(0, description="Problems of it that were raised in the period")
    problems_resolved: int = Field(0, description="Problems of it resolved in the period")


class DutyOverlap(BaseModel):
    """How many more the duties together count than the totals: a visit counts under each of its
    duties, and one without any under none, so that visits may also be fewer. A problem has one
    duty.
    """

    visits: int = Field(0, description="Visits of all duties less all visits")
    problems_raised: int = Field(0, description="The same of problems raised: 0")
    problems_resolved: int = Field(0, description="The same of problems resolved: 0")


class CategoryTotals(BaseModel):
    """The problems of one category; those without any, and of a category that is no word of the
    list, are in the totals alone.
    """

    category: str = Field(description="The word of the list of categories")
    label: str = Field(description="What it is called, in the language of the answer")
    problems_raised: int = Field(0, description="Of that category, raised in the period")
    problems_resolved: int = Field(0, description="Of that category, resolved in the period")


class SeverityTotals(BaseModel):
    """The problems of one severity: raised in the period, open and overdue at its end."""

    severity: str = Field(description="ordinary, urgent or emergency")
    label: str = Field(description="What it is called, in Chinese")
    problems_raised: int = Field(0, description="Raised in the period")
    problems_open: int = Field(0, description="Open at the period's end, or now")
    problems_overdue: int = Field(0, description="Open and past their limit then")


class UnitTotals(BaseModel):
    """A unit right below, with its numbers: sealed ones as they were sealed."""

    unit: UnitOut = Field(description="The unit")
    totals: Totals = Field(description="Its numbers")
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
    analysis of a week, the summary of a month or of the months of a longer period; of days from a
    day to a day the visit of up to 6 days, the analysis of 7 and more, the summary of 31 and more.
    With `not_due` and `owe_nothing` they add up to the logs of all grids.
    """

    grids: int = Field(description="Grids of the unit in the period")
    filed: int = Field(description="Logs of the period's own kind that were filed")
    missing: int = Field(description="Due by now, and not filed")
    not_due: int = Field(0, description="Not due yet, and not filed")
    owe_nothing: int = Field(
        0, description="Logs of grids before they went live, or after they ended"
    )
    logs: dict[str, LogCounts] = Field(description="The counts of each kind of log")
    silent: list[UnitOut] = Field(
        description="Grids that owed a visit and made none, the first hundred of `silent_count`"
    )
    silent_count: int | None = Field(
        None, description="How many grids there are without any visit; not kept by older seals"
    )
    provisional: bool = Field(
        description="The official calendar of these days is not out yet; make-up days are missing"
    )


class EscalatedProblem(BaseModel):
    """An open problem that was passed up, and not handed down again."""

    id: str = Field(description="The problem")
    grid: str = Field(description="The grid in which it lies")
    title: str = Field(description="What it is about")
    severity: str = Field(description="ordinary, urgent or emergency")
    handler_unit: str = Field(description="The unit that has it in hand")
    raised_at: datetime = Field(description="When it was raised")
    due: datetime | None = Field(description="When its limit ends")


class Decisions(BaseModel):
    """What waits for a decision now, whatever the period: the problems are in `escalated`, the rest
    under /v1/conflicts and /v1/held.
    """

    escalated_problems: int = Field(description="Open problems passed up and not handed down again")
    open_conflicts: int = Field(description="Fields of which two values wait for a choice")
    held_mutations: int = Field(description="Changes that wait to be released or discarded")
    escalated: list[EscalatedProblem] = Field(
        description="The escalated problems, those that wait longest first, a hundred at most"
    )


class SealOut(BaseModel):
    """Who sealed a summary, and what came since."""

    unit: str = Field(description="The unit that was sealed: this one, or one above it")
    by: str = Field(description="Who sealed it")
    at: datetime = Field(description="When")
    arrived_since: dict[str, int] = Field(
        description="The differences between the numbers now and those sealed"
    )


class SealedPart(BaseModel):
    """A unit further below whose numbers are sealed, and by whom."""

    unit: str = Field(description="The unit")
    by: str = Field(description="Who sealed it")
    at: datetime = Field(description="When")


class SealedWithin(SealedPart):
    """A sealed week or month within a longer period. The numbers of the longer period are those of
    now; the ones sealed stand in the summary of the week or month.
    """

    period: str = Field(description="The week or the month")


class SummaryLine(BaseModel):
    """A summary as CSV: a line of the unit, then one of each right below."""

    period: str = Field(description="The name of the period")
    unit: UnitOut = Field(description="The unit")
    totals: Totals = Field(description="Its numbers")
    sealed: str = Field(description="whole, part or none")


class Summary(BaseModel):
    """The summary of a unit and a period. A sealed week or month shows the numbers as they were; so
    does that of a unit below a sealed one. Above, the sealed parts count as they were sealed.
    """

    csv_model: ClassVar[type[BaseModel]] = SummaryLine

    unit: UnitOut = Field(description="The unit")
    period: PeriodOut = Field(description="The period")
    tree_day: date | None = Field(None, description=TREE_DAY)
    totals: Totals = Field(description="The numbers of the period")
    previous: Totals = Field(description="Those of the period before")
    previous_sealed: bool = Field(False, description="Whether `previous` is sealed as a whole")
    duties: list[DutyTotals] = Field(description="The numbers of each duty")
    duty_overlap: DutyOverlap = Field(
        DutyOverlap(), description="By how much the duties together count more than the totals"
    )
    severities: list[SeverityTotals] = Field(description="The problems of each severity")
    categories: list[CategoryTotals] = Field(
        [], description="The problems of each category; older seals have kept none"
    )
    units: list[UnitTotals] = Field(description="The units right below; they add up to the totals")
    loop: LoopTotals = Field(description="The three logs of the grids")
    decisions: Decisions = Field(description="What waits for a decision")
    sealed: bool = Field(False, description="Whether all numbers are shown as they were sealed")
    seal: SealOut | None = Field(None, description="The seal, if it is sealed")
    sealed_parts: list[SealedPart] = Field(
        [], description="The topmost sealed units below one that is not sealed"
    )
    arrived_since: dict[str, int] | None = Field(
        None, description="What came in after parts were sealed, which the numbers leave out"
    )
    sealed_within: list[SealedWithin] = Field(
        [],
        description="Sealed weeks and months within a longer period, of this unit, above and below;"
        " the numbers of the longer period are not sealed",
    )
    late_arrivals: int = Field(
        description="Visits and problems of the period that came in after it had ended. Of days"
        " from a day to a day: those that came in after the month in which their day lies, and of"
        " whole weeks beside whole months those that came in after the week"
    )

    @staticmethod
    def csv_lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of an answer as CSV."""
        extent = "whole" if body["sealed"] else "part" if body["sealed_parts"] else "none"
        whole = {"unit": body["unit"], "totals": body["totals"], "sealed": extent}
        return [{"period": body["period"]["name"], **row} for row in (whole, *body["units"])]
