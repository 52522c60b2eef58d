"""Problems: `GET /v1/problems`, `GET /v1/problems/{id}` with its timeline, and writes through the
one write path.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.cases import filing
from service.http.ids import MadeId, fresh_id
from service.http.strict import RequestBody, refuse_unknown_fields
from service.identity.access import Caller, Signed
from service.identity.rights import holds, may_write
from service.identity.views import View, redact
from service.kit.bounded import cut
from service.kit.database import Connection, retry_on_conflict
from service.kit.encrypted_values import whole_record
from service.kit.encryption_queries import cipher_of
from service.kit.errors import HELD, INVALID, NOT_ALLOWED, NOT_FOUND, READING, Problem, documented
from service.kit.localization import localized
from service.kit.paging import After, Id, Limit, next_after, read_after
from service.kit.state import State, state_of
from service.organisation.units import reach_of
from service.problems import queries
from service.problems.queries import Filters
from service.writes import queries as sync_queries
from service.writes.server_writes import write_as_cadre
from sync_protocol.clock import make_stamp
from sync_protocol.fields import canonical_moment
from sync_protocol.ids import is_uuid
from sync_protocol.lifecycle import Step, fold, next_actions
from sync_protocol.messages import Mutation
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS, PROBLEM
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ACTIONS, DUTIES, SEVERITIES, STATES

router = APIRouter(prefix="/v1/problems", tags=["problems"])

# For so long who ended an assignment by an own step, and no longer sees the problem, may ask for a
# lost answer again.
_ANSWERED_AGAIN = timedelta(days=1)

State_ = Annotated[str | None, Query(pattern=f"^({'|'.join(STATES)})$", examples=["raised"])]
Severity = Annotated[str | None, Query(pattern=f"^({'|'.join(SEVERITIES)})$", examples=["urgent"])]
Duty = Annotated[str | None, Query(pattern=f"^({'|'.join(DUTIES)})$", examples=["emergency"])]
StaffCode = Annotated[
    str | None,
    Query(max_length=40, description="Raised by, in the hands of, or resolved by this cadre"),
]

# Who acts by an assignment refers to no other problem of the grid, see `Judge`.
_BY_ASSIGNMENT = ACTIONS.keys() - {"join"}


class ProblemItem(BaseModel):
    """A problem where it stands. `overdue`: not resolved past its limit, as of now."""

    id: str
    grid: str
    state: str
    title: str
    detail: str | None
    duty: str
    category: str | None
    severity: str
    source: str | None
    raised_at: datetime
    raised_by: str
    handler_unit: str
    handler_cadre: str | None
    due: datetime | None
    overdue: bool
    resolved_at: datetime | None
    resolved_by: str | None
    satisfied: str | None
    escalated: int
    household_id: str | None


class ProblemPage(BaseModel):
    """A page of problems, those raised last first."""

    items: list[ProblemItem]
    next: str | None


class TimelineStep(BaseModel):
    """A step with the state after it. `ineffective` says why it changed nothing,
    `ineffective_reason` in one stable word.

    `clock_offset_ms`: the phone's clock was off by that.
    """

    id: str
    at: datetime | None
    action: str
    label: str
    by: str
    name: str
    state: str
    ineffective: str | None
    ineffective_reason: str | None
    fields: dict[str, Any]
    received_at: datetime
    clock_offset_ms: int | None


class ProblemDetail(ProblemItem):
    """A problem with everything that was recorded of it, and its steps in the order in which they
    happened.
    """

    fields: dict[str, Any]
    reason: str | None
    duplicate_of: str | None
    received_at: datetime
    steps: list[TimelineStep]
    next_actions: list[str] = Field(
        description="Actions that would have an effect now if the caller took them"
    )


class NewProblem(RequestBody):
    """A problem to raise; the fields are those of the record kind `problem`."""

    grid: str = Field(pattern=r"^\d{15}$", examples=["150221100201001"])
    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one problem"
    )
    fields: dict[str, Any] = Field(
        examples=[{"title": "水管冻裂", "duty": "emergency", "severity": "urgent"}]
    )


class NewStep(RequestBody):
    """A step to take; the fields are those of the record kind `step`, without `problem_id`."""

    id: MadeId | None = Field(
        None, description="A UUID made by the client, so that sending twice makes one step"
    )
    action: str = Field(pattern=f"^({'|'.join(ACTIONS)})$", examples=["resolve"])
    fields: dict[str, Any] = Field({}, examples=[{"note": "已换新管"}])


def _item(row: Any, now: datetime) -> dict[str, Any]:
    values = {name: row[name] for name in ProblemItem.model_fields if name != "overdue"}
    late = (
        row["due"] is not None
        and row["state"] not in ("rejected", "joined")
        and (row["resolved_at"] or now) > row["due"]
    )
    return values | {"overdue": late}


@router.get(
    "", summary="Problems of a unit", operation_id="list_problems", responses=documented(*READING)
)
async def problems(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str | None, Query(max_length=20, description="That unit and all below it")
    ] = None,
    state: State_ = None,
    open: Annotated[
        bool | None, Query(description="Whether somebody still has to deal with it")
    ] = None,
    overdue: Annotated[
        bool | None, Query(description="Not resolved past its limit, or resolved after it")
    ] = None,
    severity: Severity = None,
    duty: Duty = None,
    cadre: StaffCode = None,
    handler_unit: Annotated[
        str | None, Query(pattern=r"^\d{4,15}$", description="In the hands of just this unit")
    ] = None,
    text: Annotated[
        str | None,
        Query(min_length=1, max_length=100, description="Part of the title or the detail"),
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> ProblemPage:
    """Those raised last first; without `unit` also those that were assigned to the caller, or the
    caller's units, from elsewhere.
    """
    reach = reach_of(caller, unit)
    filters = Filters(state, open, overdue, severity, duty, cadre, handler_unit, text)
    place = read_after(after)
    async with state_of(request).database.transaction() as connection:
        assigned = await _assigned(connection, caller) if unit is None else []
        found = await queries.problems(
            connection, reach, assigned, filters, caller.now, place, limit + 1
        )
        rows, more = cut(found, limit)
        await note(connection, request, caller, "problems", reach.units, len(rows))
    items = [ProblemItem(**_item(row, caller.now)) for row in rows]
    return ProblemPage(
        items=items, next=next_after(items[-1].raised_at, items[-1].id) if more else None
    )


@router.get(
    "/{id}",
    summary="A problem with its timeline",
    operation_id="get_problem",
    responses=documented(*READING),
)
async def problem(request: Request, caller: Signed, id: Id) -> ProblemDetail:
    """Every step, also those without effect, with the reason."""
    return await _detail(request, caller, id)


async def _view_of(
    connection: Connection, caller: Caller, id: str, grid: str | None
) -> View | None:
    """What the caller sees of a problem that lies in a grid; None when that is nothing."""
    view = caller.view_of(grid) if grid is not None and caller.reaches(grid) else None
    if view is View.TIED and not await queries.is_tied(connection, id, caller.staff_code):
        view = None
    if view is None and grid is not None and id in await _assigned(connection, caller):
        view = View.ASSIGNED
    return view


async def _assigned(connection: Connection, caller: Caller) -> list[str]:
    """The problems that were assigned to the caller, or to one of the caller's units."""
    units = [caller.ranges([unit]) for unit in caller.units()]
    return await queries.assigned_to(connection, caller.staff_code, units)


