"""Villages that are marked as model, weak or lagging, with their plans: `/v1/marks`."""

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from service.audit.audit_log import note
from service.identity.access import Signed
from service.indicators import queries
from service.indicators.answers import Mark, MarkItem, MarkPage, NewMark, PlanStep
from service.kit.bounded import cut
from service.kit.errors import INVALID, READING, Problem, documented
from service.kit.paging import After, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import UnitFilter, UnitOut, scope_of, unit_in_scope
from sync_protocol.vocabulary import MARKS

router = APIRouter(prefix="/v1/marks", tags=["indicators"])


@router.get(
    "",
    summary="Model, weak and lagging villages",
    operation_id="list_marks",
    responses=documented(*READING),
)
async def list_marks(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    mark: Mark | None = None,
    on: Annotated[
        date | None, Query(description="Those that hold on this day; today if left out")
    ] = None,
    ended: Annotated[bool, Query(description="Also what has ended, or is yet to begin")] = False,
    limit: Limit = 100,
    after: After = None,
) -> MarkPage:
    """In order of unit, each with its plan."""
    ranges = caller.ranges(scope_of(caller, unit))
    day = on or caller.today
    async with state_of(request).database.reading() as connection:
        rows, more = cut(
            await queries.marks(
                connection, ranges, mark, None if ended else day, read_place(after), limit + 1
            ),
            limit,
        )
        units = await queries.count_marks(connection, ranges, day)
        await note(connection, request, caller, "marks", scope_of(caller, unit), len(rows))
    last = next_place(rows[-1]["unit"], rows[-1]["id"]) if more else None
    return MarkPage(
        items=[_item(row, caller.today) for row in rows],
        units={name: units.get(name, 0) for name in MARKS},
        next=last,
    )


def _item(row: Any, today: date) -> MarkItem:
    plan = [PlanStep(**step) for step in json.loads(row["plan"])]
    names = ("mark", "valid_from", "valid_to", "note", "set_by", "set_at")
    return MarkItem(
        unit=UnitOut(code=row["unit"], level=row["level"], name=row["unit_name"]),
        label=MARKS[row["mark"]].zh,
        plan=plan,
        overdue_steps=sum(step.done_on is None and step.due < today for step in plan),
        **{name: row[name] for name in names},
    )


@router.put(
    "/{unit}",
    summary="Mark a village, with its plan",
    operation_id="put_mark",
    responses=documented(*READING),
)
async def put_mark(
    request: Request,
    caller: Signed,
    unit: Annotated[str, Path(pattern=r"^\d{4,15}$")],
    body: NewMark,
) -> MarkItem:
    """From a day on, in the place of the same mark that begins on that day; the whole plan is put
    in the place of the one before.
    """
    first = body.valid_from or caller.today
    if body.valid_to is not None and body.valid_to <= first:
        raise Problem(INVALID, "valid_to lies on valid_from or before it; it is the day after.")
    values = body.model_dump(mode="json", include={"mark", "note", "plan"})
    values |= {"unit": unit, "valid_from": first, "valid_to": body.valid_to}
    async with unit_in_scope(request, caller, unit):
        pass
    async with state_of(request).database.transaction() as connection:
        await queries.put_mark(connection, values, caller.staff_code, caller.now)
        await note(connection, request, caller, "unit-marked", [unit, body.mark], 1)
        ranges = caller.ranges([unit])
        rows = await queries.marks(connection, ranges, body.mark, None, None, 1000)
    return next(
        _item(row, caller.today)
        for row in rows
        if row["unit"] == unit and row["valid_from"] == first
    )
