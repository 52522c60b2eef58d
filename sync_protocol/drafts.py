"""The numbers of a grid's week or month, ready to pre-fill an analysis: the same function on phone
and server, the same result. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from sync_protocol.lifecycle import DONE, OPEN, Step, fold
from sync_protocol.periods import Period, day_of
from sync_protocol.vocabulary import DUTIES


class Item(Protocol):
    """A living record as a phone shows it, or as the server reads it."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def grid(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...
    @property
    def stamp(self) -> str: ...
    @property
    def by(self) -> str: ...
    @property
    def created_by(self) -> str: ...


class DutyNumbers(msgspec.Struct):
    """Visits, problems raised and resolved under one duty; a visit counts under each of its
    duties.
    """

    visits: int = 0
    problems_raised: int = 0
    problems_resolved: int = 0


class Draft(msgspec.Struct):
    """What a grid did in a week or month. `households_unvisited` names special households (with a
    tag) that nobody visited.
    """

    grid: str
    period: str
    visits: int = 0
    days_visited: int = 0
    households: int = 0
    households_visited: int = 0
    households_unvisited: list[str] = []
    problems_raised: int = 0
    problems_resolved: int = 0
    problems_open: int = 0
    duties: dict[str, DutyNumbers] = {}


def draft(
    items: Iterable[Item], grid: str, period: Period, own_work_from: str | None = None
) -> Draft:
    """The numbers of `grid` in `period` (days of Asia/Shanghai) from its living records; records of
    other grids are passed over.

    The copy of a phone reaches back 62 days, so a draft of an older period is not whole.
    `own_work_from`: see `lifecycle.fold`.
    """
    mine = [item for item in items if item.grid == grid]
    result = Draft(grid, period.name, duties={duty: DutyNumbers() for duty in DUTIES})
    days, visited = set(), set()
    for item in mine:
        if (
            item.kind != "visit"
            or "visited_at" not in item.fields
            or not _within(period, item.fields["visited_at"])
        ):
            continue
        result.visits += 1
        days.add(day_of(item.fields["visited_at"]))
        if item.fields.get("household_id"):
            visited.add(item.fields["household_id"])
        for duty in item.fields.get("duties", ()):
            result.duties.setdefault(duty, DutyNumbers()).visits += 1
    result.days_visited = len(days)
    result.households_visited = len(visited)
    houses = [item for item in mine if item.kind == "household"]
    result.households = len(houses)
    result.households_unvisited = sorted(
        item.id for item in houses if item.fields.get("tags") and item.id not in visited
    )
    _count_problems(result, mine, period, own_work_from)
    return result


def _count_problems(
    result: Draft, mine: list[Item], period: Period, own_work_from: str | None
) -> None:
    steps: dict[str, list[Step]] = {}
    for item in mine:
        if item.kind == "step":
            steps.setdefault(str(item.fields.get("problem_id")), []).append(
                Step(item.id, item.stamp, item.created_by, item.fields)
            )
    for item in mine:
        if item.kind != "problem" or "raised_at" not in item.fields:
            continue
        case = fold(
            item.fields,
            item.grid,
            item.created_by,
            steps.get(item.id, ()),
            own_work_from=own_work_from,
        )
        if case.state not in OPEN | DONE:
            continue
        numbers = result.duties.setdefault(item.fields["duty"], DutyNumbers())
        if _within(period, item.fields["raised_at"]):
            result.problems_raised += 1
            numbers.problems_raised += 1
        if case.resolved_at is not None and _within(period, case.resolved_at):
            result.problems_resolved += 1
            numbers.problems_resolved += 1
        # Open at the end of the period: raised by then, and not resolved by then.
        if day_of(item.fields["raised_at"]) <= period.last and (
            case.resolved_at is None or day_of(case.resolved_at) > period.last
        ):
            result.problems_open += 1


def _within(period: Period, moment: str) -> bool:
    return period.first <= day_of(moment) <= period.last
