"""What a record counts by: the facts of visits, problems and households from which the tallies
follow. Pure.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sync_protocol.clock import stamp_ms
from sync_protocol.periods import day_of, day_of_ms

if TYPE_CHECKING:
    from service.cases.filing import Filed


class VisitFacts(NamedTuple):
    """What a living visit counts by. `written`: the day on which it was written, by the corrected
    clock.
    """

    grid: str
    by: str
    day: date
    duties: tuple[str, ...]
    household: str | None
    written: date
    received_at: datetime


# The fields of a visit that its facts are made of.
VISIT_COUNTS_BY = frozenset({"visited_at", "duties", "household_id"})


class CaseFacts(NamedTuple):
    """What a counted problem counts by; `resolved` and `resolved_by` are None while no resolution
    stands.

    `closed`: the day on which it stopped being open; `became_overdue`: the day in which its limit
    lies, when it was still open then.
    """

    grid: str
    duty: str
    severity: str
    raised: date
    raised_by: str
    resolved: date | None
    resolved_by: str | None
    closed: date | None
    became_overdue: date | None
    received_at: datetime
    category: str | None = None


class HouseholdFacts(NamedTuple):
    """What a living household counts by. `present`: whether it lives here, and is one of the
    grid's households; `contact`: whether a party member is tied to it.
    """

    grid: str
    present: bool
    contact: bool


def visit_facts(
    grid: str,
    created_by: str,
    fields: Mapping[str, Any],
    first_stamp: str,
    received_at: datetime,
    deleted: bool = False,
) -> VisitFacts | None:
    """The facts of a visit; None for one that counts nowhere."""
    visited_at = fields.get("visited_at")
    if deleted or visited_at is None:
        return None
    written = day_of_ms(stamp_ms(first_stamp))
    duties = tuple(fields.get("duties", ()))
    return VisitFacts(
        grid,
        created_by,
        day_of(visited_at),
        duties,
        fields.get("household_id"),
        written,
        received_at,
    )


def case_facts(filed: "Filed | None") -> CaseFacts | None:
    """The facts of a problem where it stands; None for one that counts nowhere."""
    if filed is None:
        return None
    case = filed.case
    if not case.counted or case.raised_at is None or case.raised_by is None:
        return None
    raised = day_of(case.raised_at)
    resolved = day_of(case.resolved_at) if case.resolved_at is not None else None
    credited = resolved if case.resolved_by is not None else None
    # Nothing is open, or late, before it was raised, whatever the times of its steps say.
    closed = None if resolved is None else max(resolved, raised)
    in_time = case.due is None or (case.resolved_at is not None and case.resolved_at <= case.due)
    return CaseFacts(
        grid=filed.grid,
        duty=filed.duty,
        severity=filed.severity,
        raised=raised,
        raised_by=case.raised_by,
        resolved=credited,
        resolved_by=case.resolved_by if credited else None,
        closed=closed,
        became_overdue=None if in_time or case.due is None else max(day_of(case.due), raised),
        received_at=filed.received_at,
        category=filed.category,
    )


def household_facts(
    grid: str, fields: Mapping[str, Any], deleted: bool = False
) -> HouseholdFacts | None:
    """The facts of a household; None for a deleted one."""
    if deleted:
        return None
    return HouseholdFacts(
        grid,
        fields.get("state", "present") == "present",
        fields.get("contact_member") is not None,
    )
