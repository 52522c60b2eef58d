"""Terms and their days, by brute force."""

from datetime import date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit import workdays
from service.kit.settings import Settings
from service.organisation.tree import Tree, UnitFacts
from service.vocabulary.days import Calendar, DayOff
from service.vocabulary.rules import ReferenceData, Rules
from service.vocabulary.terms import ALWAYS, BUILT_IN, LISTS, Term, Vocabulary
from sync_protocol import periods

FIRST = date(2027, 1, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(30)]
CODES = ("veteran", "disabled", "large_family")
UNITS = ("1502", "150221", "150221100", "150221100201", "150221100201001")
TREE = Tree(
    "t",
    [
        UnitFacts(code, "city", UNITS[place - 1] if place else None)
        for place, code in enumerate(UNITS)
    ],
)


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[date, date | None]]:
    """Days from which and to which terms of a word hold, one after the other."""
    turns = sorted(set(draw(st.lists(st.sampled_from([ALWAYS, *DAYS]), max_size=6))))
    found: list[tuple[date, date | None]] = []
    for place, begins in enumerate(turns):
        following = turns[place + 1] if place + 1 < len(turns) else None
        gap = draw(st.integers(0, 3))
        ends = following
        if gap and begins != ALWAYS:
            early = begins + timedelta(days=gap)
            ends = early if following is None or early < following else following
        found.append((begins, ends))
    return found


@given(st.fixed_dictionaries({code: windows() for code in CODES}))
@settings(max_examples=60, deadline=None)
def test_a_word_holds_on_just_the_days_of_its_terms(
    by_code: dict[str, list[tuple[date, date | None]]],
) -> None:
    vocabulary = Vocabulary(
        Term("tag", code, code, code, valid_from=begins, valid_to=ends)
        for code, some in by_code.items()
        for begins, ends in some
    )

    def held(code: str, day: date) -> bool:
        if not by_code[code]:
            return code in LISTS["tag"].base
        return any(begins <= day and (ends is None or day < ends) for begins, ends in by_code[code])

    for code in CODES:
        for day in DAYS:
            assert vocabulary.holds("tag", code, day) == held(code, day), (code, day)
        assert vocabulary.knows("tag", code) == (code in LISTS["tag"].base or bool(by_code[code]))
        if code in vocabulary.always["tag"] and vocabulary.knows("tag", code):
            assert all(held(code, day) for day in DAYS)
    for first in DAYS[::5]:
        for last in DAYS[::7]:
            if first <= last and vocabulary.all_hold("tag", CODES, first, last):
                assert all(held(code, first) and held(code, last) for code in CODES)


def test_until_something_is_edited_the_code_and_the_settings_hold() -> None:
    rules = Rules(Settings(urgent_days=5))
    assert BUILT_IN.labels("tag", FIRST) == LISTS["tag"].base
    assert all(BUILT_IN.holds("duty", duty, FIRST) for duty in LISTS["duty"].base)
    due = rules.limit_of("150221100201001")
    # Thursday the 19th of November: five working days later is the Thursday after.
    assert due("2026-11-19T02:00:00.000Z", "urgent") == "2026-11-26T02:00:00.000Z"
    assert due("2026-11-19T02:00:00.000Z", "emergency") == "2026-11-20T02:00:00.000Z"
    week = periods.week("2026-W47")
    assert rules.log_due("weekly_analysis", week, "1502") == datetime.fromisoformat(
        "2026-11-23T12:00:00+08:00"
    )
    month = periods.month("2026-11")
    assert rules.log_due("monthly_summary", month, "1502") == datetime.fromisoformat(
        "2026-12-03T18:00:00+08:00"
    )


_LISTS = st.dictionaries(
    st.sampled_from(UNITS), st.dictionaries(st.sampled_from(DAYS), st.booleans(), max_size=8)
)


@given(_LISTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_nearest_list_decides_about_a_day(
    lists: dict[str, dict[date, bool]], is_official: bool
) -> None:
    calendar = Calendar(
        [("1502", 2027)] if is_official else [],
        [(unit, day, DayOff(works)) for unit, some in lists.items() for day, works in some.items()],
    )
    rules = Rules(Settings(), TREE, ReferenceData("v", BUILT_IN, calendar))
    for place, unit in enumerate(UNITS):
        found = rules.calendar(unit, FIRST)
        for day in DAYS:
            nearest = [
                lists[above][day]
                for above in reversed(UNITS[: place + 1])
                if day in lists.get(above, {})
            ]
            usual = day.weekday() < 5 if is_official else workdays.is_workday(day)
            assert found.works(day) == found.facts(day).works == (nearest or [usual])[0]
            assert found.is_provisional(day) != is_official


@given(_LISTS, st.integers(0, 20), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_a_limit_counts_the_working_days_of_the_unit(
    lists: dict[str, dict[date, bool]], start: int, days: int
) -> None:
    calendar = Calendar(
        [("1502", 2027)],
        [(unit, day, DayOff(works)) for unit, some in lists.items() for day, works in some.items()],
    )
    term = Term("limit", "urgent", "紧急", "urgent", attributes={"working_days": days})
    data = ReferenceData("v", Vocabulary([term]), calendar)
    rules = Rules(Settings(), TREE, data)
    raised = DAYS[start]
    due = rules.limit_of(UNITS[-1])(f"{raised}T04:00:00.000Z", "urgent")
    last = periods.day_of(due)
    after = [raised + timedelta(days=n) for n in range(1, (last - raised).days + 1)]
    of_grid = rules.calendar(UNITS[-1], raised)
    assert sum(of_grid.works(day) for day in after) == days
    assert of_grid.works(last)
    assert due[10:] == "T04:00:00.000Z"