def _absent(id: str) -> Problem:
    return Problem(NOT_FOUND, Text("There is no problem {id} in your scope.", id=id))


async def _detail(
    request: Request, caller: Caller, id: str, view: View | None = None
) -> ProblemDetail:
    async def read() -> ProblemDetail:
        async with state_of(request).database.transaction() as connection:
            return await _read_detail(connection, request, caller, id, view)

    return await retry_on_conflict(read)


async def _read_detail(
    connection: Connection, request: Request, caller: Caller, id: str, before: View | None
) -> ProblemDetail:
    """`before`: the view that held before the caller's own step, which may have ended it."""
    state = state_of(request)
    row = await queries.problem(connection, id)
    now = None if row is None else await _view_of(connection, caller, id, row["grid"])
    view = before or now
    if row is None or view is None:
        raise _absent(id)
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
    takes: Collection[str] = (
        [] if now is None else _BY_ASSIGNMENT if now is View.ASSIGNED else ACTIONS
    )
    case = fold(
        fields,
        row["grid"],
        row["created_by"],
        steps,
        filing.limit_rule_of(state.settings),
        may_extend,
        own_work_from,
        caller.tree.parent,
    )
    by, stamp = caller.staff_code, make_stamp(to_ms(caller.now))
    return ProblemDetail(
        **_item(row, caller.now),
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
        state=entry.state,
        ineffective=entry.ineffective and localized(entry.ineffective),
        ineffective_reason=entry.reason,
        fields=fields,
        received_at=row["received_at"],
        clock_offset_ms=row["offset_ms"],
    )


