"""The life of a problem: the fold over its steps."""

import itertools
from typing import Any

import pytest

from sync_protocol.lifecycle import TRANSITIONS, Case, Step, fold, is_overdue
from sync_protocol.periods import from_ms
from sync_protocol.vocabulary import ACTIONS, STATES

GRID = "150202100200001"
FIELDS = {"raised_at": "2026-11-16T01:00:00.000Z", "severity": "urgent", "duty": "emergency"}
_numbers = itertools.count(1)


def step(stamp: int, action: str, by: str = "worker", **fields: Any) -> Step:
    return Step(
        f"step {next(_numbers):04d}",
        f"{stamp:016x}",
        by,
        {"action": action, "at": f"2026-11-16T02:00:{stamp:02d}.000Z", **fields},
    )


def case_of(*steps: Step) -> Case:
    return fold(
        FIELDS, GRID, "raiser", steps, limit=lambda raised_at, severity: "2026-11-19T01:00:00.000Z"
    )


def test_every_action_of_the_vocabulary_has_its_transition() -> None:
    assert set(TRANSITIONS) == set(ACTIONS)
    assert {after for _, after in TRANSITIONS.values() if after} | {"raised"} == set(STATES)


def test_the_usual_way_from_raised_to_closed() -> None:
    case = case_of(
        step(1, "accept"),
        step(2, "assign", to_cadre="C1"),
        step(3, "handle", by="C1"),
        step(4, "resolve", by="C1"),
        step(5, "verify", satisfied="yes"),
        step(6, "close"),
    )
    assert [entry.state for entry in case.history] == [
        "accepted",
        "assigned",
        "handling",
        "resolved",
        "verified",
        "closed",
    ]
    assert (case.resolved_by, case.resolved_at, case.satisfied) == (
        "C1",
        "2026-11-16T02:00:04.000Z",
        "yes",
    )
    assert case.ended_at == "2026-11-16T02:00:06.000Z"


def test_steps_count_in_stamp_order_whatever_order_they_come_in() -> None:
    steps = [
        step(1, "accept"),
        step(2, "resolve", by="C1"),
        step(3, "reopen"),
        step(4, "resolve", by="C2"),
    ]
    cases = [case_of(*some) for some in itertools.permutations(steps)]
    assert all(case == cases[0] for case in cases)
    assert cases[0].resolved_by == "C2"


def test_of_two_offline_resolutions_the_first_stands_and_the_second_is_superseded() -> None:
    case = case_of(step(5, "resolve", by="late"), step(4, "resolve", by="early"))
    assert case.resolved_by == "early"
    assert case.history[1].ineffective == "superseded: already resolved by early"


@pytest.mark.parametrize("undo", ["reopen", "return"])
def test_reopening_and_returning_take_the_credit_back(undo: str) -> None:
    case = case_of(step(1, "resolve", by="C1"), step(2, undo))
    assert (case.resolved_by, case.resolved_at) == (None, None)


def test_a_step_that_its_moment_does_not_allow_stays_in_the_history_without_effect() -> None:
    case = case_of(step(1, "verify"), step(2, "accept"))
    assert case.state == "accepted"
    assert (
        case.history[0].ineffective == "not allowed: a problem that is raised does not take verify"
    )


def test_escalation_moves_the_handler_up_and_a_return_brings_it_back() -> None:
    case = case_of(step(1, "escalate"))
    assert (case.state, case.handler_unit, case.escalated) == ("raised", GRID[:9], 1)
    case = case_of(step(1, "escalate"), step(2, "accept"), step(3, "return"))
    assert (case.state, case.handler_unit) == ("returned", GRID[:12])


def test_nothing_is_escalated_above_the_city() -> None:
    case = case_of(*(step(number, "escalate") for number in range(1, 6)))
    assert case.handler_unit == "1502"
    assert case.history[-1].ineffective == "not allowed: there is no unit above"


def test_rejected_and_joined_problems_are_outside_every_count_until_reopened() -> None:
    for action, fields in (
        ("reject", {"reason": "unfounded"}),
        ("join", {"duplicate_of": "other"}),
    ):
        assert not case_of(step(1, action, **fields)).counted
        assert case_of(step(1, action, **fields), step(2, "reopen")).counted


def test_an_extension_by_someone_above_moves_the_limit() -> None:
    later = step(1, "extend", by="S1", until="2026-12-01T00:00:00.000Z")
    assert case_of(later).due == "2026-12-01T00:00:00.000Z"
    refused = fold(FIELDS, GRID, "raiser", [later], may_extend=lambda by, unit, day: False)
    assert (
        refused.history[0].ineffective
        == "not allowed: a limit is extended by someone above the handler"
    )


def test_overdue_is_not_resolved_past_the_limit() -> None:
    before, after = from_ms(1_763_500_000_000), from_ms(1_895_000_000_000)
    assert not is_overdue(case_of(), before)
    assert is_overdue(case_of(), after)
    assert not is_overdue(case_of(step(1, "resolve")), after)
