"""Households that are added or moved over REST, and which others they may be: `POST
/v1/households`, `POST /v1/households/{id}/move`, `GET /v1/households/{id}/duplicates`.
"""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.households import queries
from service.households.duplicates import Duplicate, duplicates_of
from service.households.routes import HouseholdItem, household_in_scope, item_of
from service.http.ids import fresh_id
from service.http.strict import RequestBody, refuse_unknown_fields
from service.identity.access import Caller, Signed
from service.identity.rights import may_write
from service.kit.database import Connection, retry_on_conflict
from service.kit.encrypted_values import held_detail
from service.kit.encryption_queries import cipher_of
from service.kit.errors import HELD, INVALID, NOT_ALLOWED, NOT_NOW, READING, Problem, documented
from service.kit.localization import localized
from service.kit.paging import Id
from service.kit.state import State, state_of
from service.organisation.units import GridCode
from service.writes import held_queries
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["households"])


class Duplicates(BaseModel):
    """Households that may be the same one, those with more in common first."""

    items: list[Duplicate]


class NewHousehold(RequestBody):
    """A household to be added; `fields` are those of the record kind `household`."""

    grid: GridCode
    fields: dict[str, Any] = Field(
        min_length=1, examples=[{"head_name": "苏和", "phone": "10012345678"}]
    )


class AddedHousehold(BaseModel):
    """The household as it is now, and which others of the caller's may be the same one."""

    household: HouseholdItem
    possible_duplicates: list[Duplicate]


class HouseholdMove(RequestBody):
    """The grid to which a household moves."""

    to: GridCode


class MovedHousehold(BaseModel):
    """`moved`: it is there, with its open problems; `waiting`: who covers both grids has to accept
    it, by releasing the held mutation `held` (`detail` says who that is).

    `former_grid`: the grid that it has left, whose workers (`former_workers`) nothing else tells of
    it: their phones drop the household with the next sync, and their lists no longer have it.
    """

    outcome: Literal["moved", "waiting"]
    grid: str = Field(description="Where the household is now")
    detail: str | None = None
    held: str | None = Field(
        None, description="The held mutation that waits; `POST /v1/held/{id}/release` accepts it"
    )
    former_grid: str | None = None
    former_workers: list[str] = Field([], description="Staff codes")


@router.post(
    "/households",
    status_code=201,
    summary="Add a household",
    operation_id="create_household",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def create(request: Request, caller: Signed, body: NewHousehold) -> AddedHousehold:
    """A mutation of the cadre's server-side device. Others with the same head or phone are told,
    and hinder nothing.
    """
    state = state_of(request)
    refuse_unknown_fields("household", body.fields)
    _refuse_to_write(caller, body.grid)
    _refuse_closed(caller, body.grid)
    id = fresh_id(request, caller.now)

    async def write() -> AddedHousehold:
        async with state.database.transaction() as connection:
            mutation = Mutation(0, "household", id, body.grid, fields=dict(body.fields))
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            refuse_held(verdict)
            row = await household_in_scope(connection, caller, id)
            cipher = await cipher_of(connection, state.settings)
            found = await duplicates_of(connection, cipher, caller, row)
            await note(connection, request, caller, "household-added", [id], 1 + len(found))
            return AddedHousehold(household=item_of(row, cipher, caller), possible_duplicates=found)

    return await retry_on_conflict(write)


@router.get(
    "/households/{id}/duplicates",
    summary="Households that may be the same",
    operation_id="household_duplicates",
    responses=documented(*READING),
)
async def duplicates(request: Request, caller: Signed, id: Id) -> Duplicates:
    """Those with the same head in the village, or with the same phone anywhere, as far as the
    caller may see them.
    """
    state = state_of(request)
    async with state.database.transaction() as connection:
        row = await household_in_scope(connection, caller, id)
        cipher = await cipher_of(connection, state.settings)
        found = await duplicates_of(connection, cipher, caller, row)
        await note(connection, request, caller, "household-duplicates", [id], len(found))
        return Duplicates(items=found)


@router.post(
    "/households/{id}/move",
    summary="Move a household to another grid",
    operation_id="move_household",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def move(
    request: Request, response: Response, caller: Signed, id: Id, body: HouseholdMove
) -> MovedHousehold:
    """Who covers both grids moves it, with its open problems. From who covers one of them the move
    is held as `needs-acceptance`, answered with 202; asked for again while it waits, it is the same
    one.
    """
    state = state_of(request)

    async def write() -> MovedHousehold:
        async with state.database.transaction() as connection:
            row = await household_in_scope(connection, caller, id)
            grid = row["grid"]
            if grid == body.to:
                raise Problem(INVALID, Text("The household is in {grid} already.", grid=grid))
            _refuse_to_write(caller, grid)
            _refuse_closed(caller, body.to)
            await queries.lock_moves(connection, id)
            waiting = await _waiting(connection, state, caller, id, grid, body.to)
            if waiting is not None:
                await note(connection, request, caller, "household-move-asked", [id, grid], 0)
                return waiting
            mutation = Mutation(
                0, "household", id, body.to, base=row["rev"], base_grid=grid, fields={}
            )
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            waits = verdict.outcome == "held" and verdict.reason == "needs-acceptance"
            if not waits:
                refuse_held(verdict)
            act = "household-move-asked" if waits else "household-moved"
            await note(connection, request, caller, act, [id, grid, body.to], 1)
            if waits:
                waiting = await _waiting(connection, state, caller, id, grid, body.to)
                assert waiting is not None
                return waiting
            workers = await queries.workers_of(connection, grid, caller.now)
            return MovedHousehold(
                outcome="moved", grid=body.to, former_grid=grid, former_workers=workers
            )

    done = await retry_on_conflict(write)
    if done.outcome == "waiting":
        response.status_code = 202
    return done


async def _waiting(
    connection: Connection, state: State, caller: Caller, id: str, grid: str, to: str
) -> MovedHousehold | None:
    """The answer to a move that waits, if the caller has asked for it over REST."""
    device = server_device_id(caller.staff_code)
    row = await held_queries.waiting_move(connection, device, id, to)
    if row is None:
        return None
    cipher = await cipher_of(connection, state.settings)
    detail = localized(held_detail(cipher, row["id"], row["detail"]))
    return MovedHousehold(outcome="waiting", grid=grid, detail=detail, held=row["id"])


def _refuse_closed(caller: Caller, grid: str) -> None:
    if caller.tree.closed_from(grid) is not None:
        text = Text("The grid {grid} is closed; choose the one that took over.", grid=grid)
        raise Problem(NOT_NOW, text)


def _refuse_to_write(caller: Caller, grid: str) -> None:
    if not may_write(caller.posts, "household", grid, caller.now):
        text = Text(
            "{cadre} has no post at present that writes households in {grid}; ask its grid worker"
            " or village secretary.",
            cadre=caller.staff_code,
            grid=grid,
        )
        raise Problem(NOT_ALLOWED, text)
