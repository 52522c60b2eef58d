"""Problems: `GET /v1/problems`, `GET /v1/problems/{id}` with its timeline, and writes through the
one write path.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from service.audit.audit_log import note
from service.http.ids import fresh_id, id_taken
from service.http.strict import refuse_unknown_fields
from service.identity.access import Caller, Signed
from service.identity.rights import holds, may_write
from service.identity.staff_codes import key_of
from service.identity.views import View
from service.kit.bounded import cut
from service.kit.database import retry_on_conflict
from service.kit.errors import HELD, INVALID, NOT_ALLOWED, READING, Problem, documented
from service.kit.paging import After, Id, Limit, next_after, read_after
from service.kit.state import State, state_of
from service.organisation.units import MaybePeriod, UnitFilter, reach_of
from service.problems import queries
from service.problems.answers import (
    NewProblem,
    NewStep,
    ProblemDetail,
    ProblemItem,
    ProblemPage,
)
from service.problems.detail import absent, assigned_to, detail, item, read_detail, view_of
from service.problems.queries import Filters
from service.vocabulary.terms import WORD_PATTERN
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.records import KINDS
from sync_protocol.texts import Text
from sync_protocol.vocabulary import SEVERITIES, SOURCES, STATES

router = APIRouter(prefix="/v1/problems", tags=["problems"])

# For so long who ended an assignment by an own step, and no longer sees the problem, may ask for a
# lost answer again.
_ANSWERED_AGAIN = timedelta(days=1)

State_ = Annotated[str | None, Query(pattern=f"^({'|'.join(STATES)})$", examples=["raised"])]
Severity = Annotated[str | None, Query(pattern=f"^({'|'.join(SEVERITIES)})$", examples=["urgent"])]
Duty = Annotated[str | None, Query(pattern=WORD_PATTERN, examples=["emergency"])]
StaffCode = Annotated[
    str | None,
    Query(max_length=40, description="Raised by, in the hands of, or resolved by this cadre"),
]


@router.get(
    "", summary="Problems of a unit", operation_id="list_problems", responses=documented(*READING)
)
async def problems(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
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
        Query(
            min_length=1,
            max_length=100,
            description="Part of the title or the detail, or the `number` of a problem",
        ),
    ] = None,
    category: Annotated[str | None, Query(max_length=100, examples=["dispute"])] = None,
    dispute_kind: Annotated[
        str | None, Query(pattern=WORD_PATTERN, examples=["neighbours"])
    ] = None,
    source: Annotated[str | None, Query(pattern=f"^({'|'.join(SOURCES)})$")] = None,
    period: MaybePeriod = None,
    by: Annotated[
        Literal["raised", "resolved", "due"],
        Query(description="With a period: those that were raised, were resolved or are due in it"),
    ] = "raised",
    limit: Limit = 100,
    after: After = None,
) -> ProblemPage:
    """Those raised last first; without `unit` also those that were assigned to the caller, or the
    caller's units, from elsewhere.
    """
    reach = reach_of(caller, unit)
    place = read_after(after)
    async with state_of(request).database.transaction() as connection:
        key = None if cadre is None else await key_of(connection, cadre)
        filters = Filters(
            *(state, open, overdue, severity, duty, key, handler_unit, text, category, source),
            period,
            by,
            dispute_kind,
        )
        assigned = await assigned_to(connection, caller) if unit is None else []
        found = await queries.problems(
            connection, reach, assigned, filters, caller.now, place, limit + 1
        )
        rows, more = cut(found, limit)
        await note(connection, request, caller, "problems", reach.units, len(rows))
    items = [ProblemItem(**item(row, caller.now)) for row in rows]
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
    return await detail(request, caller, id)


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
        return await detail(request, caller, id)
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
        view = await view_of(connection, caller, id, grid)
        known = await queries.step_with(connection, step_id)
    own = (
        known
        if known is not None
        and (known["created_by"], known["problem_id"]) == (caller.staff_code, id)
        else None
    )
    if own is not None and view is None and own["received_at"] > caller.now - _ANSWERED_AGAIN:
        view = View.ASSIGNED
    if view is None:
        raise absent(id)
    if known is not None and own is None:
        raise id_taken(step_id)
    if own is not None:
        return await detail(request, caller, id, view)
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
        author = await queries.author_of(connection, id)
    if author is not None and author != caller.staff_code:
        raise id_taken(id)
    return author is not None


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
            refuse_held(verdict)
            subject = str(mutation.fields.get("problem_id", mutation.id))
            await note(connection, request, caller, _ACTS[mutation.kind], [subject], 1)
            return await read_detail(connection, request, caller, subject, view)

    return await retry_on_conflict(write)
