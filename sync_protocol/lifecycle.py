"""The life of a problem: its state is a fold over its steps in stamp order, one pure function for
phone and server.

Steps are facts that people report, often offline and out of order. A step that the state of its
moment does not allow stays in the history as ineffective, with the reason; it is never held.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from sync_protocol.clock import is_stamp, stamp_ms
from sync_protocol.periods import day_of, day_of_ms
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import ACTIONS, CODE_LENGTH, STATES

OPEN = frozenset({"raised", "accepted", "assigned", "handling", "returned", "reopened"})
DONE = frozenset({"resolved", "verified", "closed"})
# Outside every count: two phones report the same burst pipe as a matter of course.
EXCLUDED = frozenset({"rejected", "joined"})

# action -> (states that allow it, the state after it; None leaves the state as it is)
TRANSITIONS: Mapping[str, tuple[frozenset[str], str | None]] = {
    "accept": (frozenset({"raised", "returned", "reopened"}), "accepted"),
    "assign": (OPEN, "assigned"),
    "handle": (frozenset({"raised", "accepted", "assigned", "returned", "reopened"}), "handling"),
    "resolve": (OPEN, "resolved"),
    "verify": (frozenset({"resolved"}), "verified"),
    "close": (frozenset({"resolved", "verified"}), "closed"),
    "return": (frozenset({"accepted", "assigned", "handling", "resolved"}), "returned"),
    "reopen": (frozenset({"resolved", "verified", "closed", "rejected", "joined"}), "reopened"),
    "escalate": (OPEN, "raised"),
    "extend": (OPEN, None),
    "reject": (OPEN, "rejected"),
    "join": (OPEN, "joined"),
    "note": (frozenset(STATES), None),
}

# The end of the year 9998: no clock is right beyond.
_LATEST_MS = 253_370_764_800_000
_UP = sorted(CODE_LENGTH.values(), reverse=True)


def unit_above(code: str, day: date | None = None) -> str | None:
    """The unit right above another as its code says, whatever the day; None above the city."""
    return next((code[:length] for length in _UP if length < len(code)), None)


class Step(msgspec.Struct, frozen=True):
    """A step as the fold reads it: corrected stamp, the author's staff code, the fields of the
    record.
    """

    id: str
    stamp: str
    by: str
    fields: Mapping[str, Any]

    @property
    def day(self) -> date:
        """The day in Asia/Shanghai on which it was written; of a phone's own step that has no stamp
        yet, the first of all days.
        """
        if not is_stamp(self.stamp):
            return date.min
        return day_of_ms(min(stamp_ms(self.stamp), _LATEST_MS))

    @property
    def action(self) -> str:
        """What was done; one of `vocabulary.ACTIONS`."""
        return str(self.fields.get("action", "note"))


class Entry(msgspec.Struct, frozen=True):
    """A step in the history: the state after it, and why it had no effect, if it had none."""

    step: Step
    state: str
    ineffective: str | None = None

    @property
    def reason(self) -> str | None:
        """The same in one stable word: `superseded`, `not-allowed`, `incomplete` or `own-work`."""
        return (
            None
            if self.ineffective is None
            else str(self.ineffective).partition(":")[0].replace(" ", "-")
        )


class Case(msgspec.Struct):
    """Where a problem stands. `handler_unit` is who has to deal with it, `handler_cadre` in whose
    hands it is.

    `resolved_at`, `resolved_by` and `resolved_unit` are those of the resolve step that stands; None
    while none does. `due` is the limit in wire form: by the rule for its severity, or as extended.
    `assigned`: the handlers are those of an assignment that stands. Times are wire moments.
    """

    state: str
    handler_unit: str
    handler_cadre: str | None = None
    raised_at: str | None = None
    raised_by: str | None = None
    resolved_at: str | None = None
    resolved_by: str | None = None
    ended_at: str | None = None
    satisfied: str | None = None
    reason: str | None = None
    duplicate_of: str | None = None
    due: str | None = None
    escalated: int = 0
    assigned: bool = False
    history: list[Entry] = []

    @property
    def counted(self) -> bool:
        """Whether it stands in the counts at all."""
        return self.state not in EXCLUDED

    @property
    def open(self) -> bool:
        """Whether somebody still has to deal with it."""
        return self.state in OPEN


Limit = Callable[[str, str], str]
MayExtend = Callable[[str, str, date], bool]
Above = Callable[[str, date], str | None]


def fold(
    fields: Mapping[str, Any],
    grid: str,
    raised_by: str,
    steps: Iterable[Step],
    limit: Limit | None = None,
    may_extend: MayExtend | None = None,
    own_work_from: str | None = None,
    above: Above = unit_above,
) -> Case:
    """Where a problem with these fields, raised in `grid` by `raised_by`, stands after `steps` (in
    any order).

    `limit(raised_at, severity)` gives the due moment; a phone without the calendar leaves it out
    and `due` stays empty unless extended. `may_extend(staff_code, handler_unit, day)` says whether
    a cadre stands above the handler; left out, anyone does. `own_work_from`: the stamp from which
    nobody verifies the own resolution, as the server tells; left out, the rule does not hold.
    `above(unit, day)` gives the unit right above another on a day of Asia/Shanghai; left out, as
    codes say.
    """
    raised_at = fields.get("raised_at")
    severity = fields.get("severity") or "ordinary"
    case = Case(
        state="raised",
        handler_unit=above(grid, day_of(raised_at) if raised_at else date.min) or grid,
        raised_at=raised_at,
        raised_by=raised_by,
        due=limit(raised_at, severity) if limit and raised_at else None,
    )
    below: list[str] = []
    for step in sorted(steps, key=lambda step: (step.stamp, step.id)):
        why = _refusal(case, step, may_extend, own_work_from, above)
        if why is None:
            _take(case, step, below, above)
        case.history.append(Entry(step, case.state, why))
    return case


def next_actions(
    case: Case,
    by: str,
    stamp: str,
    may_extend: MayExtend | None = None,
    own_work_from: str | None = None,
    above: Above = unit_above,
) -> list[str]:
    """The actions that a cadre could take at a stamp so that they would have an effect; what they
    need besides is left open.
    """
    given = {"to_unit": "-", "duplicate_of": "-", "until": "-"}
    return [
        action
        for action in TRANSITIONS
        if _refusal(
            case, Step("", stamp, by, {"action": action, **given}), may_extend, own_work_from, above
        )
        is None
    ]


def _refusal(
    case: Case,
    step: Step,
    may_extend: MayExtend | None,
    own_work_from: str | None,
    above: Above,
) -> str | None:
    """Why a step has no effect; None when it has."""
    action = step.action
    allowed, _ = TRANSITIONS.get(action, (frozenset(), None))
    if case.state not in allowed:
        if action == "resolve" and case.resolved_by:
            return Text("superseded: already resolved by {cadre}", cadre=case.resolved_by)
        return Text(
            "not allowed: a problem that is {state} does not take {action}",
            state=Word(case.state, STATES[case.state].zh),
            action=Word(action, ACTIONS[action].zh) if action in ACTIONS else action,
        )
    if (
        action == "verify"
        and step.by == case.resolved_by
        and own_work_from is not None
        and step.stamp >= own_work_from
    ):
        return Text(
            "own-work: a resolution is verified by somebody else than the one who resolved it"
        )
    if action == "assign" and not (step.fields.get("to_unit") or step.fields.get("to_cadre")):
        return Text("incomplete: assign needs to_unit or to_cadre")
    if action == "escalate" and above(case.handler_unit, step.day) is None:
        return Text("not allowed: there is no unit above")
    if action == "join" and not step.fields.get("duplicate_of"):
        return Text("incomplete: join needs duplicate_of")
    if action == "join" and step.fields.get("duplicate_of") == step.fields.get("problem_id"):
        return Text("not allowed: a problem cannot be joined to itself")
    if action == "extend" and not step.fields.get("until"):
        return Text("incomplete: extend needs until")
    if action == "extend" and may_extend and not may_extend(step.by, case.handler_unit, step.day):
        return Text("not allowed: a limit is extended by someone above the handler")
    return None


def _take(case: Case, step: Step, below: list[str], above: Above) -> None:
    """Lets an effective step change the case. `below` is the stack of units from which the problem
    was escalated.
    """
    fields = step.fields
    at = fields.get("at")
    match step.action:
        case "accept" | "handle":
            case.handler_cadre = step.by
        case "assign":
            case.handler_unit = fields.get("to_unit") or case.handler_unit
            case.handler_cadre = fields.get("to_cadre")
            case.assigned = True
        case "resolve":
            case.resolved_at, case.resolved_by = at, step.by
        case "verify":
            case.satisfied = fields.get("satisfied") or "unasked"
        case "return" | "reopen":
            case.resolved_at = case.resolved_by = case.satisfied = case.reason = (
                case.duplicate_of
            ) = None
            if step.action == "return" and below:
                case.handler_unit = below.pop()
            case.handler_cadre = None
            case.assigned = False
        case "escalate":
            below.append(case.handler_unit)
            case.handler_unit = above(case.handler_unit, step.day) or case.handler_unit
            case.handler_cadre = None
            case.assigned = False
            case.escalated += 1
        case "extend":
            case.due = fields.get("until")
        case "reject":
            case.reason = fields.get("reason")
        case "join":
            case.duplicate_of = fields.get("duplicate_of")
    after = TRANSITIONS[step.action][1]
    if after is not None:
        case.state = after
        case.ended_at = at if after in ("closed", "rejected", "joined") else None


def is_overdue(case: Case, now: datetime) -> bool:
    """Whether the problem is past its limit: not resolved by `due`, as seen at `now`."""
    if case.due is None or not case.counted:
        return False
    due = datetime.fromisoformat(case.due)
    if case.resolved_at is not None:
        return datetime.fromisoformat(case.resolved_at) > due
    return now > due
