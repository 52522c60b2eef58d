"""What a cadre's phone is to hold, worked out anew and plainly from posts, ties and steps: the
oracle for views and rights.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sync_protocol import lifecycle

if TYPE_CHECKING:
    from simulator.units import Units

Records = Mapping[tuple[str, str], Mapping[str, Any]]

_WORKS = {
    "grid_worker",
    "village_secretary",
    "first_secretary",
    "village_committee",
    "village_supervisor",
}
_SUPERVISES = {"supervisor", "admin"}
# No phone of a supervisor holds these: personal data, exact places, and fields that only a newer
# app knows.
HIDDEN = {"phone", "address", "contact", "location", "mood"}
_LATE = timedelta(days=7)
# The staff code, and the columns of a `Post`.
EVERY_POST = "SELECT staff_code, role, unit, valid_from, valid_to, end_recorded_at FROM post"


class Post(NamedTuple):
    """A post: what, where, from when to when, and when its end was entered."""

    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None
    end_recorded_at: datetime | None

    def at(self, moment: datetime) -> bool:
        """Whether it was held at a moment."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)

    def too_late(self, received: datetime) -> bool:
        """Whether what was written under it comes too late to count without a person."""
        return (
            self.valid_to is not None
            and received > max(self.valid_to, self.end_recorded_at or self.valid_to) + _LATE
        )


def view_of(posts: Iterable[Post], grid: str, now: datetime, units: "Units") -> str | None:
    """The widest view that the present posts give of a grid: `full`, `reduced` or `tied`."""
    roles = {post.role for post in posts if post.at(now) and units.under(post.unit, grid, now)}
    if roles & _WORKS:
        return "full"
    return "reduced" if roles & _SUPERVISES else "tied" if "contact_member" in roles else None


def assigned_to(
    records: Records,
    staff_code: str,
    posts: Iterable[Post],
    now: datetime,
    own_work_from: str,
    units: "Units",
) -> set[str]:
    """The problems in the hands of a cadre, or of a unit below one of the cadre's posts elsewhere,
    by an assignment that stands.

    `own_work_from`: the stamp from which nobody verifies the own resolution.
    """
    tops = tuple(post.unit for post in posts if post.at(now))
    found = set()
    for (kind, id), record in records.items():
        if kind != "problem" or not tops:
            continue
        steps = [
            lifecycle.Step(step, other["stamp"], other["created_by"], other["fields"])
            for (of, step), other in records.items()
            if of == "step" and other["fields"].get("problem_id") == id
        ]
        case = lifecycle.fold(
            record["fields"],
            record["grid"],
            record["created_by"],
            steps,
            own_work_from=own_work_from,
            above=units.parent,
        )
        elsewhere = [top for top in tops if not units.under(top, record["grid"], now)]
        mine = case.handler_cadre == staff_code or any(
            units.under(top, case.handler_unit, now) for top in elsewhere
        )
        if mine and case.assigned and case.ended_at is None:
            found.add(id)
    return found


def expected_copy(
    records: Records,
    staff_code: str,
    posts: Iterable[Post],
    now: datetime,
    own_work_from: str,
    units: "Units",
) -> dict[tuple[str, str], dict[str, Any]]:
    """The fields of every living record that a cadre's phone is shown, by kind and id;
    `own_work_from` as in `assigned_to`.
    """
    posts = list(posts)
    assigned = assigned_to(records, staff_code, posts, now, own_work_from, units)
    found = {}
    for (kind, id), record in records.items():
        if record["deleted"]:
            continue
        fields = record["fields"]
        view = view_of(posts, record["grid"], now, units)
        problem = id if kind == "problem" else fields.get("problem_id") if kind == "step" else None
        is_tied = view == "tied" and _is_tied(records, kind, record, staff_code)
        if view in ("full", "reduced") or is_tied or problem in assigned:
            # Who is tied and handles a problem as well sees it as one who is tied.
            hidden = set() if view == "full" else {"mood"} if view == "tied" else HIDDEN
            found[kind, id] = {name: value for name, value in fields.items() if name not in hidden}
    return found


def _is_tied(records: Records, kind: str, record: Mapping[str, Any], member: str) -> bool:
    """Whether a record is a contact member's own, or about a household that is tied to the
    member.
    """
    if kind == "household":
        return bool(record["fields"].get("contact_member") == member)
    if record["created_by"] == member:
        return True
    if kind == "step":
        problem = records.get(("problem", record["fields"].get("problem_id", "")))
        return problem is not None and _is_tied(records, "problem", problem, member)
    house = records.get(("household", record["fields"].get("household_id") or ""))
    return (
        house is not None and not house["deleted"] and _is_tied(records, "household", house, member)
    )
