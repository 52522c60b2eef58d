"""What each number is called and means: the one source of the pages' words for numbers, of the page
`/help`, and of the table in `docs/glossary.md`, which a test compares.
"""

from enum import Enum
from typing import NamedTuple

from sync_protocol.texts import Text


class Unit(Enum):
    """How a number is written."""

    COUNT = "count"
    RATIO = "ratio"
    HOURS = "hours"


class Figure(NamedTuple):
    """A number of a summary: what it is called, what it means, and how it is written."""

    label: Text
    meaning: Text
    unit: Unit = Unit.COUNT


# By the keys of `Totals`.
FIGURES: dict[str, Figure] = {
    "visits": Figure(
        Text("Visits"),
        Text("Visits to households that were made in the period, whoever made them."),
    ),
    "households_visited": Figure(
        Text("Households visited"),
        Text("Households with at least one visit in the period; each is counted once."),
    ),
    "households": Figure(
        Text("Households"),
        Text("Households that live in the unit now. Those that moved away are not counted."),
    ),
    "coverage": Figure(
        Text("Coverage"),
        Text("Households visited, of all households."),
        Unit.RATIO,
    ),
    "contact_households": Figure(
        Text("Contact households"),
        Text("Households that are tied to a party member."),
    ),
    "contact_households_visited": Figure(
        Text("Contact households visited"),
        Text("Contact households with at least one visit in the period."),
    ),
    "problems_raised": Figure(
        Text("Problems raised"),
        Text(
            "Problems that were reported in the period. What was rejected, or joined to another"
            " problem, is not counted."
        ),
    ),
    "problems_resolved": Figure(
        Text("Problems resolved"),
        Text(
            "Problems that were resolved in the period, whenever they were raised. Reopening or"
            " returning one takes it back."
        ),
    ),
    "problems_open": Figure(
        Text("Problems open"),
        Text("Problems not resolved at the end of the period, or now if it has not ended."),
    ),
    "problems_overdue": Figure(
        Text("Problems overdue"),
        Text("Open problems that were past their time limit at that moment."),
    ),
    "disputes_raised": Figure(
        Text("Disputes raised"),
        Text("Problems of the category dispute that were raised in the period."),
    ),
    "disputes_settled": Figure(
        Text("Disputes settled"),
        Text("Problems of the category dispute that were resolved in the period."),
    ),
    "worries_raised": Figure(
        Text("Worries raised"),
        Text("Problems of the category worry that were raised in the period."),
    ),
    "worries_answered": Figure(
        Text("Worries answered"),
        Text("Problems of the category worry that were resolved in the period."),
    ),
    "problems_raised_resolved": Figure(
        Text("Of those raised, resolved"),
        Text("Of the problems raised in the period, those that are resolved by now."),
    ),
    "resolution_rate": Figure(
        Text("Resolved per raised"),
        Text(
            "Problems resolved, divided by problems raised, both in the period. It is above 100%"
            " where older problems were resolved, too."
        ),
        Unit.RATIO,
    ),
    "flow_resolution_rate": Figure(
        Text("Resolved per raised"),
        Text(
            "Problems resolved, divided by problems raised, both in the period. It is above 100%"
            " where older problems were resolved, too."
        ),
        Unit.RATIO,
    ),
    "cohort_resolution_rate": Figure(
        Text("Share resolved"),
        Text("Of the problems raised in the period, the share that is resolved by now."),
        Unit.RATIO,
    ),
    "median_hours_to_resolve": Figure(
        Text("Median time to resolve"),
        Text(
            "Half of the problems that were resolved in the period took less time than this, from"
            " raised to resolved; half took longer."
        ),
        Unit.HOURS,
    ),
}

# Words beside the numbers.
TERMS: tuple[tuple[Text, Text], ...] = (
    (
        Text("The period before"),
        Text(
            "The week before a week, the month before a month. A period that has not ended is"
            " compared with a whole one, so that its numbers are still lower."
        ),
    ),
    (
        Text("On time, late, missing"),
        Text(
            "A log is on time if it was written by its time: a visit each working day, the analysis"
            " of a week by the Monday after it, the summary of a month by the third day after it."
            " What is not due yet is no gap. When a phone handed it in does not matter."
        ),
    ),
    (
        Text("Silent grids"),
        Text("Grids that owed a visit in the period and have made none."),
    ),
    (
        Text("Sealed"),
        Text(
            "The numbers are kept as they were when somebody sealed the week or month. What arrives"
            " later is shown beside them and not added."
        ),
    ),
    (
        Text("Came in late"),
        Text(
            "Visits and problems that phones handed in after the period had ended. They are part of"
            " the numbers, unless these were sealed before."
        ),
    ),
    (
        Text("Needs a decision"),
        Text(
            "What waits for a person now, whatever the period: problems that were passed up,"
            " conflicts between two phones, and held mutations."
        ),
    ),
)
