"""The tallies' arithmetic: whatever the way from nothing to the records, the rows are those of the
records.
"""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.tallies.deltas import TallyDeltas
from service.tallies.facts import CaseFacts, HouseholdFacts, VisitFacts

NEW_YEAR = date(2026, 12, 26)
days = st.integers(0, 12).map(lambda n: NEW_YEAR + timedelta(days=n))
grids = st.sampled_from(["150202100200001", "150202100200002"])
cadres = st.sampled_from(["W1", "C1"])
moments = st.integers(0, 40).map(lambda n: datetime(2026, 12, 26, tzinfo=UTC) + timedelta(days=n))
duties = st.lists(st.sampled_from(["emergency", "public_order"]), unique=True).map(tuple)
visits = st.none() | st.builds(
    VisitFacts,
    grids,
    cadres,
    days,
    duties,
    st.none() | st.sampled_from(["h1", "h2"]),
    days,
    moments,
)


def a_case(
    grid: str,
    duty: str,
    severity: str,
    raised: date,
    by: str,
    resolved: date | None,
    resolver: str,
    became_overdue: date | None,
    came: datetime,
) -> CaseFacts:
    closed = max(resolved, raised) if resolved else None
    return CaseFacts(
        grid,
        duty,
        severity,
        raised,
        by,
        resolved,
        resolver if resolved else None,
        closed,
        became_overdue,
        came,
    )


problems = st.none() | st.builds(
    a_case,
    grids,
    st.sampled_from(["emergency", "public_order"]),
    st.sampled_from(["ordinary", "urgent"]),
    days,
    cadres,
    st.none() | days,
    cadres,
    st.none() | days,
    moments,
)
households = st.none() | st.builds(HouseholdFacts, grids, st.booleans())


def rows(changes: TallyDeltas) -> tuple[object, ...]:
    parts = (
        changes.days(),
        changes.weeks(),
        changes.cases(),
        changes.grids(),
        changes.cadres(),
        changes.visited(),
        changes.household_counts(),
    )
    return tuple(parts)


def ties(changes: TallyDeltas) -> Counter[str]:
    """By how much each household is a contact household."""
    found = Counter(changes.new_contacts())
    found.update(changes.contact_changes())
    return Counter({id: count for id, count in found.items() if count})


@given(
    st.lists(st.lists(visits, min_size=1, max_size=4)),
    st.lists(st.lists(problems, min_size=1, max_size=4)),
    st.lists(st.lists(households, min_size=1, max_size=4)),
)
def test_only_where_the_records_stand_counts(
    some_visits: list[list[VisitFacts | None]],
    some_problems: list[list[CaseFacts | None]],
    some_houses: list[list[HouseholdFacts | None]],
) -> None:
    lived, counted = TallyDeltas(), TallyDeltas()
    for line in some_visits:
        for before, after in zip([None, *line], line, strict=False):
            lived.visit(before, after)
        counted.visit(None, line[-1])
    for case_line in some_problems:
        for was, becomes in zip([None, *case_line], case_line, strict=False):
            lived.case(was, becomes)
        counted.case(None, case_line[-1])
    for place, house_line in enumerate(some_houses):
        for had, has in zip([None, *house_line], house_line, strict=False):
            lived.household(str(place), had, has)
        counted.household(str(place), None, house_line[-1])
    assert rows(lived) == rows(counted)
    assert ties(lived) == ties(counted)


@given(visits, problems)
def test_what_goes_takes_everything_with_it(
    visit: VisitFacts | None, problem: CaseFacts | None
) -> None:
    changes = TallyDeltas()
    changes.visit(None, visit)
    changes.case(None, problem)
    changes.visit(visit, None)
    changes.case(problem, None)
    assert not any(rows(changes))


def test_the_days_around_new_year_belong_to_two_weeks_two_months_and_two_quarters() -> None:
    changes = TallyDeltas()
    for day in (date(2026, 12, 31), date(2027, 1, 3), date(2027, 1, 4)):
        changes.visit(
            None, VisitFacts("g", "W1", day, (), None, day, datetime(2026, 12, 31, tzinfo=UTC))
        )
    spans = {span: counts[0] for (span, _, _), counts in changes.cadres().items()}
    assert spans == {
        "2026-W53": 2,
        "2027-W01": 1,
        "2026-12": 1,
        "2027-01": 2,
        "2026-Q4": 1,
        "2027-Q1": 2,
    }
