"""Ties between cadres and households: `GET /v1/ties`, `POST /v1/ties`, `PATCH /v1/ties/{id}`."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.households.routes import household_in_scope
from service.http.ids import MadeId, fresh_id
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.identity.rights import may_write
from service.identity.staff_codes import key_of
from service.kit.bounded import cut
from service.kit.database import Connection, retry_on_conflict
from service.kit.errors import (
    HELD,
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_NOW,
    READING,
    Problem,
    documented,
)
from service.kit.paging import After, GivenId, Id, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import MaybePeriod, UnitFilter, reach_of
from service.ties import queries
from service.ties.queries import Filters
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol import periods
from sync_protocol.messages import Mutation
from sync_protocol.texts import Text
from sync_protocol.vocabulary import TIE_KINDS

router = APIRouter(prefix="/v1/ties", tags=["households"])

TieKind = Literal["contact", "contracted", "family"]
TieSource = Literal["tie", "contact_member", "lead_member"]
_STAFF_CODE = r"^[^\x00-\x1f]{1,40}$"


class TieItem(BaseModel):
    """A cadre who is tied to a household. `visits`: those of the cadre to the household in the
    period that was asked for.
    """

    id: str | None = Field(description="None of what a field of the household says")
    source: TieSource = Field(
        description="A record of its own, or which field of the household says it"
    )
    grid: str
    household_id: str
    head_name: str | None
    cadre: str = Field(description="The staff code of today")
    name: str
    kind: TieKind
    label: str
    valid_from: date | None = Field(description="The first day; none of a field")
    valid_to: date | None = Field(description="The first day on which it holds no more")
    visits: int
    last_visit: datetime | None = Field(description="Of the cadre to the household, whenever")


class TiePage(BaseModel):
    """A page of ties in order of grid. `period`: in which visits were counted."""

    items: list[TieItem]
    period: str
    next: str | None


class NewTie(RequestBody):
    """A cadre to be tied to a household, from a day on."""

    household_id: MadeId
    cadre: str = Field(pattern=_STAFF_CODE, examples=["C150221100201-2"])
    kind: TieKind
    valid_from: date | None = Field(None, description="The first day; today if left out")
    valid_to: date | None = Field(
        None, description="The first day on which it holds no more; still, if left out"
    )


class TieUpdate(RequestBody):
    """Other days of a tie; what is left out stays."""

    valid_from: date | None = None
    valid_to: date | None = Field(
        None, description="The first day on which it holds no more; null: it goes on"
    )


@router.get(
    "", summary="Ties to households", operation_id="list_ties", responses=documented(*READING)
)
async def list_ties(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    cadre: Annotated[str | None, Query(pattern=_STAFF_CODE)] = None,
    household: GivenId = None,
    kind: TieKind | None = None,
    source: TieSource | None = None,
    on: Annotated[
        date | None, Query(description="Those that hold on this day; today if left out")
    ] = None,
    ended: Annotated[bool, Query(description="Also what has ended, or is yet to begin")] = False,
    period: MaybePeriod = None,
    limit: Limit = 100,
    after: After = None,
) -> TiePage:
    """Those written as records, and those that `contact_member` and `lead_member` of households
    say. Visits are counted in the period, this year if none is named.
    """
    reach = reach_of(caller, unit)
    counted = period or periods.year(str(caller.today.year))
    day = None if ended else on or caller.today
    async with state_of(request).database.transaction() as connection:
        key = None if cadre is None else await key_of(connection, cadre)
        filters = Filters(key, household, kind, day, source)
        found = await queries.ties(
            connection, reach, filters, counted, read_place(after), limit + 1
        )
        rows, more = cut(found, limit)
        await note(connection, request, caller, "ties", reach.units, len(rows))
    last = next_place(rows[-1]["grid"], rows[-1]["id"]) if more else None
    return TiePage(items=[_item(row) for row in rows], period=counted.name, next=last)


def _item(row: Any) -> TieItem:
    values = {name: row[name] for name in TieItem.model_fields if name not in ("label", "cadre")}
    if row["source"] != "tie":
        values["id"] = None
    return TieItem(**values, label=TIE_KINDS[row["kind"]].zh, cadre=row["shown_code"])


@router.post(
    "",
    status_code=201,
    summary="Tie a cadre to a household",
    operation_id="create_tie",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def create_tie(request: Request, caller: Signed, body: NewTie) -> TieItem:
    """A contact tie gives a contact member sight of the household while it holds. Nobody writes
    their own.
    """
    state = state_of(request)
    id = fresh_id(request, caller.now)
    first = body.valid_from or caller.today
    _refuse_days(first, body.valid_to)

    async def write() -> TieItem:
        async with state.database.transaction() as connection:
            cadre = await key_of(connection, body.cadre)
            row = await household_in_scope(connection, caller, body.household_id)
            last = None if body.valid_to is None else body.valid_to.isoformat()
            known = await queries.alike(
                connection, row["id"], cadre, body.kind, first.isoformat(), last
            )
            if known is not None and known != id:
                raise Problem(
                    NOT_NOW,
                    Text(
                        "{cadre} is tied to this household like that already, by the tie {id};"
                        " change its days.",
                        cadre=body.cadre,
                        id=known,
                    ),
                )
            fields = {
                "household_id": row["id"],
                "cadre": cadre,
                "kind": body.kind,
                "valid_from": first.isoformat(),
                **({"valid_to": last} if last else {}),
            }
            return await _written(
                connection, request, caller, Mutation(0, "tie", id, row["grid"], fields=fields)
            )

    return await retry_on_conflict(write)


@router.patch(
    "/{id}",
    summary="Change the days of a tie",
    operation_id="change_tie",
    responses=documented(*READING, HELD, NOT_NOW),
)
async def change_tie(request: Request, caller: Signed, id: Id, body: TieUpdate) -> TieItem:
    """With `valid_to` it ends; what was visited stays counted."""
    state = state_of(request)
    values = body.model_dump(exclude_unset=True)
    if not values or values.get("valid_from", "") is None:
        raise Problem(INVALID, "Nothing is to be changed; give valid_from or valid_to.")

    async def write() -> TieItem:
        async with state.database.transaction() as connection:
            row = await queries.tie(connection, id)
            if row is None or not caller.reaches(row["grid"]):
                raise Problem(NOT_FOUND, Text("There is no tie {id} in your scope.", id=id))
            fields = {name: day and day.isoformat() for name, day in values.items()}
            whole = dict(row) | fields
            first, last = whole["valid_from"], whole["valid_to"]
            _refuse_days(date.fromisoformat(first), last and date.fromisoformat(last))
            mutation = Mutation(0, "tie", id, row["grid"], base=row["rev"], fields=fields)
            return await _written(connection, request, caller, mutation)

    return await retry_on_conflict(write)


def _refuse_days(first: date, last: date | None) -> None:
    if last is not None and last <= first:
        raise Problem(INVALID, "valid_to lies on valid_from or before it; it is the day after.")


async def _written(
    connection: Connection, request: Request, caller: Caller, mutation: Mutation
) -> TieItem:
    if not may_write(caller.posts, "tie", mutation.grid, caller.now):
        raise Problem(
            NOT_ALLOWED,
            Text(
                "{cadre} has no post at present that writes ties in {grid}.",
                cadre=caller.staff_code,
                grid=mutation.grid,
            ),
        )
    settings = state_of(request).settings
    verdict = await write_as_cadre(connection, settings, caller, mutation)
    refuse_held(verdict)
    row = await queries.tie(connection, mutation.id)
    assert row is not None
    subjects = [mutation.id, row["household_id"], row["cadre"]]
    await note(connection, request, caller, "tie-written", subjects, 1)
    filters = Filters(row["cadre"], row["household_id"], row["kind"], None, "tie")
    reach = reach_of(caller, mutation.grid)
    counted = periods.year(str(caller.today.year))
    rows = await queries.ties(connection, reach, filters, counted, None, 1000)
    return next(_item(one) for one in rows if one["id"] == mutation.id)
