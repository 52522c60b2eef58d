"""Households with their last visit: `GET /v1/households`."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.households import queries
from service.households.queries import Filters
from service.http.strict import RequestBody, refuse_unknown_fields
from service.identity.access import Caller, Signed
from service.identity.rights import may_write
from service.identity.staff_codes import keys_of
from service.identity.views import View, redact
from service.imports.numbers import NONE, Numbers, numbers_of
from service.kit.bounded import cut
from service.kit.database import Connection, retry_on_conflict
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.errors import HELD, NOT_ALLOWED, NOT_FOUND, READING, Problem, documented
from service.kit.field_cipher import FieldCipher
from service.kit.paging import After, Id, Limit, next_place, read_place
from service.kit.state import state_of
from service.organisation.units import UnitFilter, reach_of
from service.vocabulary.terms import WORD_PATTERN
from service.writes.server_writes import refuse_held, wait_for_own_writes, write_as_cadre
from sync_protocol.messages import Mutation
from sync_protocol.periods import local_day
from sync_protocol.texts import Text
from sync_protocol.vocabulary import HOUSEHOLD_STATES

router = APIRouter(prefix="/v1", tags=["households"])


class HouseholdItem(BaseModel):
    """A household. Who only supervises sees phone and address masked, and from above the township
    no tags. `household_no`, `village_no`: by which the office knows it, in the city and in the
    village, where a file that was imported said so.

    `state`: present, or since `state_since` away, died or merged (into `merged_into`): then it
    counts nowhere, and is listed only where it is asked for. `days_unvisited` counts days of
    Asia/Shanghai, null: never visited.
    """

    id: str
    grid: str
    household_no: str | None
    village_no: str | None
    head_name: str | None
    phone: str | None
    address: str | None
    members: int | None
    tags: list[str]
    contact_member: str | None = Field(
        description="The field of the record; without it the cadre of the first contact tie"
    )
    lead_member: str | None = Field(
        description="The field of the record; without it the cadre of the first contracted tie"
    )
    state: str
    state_since: date | None
    merged_into: str | None
    last_visit: datetime | None
    days_unvisited: int | None


class HouseholdPage(BaseModel):
    """A page of households in order of grid."""

    items: list[HouseholdItem]
    next: str | None


def _contacts(row: Any, cipher: FieldCipher) -> dict[str, Any]:
    return {
        name: row[name] and cipher.shown(Place("household", name, row["id"]), row[name])
        for name in ("phone", "address")
    }


async def items_of(
    connection: Connection, rows: Sequence[Any], cipher: FieldCipher, caller: Caller
) -> list[HouseholdItem]:
    """Households as they are listed, each with its numbers."""
    ids = [row["id"] for row in rows]
    numbers = await numbers_of(connection, cipher, ids)
    tied = {
        (tie["household"], tie["kind"]): tie["cadre"]
        for tie in await queries.first_ties(connection, ids, caller.today)
    }
    return [item_of(row, cipher, caller, numbers.get(row["id"], NONE), tied) for row in rows]


def item_of(
    row: Any,
    cipher: FieldCipher,
    caller: Caller,
    numbers: Numbers = NONE,
    tied: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> HouseholdItem:
    """A household's row as the caller sees it. `tied`: by household and kind of tie to whom it is
    tied, for where the field says nobody.
    """
    shown = _contacts(row, cipher) | {"tags": row["tags"]}
    values = {
        "household_no": numbers.household_no,
        "village_no": numbers.village_no(caller, row["grid"]),
    }
    computed = {*values, "days_unvisited"}
    values |= {name: row[name] for name in HouseholdItem.model_fields if name not in computed}
    days = (
        (local_day(caller.now) - local_day(row["last_visit"])).days if row["last_visit"] else None
    )
    view = caller.shown_of(row["grid"])
    for name, kind in (("contact_member", "contact"), ("lead_member", "contracted")):
        values[name] = values[name] or tied.get((row["id"], kind))
    return HouseholdItem(
        **(values | {"tags": []} | redact("household", shown, view)), days_unvisited=days
    )


@router.get(
    "/households",
    summary="Households with their last visit",
    operation_id="list_households",
    responses=documented(*READING),
)
async def households(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    special: Annotated[bool | None, Query(description="With any tag 重点户, or without")] = None,
    tag: Annotated[str | None, Query(pattern=WORD_PATTERN, examples=["elderly_alone"])] = None,
    contact_member: Annotated[
        str | None, Query(max_length=40, description="Tied to this party member 联系户")
    ] = None,
    lead_member: Annotated[
        str | None, Query(max_length=40, description="Contracted to this committee member 包联户")
    ] = None,
    not_visited_days: Annotated[
        int | None,
        Query(ge=1, le=3650, description="Not visited in so many days up to today, or never"),
    ] = None,
    state: Annotated[
        str,
        Query(
            pattern=f"^({'|'.join(HOUSEHOLD_STATES)}|any)$",
            description="Only those that live here (present), that have left, or any",
        ),
    ] = "present",
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=60,
            pattern=r"^[^\x00]+$",
            description="Part of the name of the head",
        ),
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> HouseholdPage:
    """In order of grid; whom nobody has visited for long is found with `not_visited_days`."""
    reach = reach_of(caller, unit)
    if special is not None or tag is not None:
        refuse_tags(caller, reach.units)
    today = local_day(caller.now)
    silent_since = today - timedelta(days=not_visited_days) if not_visited_days else None
    service = state_of(request)
    async with service.database.transaction() as connection:
        named = [code for code in (contact_member, lead_member) if code is not None]
        keys = await keys_of(connection, named) if named else {}
        filters = Filters(
            special,
            tag,
            contact_member and keys[contact_member],
            lead_member and keys[lead_member],
            silent_since,
            None if state == "any" else state,
            text,
        )
        rows, more = cut(
            await queries.households(connection, reach, filters, read_place(after), limit + 1),
            limit,
        )
        await note(connection, request, caller, "households", reach.units, len(rows))
        cipher = await cipher_of(connection, service.settings)
        items = await items_of(connection, rows, cipher, caller)
    return HouseholdPage(
        items=items, next=next_place(items[-1].grid, items[-1].id) if more else None
    )


def refuse_tags(caller: Caller, units: Sequence[str]) -> None:
    """Raises `Problem` where tags are counted only: a filter by them would show them."""
    for unit in units:
        if caller.view_of(unit) is View.SUMMARISED:
            text = Text(
                "The tags of single households are shown from the township down, not for {unit};"
                " ask without them.",
                unit=unit,
            )
            raise Problem(NOT_ALLOWED, text)


class Correction(RequestBody):
    """Fields of the record kind `household` to put right; null clears one, sets take `add` and
    `remove`.
    """

    fields: dict[str, Any] = Field(
        min_length=1, examples=[{"phone": "10012345678", "tags": {"add": ["veteran"]}}]
    )


@router.get(
    "/households/{id}",
    summary="A household",
    operation_id="get_household",
    responses=documented(*READING),
)
async def household(request: Request, caller: Signed, id: Id) -> HouseholdItem:
    """One household with its last visit."""
    state = state_of(request)
    async with state.database.transaction() as connection:
        row = await household_in_scope(connection, caller, id)
        await note(connection, request, caller, "household", [id], 1)
        cipher = await cipher_of(connection, state.settings)
        return (await items_of(connection, [row], cipher, caller))[0]


@router.patch(
    "/households/{id}",
    summary="Correct a household",
    operation_id="correct_household",
    responses=documented(*READING, HELD),
)
async def correct(request: Request, caller: Signed, id: Id, body: Correction) -> HouseholdItem:
    """A mutation of the cadre's server-side device: it reaches the phones, and the history keeps
    who corrected what.
    """
    state = state_of(request)
    refuse_unknown_fields("household", body.fields)

    async def write() -> HouseholdItem:
        async with state.database.transaction() as connection:
            await wait_for_own_writes(connection, caller)
            row = await household_in_scope(connection, caller, id)
            if not may_write(caller.posts, "household", row["grid"], caller.now):
                text = Text(
                    "{cadre} has no post at present that writes households in {grid}; ask its grid"
                    " worker or village secretary.",
                    cadre=caller.staff_code,
                    grid=row["grid"],
                )
                raise Problem(NOT_ALLOWED, text)
            cipher = await cipher_of(connection, state.settings)
            contacts = _contacts(row, cipher)
            for name in body.fields.keys() & contacts:
                caller.refuse_disguise(
                    "household", name, body.fields[name], [contacts[name]], row["grid"]
                )
            mutation = Mutation(
                0, "household", id, row["grid"], base=row["rev"], fields=body.fields
            )
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            refuse_held(verdict)
            await note(connection, request, caller, "household-corrected", [id], 1)
            row = await household_in_scope(connection, caller, id)
            return (await items_of(connection, [row], cipher, caller))[0]

    return await retry_on_conflict(write)


async def household_in_scope(connection: Connection, caller: Caller, id: str) -> Any:
    """A living household that the caller sees; raises `Problem` for any other."""
    row = await queries.household(connection, id)
    if row is not None and caller.view_of(row["grid"]) is View.TIED:
        tied = await queries.tied_among(connection, [id], caller.staff_code, caller.today)
        row = row if tied else None
    if row is None or not caller.reaches(row["grid"]):
        raise Problem(NOT_FOUND, Text("There is no household {id} in your scope.", id=id))
    return row