@router.post(
    "",
    status_code=201,
    summary="Raise a problem",
    operation_id="raise_problem",
    responses=documented(*READING, HELD),
)
async def raise_problem(request: Request, caller: Signed, body: NewProblem) -> ProblemDetail:
    """Makes a mutation of the cadre's server-side device; `raised_at` is now unless it is given."""
    state = state_of(request)
    refuse_unknown_fields("problem", body.fields)
    fields = {
        "raised_at": canonical_moment(caller.now),
        "source": _source_of(caller, body.grid, body.fields),
        **body.fields,
    }
    id = body.id or fresh_id(request, caller.now)
    if await _is_here(state, caller, id):
        return await _detail(request, caller, id)
    return await _write(request, caller, Mutation(0, "problem", id, body.grid, fields=fields))


def _source_of(caller: Caller, grid: str, fields: Mapping[str, Any]) -> str:
    """Where a problem comes from, unless its fields say it: a visit, the worker of the grid, or
    the inspection of somebody else.
    """
    if fields.get("visit_id") is not None:
        return "visit"
    works_there = holds(caller.posts, caller.now, frozenset({"grid_worker"}), grid)
    return "worker" if works_there else "inspection"


@router.post(
    "/{id}/steps",
    status_code=201,
    summary="Take a step",
    operation_id="take_step",
    responses=documented(*READING, HELD),
)
async def take_step(request: Request, caller: Signed, id: Id, body: NewStep) -> ProblemDetail:
    """Adds a step, as supervisors and village cadres do. One that the state does not allow stays in
    the history without effect.
    """
    state = state_of(request)
    refuse_unknown_fields("step", body.fields)
    for name, said in (("action", body.action), ("problem_id", id)):
        if body.fields.get(name, said) != said:
            raise Problem(
                INVALID,
                Text(
                    "fields.{name} says something else than the request; leave it out of fields.",
                    name=name,
                ),
            )
    step_id = body.id or fresh_id(request, caller.now)
    async with state.database.reading() as connection:
        grid = await queries.grid_of(connection, id)
        view = await _view_of(connection, caller, id, grid)
        known = await queries.step_with(connection, _checked(step_id))
    own = (
        known
        if known is not None
        and (known["created_by"], known["problem_id"]) == (caller.staff_code, id)
        else None
    )
    if own is not None and view is None and own["received_at"] > caller.now - _ANSWERED_AGAIN:
        view = View.ASSIGNED
    if view is None:
        raise _absent(id)
    if known is not None and own is None:
        raise _taken(step_id)
    if own is not None:
        return await _detail(request, caller, id, view)
    fields = {
        "at": canonical_moment(caller.now),
        **body.fields,
        "problem_id": id,
        "action": body.action,
    }
    return await _write(
        request, caller, Mutation(0, "step", step_id, str(grid), fields=fields), view
    )


async def _is_here(state: State, caller: Caller, id: str) -> bool:
    """Whether the caller has raised this problem before: the answer was lost and the client sends
    again.
    """
    async with state.database.reading() as connection:
        author = await queries.author_of(connection, _checked(id))
    if author is not None and author != caller.staff_code:
        raise _taken(id)
    return author is not None


def _checked(id: str) -> str:
    if not is_uuid(id):
        raise Problem(INVALID, "id is no UUID; make one or leave it out.")
    return id


def _taken(id: str) -> Problem:
    return Problem(INVALID, Text("The id {id} is another record's; make a new one.", id=id))


_ACTS = {"problem": "problem-raised", "step": "step-taken"}


async def _write(
    request: Request, caller: Caller, mutation: Mutation, view: View | None = None
) -> ProblemDetail:
    """Writes it, or leaves nothing behind: what a phone would be told later, a caller of the API is
    told at once.

    What is answered is read in the same transaction, so that nothing can fail any more once it is
    committed. `view`: by which the caller takes a step.
    """
    if view is not View.ASSIGNED and not may_write(
        caller.posts, mutation.kind, mutation.grid, caller.now
    ):
        kind = KINDS[mutation.kind].word
        text = Text(
            "{cadre} has no post at present that writes a {kind} in {grid}.",
            cadre=caller.staff_code,
            kind=kind,
            grid=mutation.grid,
        )
        raise Problem(NOT_ALLOWED, text)

    state = state_of(request)

    async def write() -> ProblemDetail:
        async with state.database.transaction() as connection:
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            if verdict.outcome == "held":
                raise Problem(HELD, verdict.detail or "", reason=verdict.reason)
            subject = str(mutation.fields.get("problem_id", mutation.id))
            await note(connection, request, caller, _ACTS[mutation.kind], [subject], 1)
            return await _read_detail(connection, request, caller, subject, view)

    return await retry_on_conflict(write)
