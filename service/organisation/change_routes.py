"""The routes that change units: `POST /v1/units`, `PATCH /v1/units/{code}`, and moving, splitting,
merging, closing; and one unit with its history.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.ids import MadeId
from service.http.names import Mongolian, Name
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.conditions import prefix_range
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import HELD, INVALID, NOT_NOW, READING, Problem, documented
from service.kit.state import state_of
from service.organisation import change_queries, queries
from service.organisation.changes import Changes, Moved
from service.organisation.routes import UnitItem, unit_item
from service.organisation.staffing import PostWarning, warnings_of_units
from service.organisation.tree import Tree
from service.organisation.units import absent, in_scope
from sync_protocol.periods import midnight

router = APIRouter(prefix="/v1/units", tags=["units"])

_CHANGING = documented(*READING, NOT_NOW, HELD)
_CODE = r"^\d{1,15}$"
Code = Annotated[str, Path(pattern=_CODE, examples=["150221100201"])]
PartyGroup = Annotated[str, Field(pattern=r"^(none|group|branch)$")]
GoLive = Annotated[date, Field(description="Before this day nothing of the grids below is missing")]


class Named(RequestBody):
    """What may be said of a new unit beside its name."""

    name_mn: Mongolian | None = Field(None, description="In traditional Mongolian")
    kind: str = Field("", max_length=40)
    party_group: PartyGroup = "none"
    go_live: GoLive | None = None


class NewUnit(Named):
    """A unit to be made right below another. `code`: the official one; a grid gets the next number
    of its village without.
    """

    parent: str = Field(pattern=_CODE, examples=["150221100201"])
    code: str | None = Field(None, pattern=_CODE)
    name: Name
    since: date | None = Field(None, description="Its first day; today if left out")


class UnitChange(RequestBody):
    """What is to be another of a unit; what is left out stays. Former names are kept."""

    name: Name | None = None
    name_mn: Mongolian | None = None
    kind: str | None = Field(None, max_length=40)
    party_group: PartyGroup | None = None
    go_live: GoLive | None = None


class Move(RequestBody):
    """Under which unit, and from which day on; tomorrow at the earliest."""

    to: str = Field(pattern=_CODE, examples=["150221104"])
    valid_from: date = Field(alias="from")


class Trial(RequestBody):
    """What may be asked for first without being done."""

    dry_run: bool = Field(False, description="Answer what would happen, and write nothing")


class Split(Named, Trial):
    """The new grid and the households that go to it."""

    name: Name
    code: str | None = Field(None, pattern=_CODE, description="The next number if left out")
    households: list[MadeId] = Field(min_length=1, max_length=1000)


class Into(Trial):
    """Where households go, or the units below."""

    to: str = Field(pattern=_CODE)


class Closing(Trial):
    """Where households go, or the units below, if there are any."""

    to: str | None = Field(None, pattern=_CODE)


class ChangeItem(BaseModel):
    """What was done to a unit."""

    at: datetime
    staff_code: str
    action: str
    details: dict[str, Any]


class ParentItem(BaseModel):
    """The unit above from a day (none: always) to a day (excluded; none: still)."""

    parent: str | None
    valid_from: date | None
    valid_to: date | None


class UnitDetail(UnitItem):
    """A unit with its units above over time, its history, and the cadres who have a post there."""

    parents: list[ParentItem]
    changes: list[ChangeItem]
    cadres: list[str]


class PostLeft(BaseModel):
    """A post that goes on at a unit that closes."""

    id: str
    staff_code: str
    role: str
    valid_to: datetime | None


class Changed(BaseModel):
    """What came of a change: the unit, for a split the new one; what went from grid to grid; and
    which posts are left at a unit that closes. With `dry_run` what would come of it.
    """

    unit: UnitDetail
    dry_run: bool = False
    households: int = 0
    problems: int = Field(0, description="Open ones, which go with the households")
    steps: int = 0
    posts_left: list[PostLeft] = []
    warnings: list[PostWarning] = []


@router.get(
    "/{code}",
    summary="A unit with its history",
    operation_id="get_unit",
    responses=documented(*READING),
)
async def unit(request: Request, caller: Signed, code: Code) -> UnitDetail:
    """Names, units above and changes, with their days."""
    in_scope(caller, code)
    async with state_of(request).database.transaction() as connection:
        found = await _detail(connection, caller, caller.tree, code)
        await note(connection, request, caller, "unit", [code], 1)
        return found


@router.post(
    "", status_code=201, summary="Make a unit", operation_id="create_unit", responses=_CHANGING
)
async def create(request: Request, caller: Signed, body: NewUnit) -> Changed:
    """For who administers the unit above. A code that was ever used is never used again."""
    values = body.model_dump(exclude={"parent", "code"}, exclude_none=True)
    values.setdefault("since", caller.today)

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        return await changes.create(body.parent, body.code, values), None

    return await _change(request, caller, "unit-created", work)


@router.patch("/{code}", summary="Rename a unit", operation_id="change_unit", responses=_CHANGING)
async def change(request: Request, caller: Signed, code: Code, body: UnitChange) -> Changed:
    """Name, Mongolian name, kind, party group, and the day on which it goes live."""
    values = body.model_dump(exclude_none=True)
    if not values:
        raise Problem(INVALID, "Nothing is to be changed; give a name or another value.")

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        await changes.rename(code, values)
        return code, None

    return await _change(request, caller, "unit-changed", work)


@router.post(
    "/{code}/move",
    summary="Move a unit under another",
    operation_id="move_unit",
    responses=_CHANGING,
)
async def move(request: Request, caller: Signed, code: Code, body: Move) -> Changed:
    """From a midnight to come: rights, lists and summaries of that day and later follow; what was
    written stays, and summaries of periods before show the tree as it was.
    """

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        await changes.move(code, body.to, body.valid_from)
        return code, None

    return await _change(request, caller, "unit-moved", work)


@router.post(
    "/{code}/split", summary="Split a grid", operation_id="split_unit", responses=_CHANGING
)
async def split(request: Request, caller: Signed, code: Code, body: Split) -> Changed:
    """Makes a grid beside it and sends the chosen households there, with what is not ended of their
    problems; phones follow with their next sync.
    """
    values = body.model_dump(exclude={"code", "households", "dry_run"}, exclude_none=True)

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        return await changes.split(code, body.code, values, body.households)

    return await _change(request, caller, "unit-split", work, body.dry_run)


@router.post(
    "/{code}/merge",
    summary="Merge a grid into another",
    operation_id="merge_unit",
    responses=_CHANGING,
)
async def merge(request: Request, caller: Signed, code: Code, body: Into) -> Changed:
    """All its households go to the other grid; it is closed after today."""

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        return code, await changes.merge(code, body.to)

    return await _change(request, caller, "unit-merged", work, body.dry_run)


@router.post(
    "/{code}/close", summary="Close a unit", operation_id="close_unit", responses=_CHANGING
)
async def close(request: Request, caller: Signed, code: Code, body: Closing) -> Changed:
    """Today is its last day. A grid must be empty, or say where its households go; another unit
    must have no open units below, or say where they go.
    """

    async def work(changes: Changes) -> tuple[str, Moved | None]:
        return code, await changes.close(code, body.to)

    return await _change(request, caller, "unit-closed", work, body.dry_run)


async def _change(
    request: Request,
    caller: Caller,
    action: str,
    work: Callable[[Changes], Awaitable[tuple[str, Moved | None]]],
    dry_run: bool = False,
) -> Changed:
    state = state_of(request)
    done: list[Changed] = []

    async def once() -> None:
        async with state.database.transaction() as connection:
            changes = Changes(connection, state.settings, caller)
            await changes.begin()
            code, moved = await work(changes)
            count = 1 if moved is None else sum(moved)
            await note(connection, request, caller, action, [code], count)
            done[:] = [await _changed(connection, caller, changes, code, moved)]
            done[0].dry_run = dry_run
            if dry_run:
                raise _NotForGoodError

    with suppress(_NotForGoodError):
        await retry_on_conflict(once)
    return done[0]


class _NotForGoodError(Exception):
    """Takes a transaction back that only shows what would happen."""


async def _changed(
    connection: Connection, caller: Caller, changes: Changes, code: str, moved: Moved | None
) -> Changed:
    detail = await _detail(connection, caller, changes.tree, code)
    units = sorted({code, *changes.touched})
    begins = caller.now if detail.since is None else max(caller.now, midnight(detail.since))
    closes = detail.closed is not None
    left = await change_queries.posts_going_on(connection, code, caller.now) if closes else []
    return Changed(
        unit=detail,
        posts_left=[PostLeft(**dict(row)) for row in left],
        warnings=await warnings_of_units(connection, units, [begins]),
        **({} if moved is None else moved._asdict()),
    )


async def _detail(connection: Connection, caller: Caller, tree: Tree, code: str) -> UnitDetail:
    rows = await queries.units(connection, [prefix_range(code)], None, [code], None, None, 1)
    if not rows:
        raise absent(caller, code)
    facts = tree.units.get(code)
    parents = [] if facts is None else [ParentItem(**spell._asdict()) for spell in facts.spells]
    for one in parents:
        one.valid_from = None if one.valid_from == date.min else one.valid_from
    return UnitDetail(
        **unit_item(tree, rows[0], caller.today).model_dump(),
        parents=parents,
        changes=[
            ChangeItem(**{**dict(row), "details": json.loads(row["details"])})
            for row in await change_queries.changes(connection, code)
        ],
        cadres=await change_queries.posts_at(connection, code, caller.now),
    )
