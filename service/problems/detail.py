"""A problem with its steps, as far as somebody sees it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from fastapi import Request

from service.audit.audit_log import note
from service.cases import filing
from service.identity.access import Caller
from service.identity.views import View, redact
from service.kit.database import Connection, retry_on_conflict
from service.kit.encrypted_values import whole_record
from service.kit.encryption_queries import cipher_of
from service.kit.errors import NOT_FOUND, Problem
from service.kit.localization import localized
from service.kit.state import state_of
from service.problems import queries
from service.problems.answers import (
    ProblemDetail,
    ProblemItem,
    TimelineStep,
)
from service.problems.numbers import number_of
from service.vocabulary.keeping import current_reference_data
from service.vocabulary.rules import Rules
from service.writes import queries as sync_queries
from sync_protocol.clock import make_stamp
from sync_protocol.lifecycle import Step, fold, next_actions
from sync_protocol.periods import to_ms
from sync_protocol.records import PROBLEM
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ACTIONS


def item(row: Any, now: datetime) -> dict[str, Any]:
    """What a list says of a problem, as of now."""
    made = {"number": number_of(row["id"], row["raised_at"])}
    names = ProblemItem.model_fields.keys() - {"number", "overdue"}
    values = {name: row[name] for name in names}
    late = (
        row["due"] is not None
        and row["state"] not in ("rejected", "joined")
        and (row["resolved_at"] or now) > row["due"]
    )
    return values | made | {"overdue": late}


async def view_of(connection: Connection, caller: Caller, id: str, grid: str | None) -> View | None:
    """What the caller sees of a problem that lies in a grid; None when that is nothing."""
    view = caller.view_of(grid) if grid is not None and caller.reaches(grid) else None
    if view is View.TIED and not await queries.is_tied(
        connection, id, caller.staff_code, caller.today
    ):
        view = None
    if view is None and grid is not None and id in await assigned_to(connection, caller):
        view = View.ASSIGNED
    return view


async def assigned_to(connection: Connection, caller: Caller) -> list[str]:
    """The problems that were assigned to the caller, or to one of the caller's units."""
    units = [caller.ranges([unit]) for unit in caller.units()]
    return await queries.assigned_to(connection, caller.staff_code, units)


def absent(id: str) -> Problem:
    """The answer where somebody asks for a problem that is not there, or that is not shown."""
    return Problem(NOT_FOUND, Text("There is no problem {id} in your scope.", id=id))


async def detail(
    request: Request, caller: Caller, id: str, view: View | None = None
) -> ProblemDetail:
    """A problem as the caller sees it, noted in the trail; raises `Problem` where it is not shown.
    `view`: what held before the caller's own step, which may have ended it.
    """

    async def read() -> ProblemDetail:
        async with state_of(request).database.transaction() as connection:
            return await read_detail(connection, request, caller, id, view)

    return await retry_on_conflict(read)


async def read_detail(
    connection: Connection, request: Request, caller: Caller, id: str, before: View | None
) -> ProblemDetail:
    """`before`: the view that held before the caller's own step, which may have ended it."""
    state = state_of(request)
    row = await queries.problem(connection, id)
    now = None if row is None else await view_of(connection, caller, id, row["grid"])
    view = before or now
    if row is None or view is None:
        raise absent(id)
    await note(connection, request, caller, "problem", [id], 1)
    rows = await queries.steps(connection, id)
    own_work_from = await sync_queries.own_work_from(connection)
    cipher = await cipher_of(connection, state.settings)
    fields = msgspec.json.decode(
        whole_record(cipher, PROBLEM, row["id"], row["fields"], row["personal"])
    )
    by_id = {item["id"]: item for item in rows}
    steps = [
        Step(
            item["id"],
            f"{item['stamp']:016x}",
            item["created_by"],
            msgspec.json.decode(item["fields"]),
        )
        for item in rows
    ]
    may_extend = await filing.ranks_above(
        connection,
        {caller.staff_code, *(step.by for step in steps if step.action == "extend")},
        caller.tree,
    )
    rules = Rules(state.settings, caller.tree, await current_reference_data(connection))
    takes: Collection[str] = (
        [] if now is None else BY_ASSIGNMENT if now is View.ASSIGNED else ACTIONS
    )
    case = fold(
        fields,
        row["grid"],
        row["created_by"],
        steps,
        rules.limit_of(row["grid"]),
        may_extend,
        own_work_from,
        caller.tree.parent,
    )
    by, stamp = caller.staff_code, make_stamp(to_ms(caller.now))
    return ProblemDetail(
        **item(row, caller.now),
        fields=redact("problem", fields, view),
        reason=case.reason,
        duplicate_of=case.duplicate_of,
        received_at=row["received_at"],
        steps=[_timeline(entry, by_id[entry.step.id], view) for entry in case.history],
        next_actions=[
            action
            for action in next_actions(
                case, by, stamp, may_extend, own_work_from, caller.tree.parent
            )
            if action in takes
        ],
    )


def _timeline(entry: Any, row: Any, view: View) -> TimelineStep:
    fields = redact("step", entry.step.fields, view)
    fields.pop("problem_id", None)
    return TimelineStep(
        id=entry.step.id,
        at=fields.get("at"),
        action=entry.step.action,
        label=ACTIONS[entry.step.action].zh,
        by=entry.step.by,
        name=row["name"],
        device=row["device"],
        device_name=row["device_name"],
        state=entry.state,
        ineffective=entry.ineffective and localized(entry.ineffective),
        ineffective_reason=entry.reason,
        fields=fields,
        received_at=row["received_at"],
        clock_offset_ms=row["offset_ms"],
    )


# Who acts by an assignment refers to no other problem of the grid, see `Judge`.
BY_ASSIGNMENT = ACTIONS.keys() - {"join"}
