"""Routes for apps with a token of their own: `/v1/requests`, `/v1/villages`, `/v1/statistics`.
`openapi/app.md` walks through them.
"""

import json
import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from service.app_api import queries
from service.audit.audit_log import note
from service.http.ids import MadeId, fresh_id
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.bounded import cut
from service.kit.database import Connection, Row, retry_on_conflict
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import HELD, INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Limit, next_after, next_place, read_after, read_text
from service.kit.state import state_of
from service.organisation.units import (
    Month,
    PeriodOut,
    UnitFilter,
    UnitOut,
    Week,
    absent,
    in_scope,
    lender_for,
    scope_of,
    unit_on,
    week_or_month,
)
from service.summaries.answers import DutyTotals
from service.summaries.summary import summary
from service.vocabulary.terms import WORD_PATTERN
from service.writes.server_writes import write_as_cadre
from sync_protocol.ids import is_uuid
from sync_protocol.lifecycle import OPEN
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ACTIONS, ROLES, SEVERITIES, STATES

router = APIRouter(prefix="/v1", tags=["app"])

# Whose number hangs at the village office.
_PUBLIC = ("village_secretary", "first_secretary", "village_committee")
# No letter or digit that is mistaken for another when it is read out.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


Receipt = Annotated[
    str, Path(pattern=r"^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$", examples=["7K3M-9Q2F-XW4T"])
]


class NewRequest(RequestBody):
    """A herder's request. It becomes a problem of the grid; a village's goes to its first grid,
    whose workers pass it on.
    """

    id: MadeId | None = Field(
        None, description="A UUID made by the app, so that sending twice makes one request"
    )
    unit: str = Field(
        pattern=r"^\d{1,15}$", description="Grid or village", examples=["150221104200"]
    )
    title: str = Field(max_length=200, examples=["饮水管道冻裂"])
    detail: str | None = Field(None, max_length=4000)
    duty: str = Field("public_service", pattern=WORD_PATTERN)
    severity: str = Field("ordinary", pattern=f"^({'|'.join(SEVERITIES)})$")
    contact: str | None = Field(
        None,
        max_length=100,
        description="Name and number to call back; encrypted, shown to those who go there",
    )


class RequestStep(BaseModel):
    """Something that was done about a request, with what the herder was answered."""

    at: datetime
    action: str
    label: str
    answer: str | None


class RequestItem(BaseModel):
    """How a request stands. `receipt` is the number to ask with; `answer` is what a cadre has
    written for the herder, the newest: notes of the cadres are not shown.
    """

    receipt: str = Field(examples=["7K3M-9Q2F-XW4T"])
    state: str
    label: str
    grid: str
    created_at: datetime
    due: datetime | None
    resolved_at: datetime | None
    satisfied: str | None
    answer: str | None


class RequestOut(RequestItem):
    """A request with what was done about it."""

    steps: list[RequestStep]


class RequestPage(BaseModel):
    """A page of requests, the newest first."""

    items: list[RequestItem]
    next: str | None


class Satisfaction(RequestBody):
    """Whether the herder is satisfied, and in which words."""

    satisfied: bool
    words: str | None = Field(None, max_length=1000, examples=["水通了，谢谢"])


class ContactOut(BaseModel):
    """A cadre whose number is public."""

    name: str
    role: str
    label: str
    phone: str


class VillageItem(BaseModel):
    """A village with its public contacts."""

    code: str
    name: str
    township: str
    banner: str
    contacts: list[ContactOut]


class VillagePage(BaseModel):
    """A page of villages in order of code."""

    items: list[VillageItem]
    next: str | None


class Statistics(BaseModel):
    """The numbers of a unit and a period, of nobody in particular."""

    unit: UnitOut
    period: PeriodOut
    visits: int
    households_visited: int
    problems_raised: int
    problems_resolved: int
    problems_open: int
    median_hours_to_resolve: float | None
    duties: list[DutyTotals]


@router.post(
    "/requests",
    status_code=201,
    summary="Hand in a request",
    operation_id="create_request",
    responses=documented(*READING, HELD),
)
async def create_request(request: Request, caller: Signed, body: NewRequest) -> RequestOut:
    """A mutation of the app's server-side device, through the one write path; answers the
    receipt.
    """
    state = state_of(request)
    in_scope(caller, body.unit)
    if caller.tree.height(body.unit) > 1:
        raise Problem(
            INVALID, Text("‘{unit}’ is no village and no grid; name one.", unit=body.unit)
        )
    id = body.id or fresh_id(request, caller.now)
    if not is_uuid(id):
        raise Problem(INVALID, "id is no UUID; make one or leave it out.")
    fields: dict[str, Any] = {
        "title": body.title,
        "duty": body.duty,
        "severity": body.severity,
        "source": "app",
    }
    fields |= {
        name: value for name, value in (("detail", body.detail), ("contact", body.contact)) if value
    }
    fields["raised_at"] = canonical_moment(caller.now)

    async def write() -> RequestOut:
        async with state.database.transaction() as connection:
            known = await queries.receipt_of(connection, id, caller.staff_code)
            if known is not None:
                return await _read_request(connection, request, caller, known)
            grid = (
                body.unit
                if caller.tree.height(body.unit) == 0
                else await queries.first_grid(connection, body.unit)
            )
            if grid is None:
                raise absent(caller, body.unit)
            verdict = await write_as_cadre(
                connection, state.settings, caller, Mutation(0, "problem", id, grid, fields=fields)
            )
            if verdict.outcome == "held":
                raise Problem(HELD, verdict.detail or "", reason=verdict.reason)
            if verdict.outcome == "merged" or verdict.rev is None:
                raise Problem(
                    INVALID, Text("The id {id} is another record's; make a new one.", id=id)
                )
            number = _new_receipt()
            await queries.add_receipt(connection, number, id, caller.staff_code, caller.now)
            await note(connection, request, caller, "request-created", [id], 1)
            return await _read_request(connection, request, caller, number)

    return await retry_on_conflict(write)


def _new_receipt() -> str:
    text = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


@router.get(
    "/requests",
    summary="The app's requests",
    operation_id="list_requests",
    responses=documented(*READING),
)
async def list_requests(
    request: Request,
    caller: Signed,
    open: Annotated[
        bool | None, Query(description="Whether somebody still has to deal with it")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> RequestPage:
    """The newest first, with state and answer; only what this app handed in."""
    states = None if open is None else sorted(OPEN if open else STATES.keys() - OPEN)
    async with state_of(request).database.transaction() as connection:
        found = await queries.requests(
            connection, caller.staff_code, states, read_after(after), limit + 1
        )
        rows, more = cut(found, limit)
        named = [row["problem"] for row in rows]
        await note(connection, request, caller, "requests", named, len(rows))
    last = next_after(rows[-1]["created_at"], rows[-1]["problem"]) if more else None
    return RequestPage(items=[RequestItem(**_standing(row)) for row in rows], next=last)


@router.post(
    "/requests/{receipt}/satisfaction",
    status_code=201,
    summary="Hand in whether the herder is satisfied",
    operation_id="rate_request",
    responses=documented(*READING, NOT_NOW, HELD),
)
async def rate_request(
    request: Request, caller: Signed, receipt: Receipt, body: Satisfaction
) -> RequestOut:
    """A step on the problem, through the one write path: it verifies one that is resolved. Of one
    that was verified or closed before it is a note with the same words: cadres see it, and decide.
    """
    state = state_of(request)
    id = fresh_id(request, caller.now)

    async def write() -> RequestOut:
        async with state.database.transaction() as connection:
            row = await queries.request(connection, receipt, caller.staff_code)
            if row is None:
                raise _no_request(receipt)
            if row["state"] in OPEN:
                text = Text(
                    "The request {receipt} is not resolved yet; hand this in once it is.",
                    receipt=receipt,
                )
                raise Problem(NOT_NOW, text)
            fields: dict[str, Any] = {
                "problem_id": row["problem"],
                "action": "verify" if row["state"] == "resolved" else "note",
                "at": canonical_moment(caller.now),
                "satisfied": "yes" if body.satisfied else "no",
            }
            if body.words:
                fields["note"] = body.words
            mutation = Mutation(0, "step", id, row["grid"], fields=fields)
            verdict = await write_as_cadre(connection, state.settings, caller, mutation)
            if verdict.outcome == "held":
                raise Problem(HELD, verdict.detail or "", reason=verdict.reason)
            await note(connection, request, caller, "request-rated", [row["problem"]], 1)
            return await _read_request(connection, request, caller, receipt)

    return await retry_on_conflict(write)


@router.get(
    "/requests/{receipt}",
    summary="How a request stands",
    operation_id="get_request",
    responses=documented(*READING),
)
async def get_request(
    request: Request,
    caller: Signed,
    receipt: Receipt,
) -> RequestOut:
    """State and steps, without names and notes; only of requests that this app handed in."""
    async with state_of(request).database.transaction() as connection:
        return await _read_request(connection, request, caller, receipt)


async def _read_request(
    connection: Connection, request: Request, caller: Caller, receipt: str
) -> RequestOut:
    row = await queries.request(connection, receipt, caller.staff_code)
    if row is None:
        raise _no_request(receipt)
    steps = await queries.steps(connection, row["problem"])
    await note(connection, request, caller, "request", [row["problem"]], 1)
    return RequestOut(
        **_standing(row),
        steps=[RequestStep(**dict(step), label=ACTIONS[step["action"]].zh) for step in steps],
    )


def _standing(row: Row) -> dict[str, Any]:
    values = {name: row[name] for name in RequestItem.model_fields if name != "label"}
    return values | {"label": STATES[row["state"]].zh}


def _no_request(receipt: str) -> Problem:
    return Problem(
        NOT_FOUND, Text("There is no request with the receipt {receipt}.", receipt=receipt)
    )


@router.get(
    "/villages",
    summary="Villages and whom to call",
    operation_id="list_villages",
    responses=documented(*READING),
)
async def villages(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    limit: Limit = 100,
    after: After = None,
) -> VillagePage:
    """In order of code, with secretary, first secretary and committee members."""
    units = scope_of(caller, unit)
    state = state_of(request)
    async with state.database.transaction() as connection:
        rows = await queries.villages(
            connection,
            caller.ranges(units),
            _PUBLIC,
            caller.now,
            read_text(after),
            limit + 1,
        )
        await note(connection, request, caller, "villages", units, len(rows[:limit]))
        cipher = await cipher_of(connection, state.settings)
    items = []
    for row in rows[:limit]:
        people = json.loads(row["contacts"])
        contacts = [
            ContactOut(
                name=person["name"],
                role=person["role"],
                label=ROLES[person["role"]].zh,
                phone=cadre_phone(cipher, person),
            )
            for person in people
        ]
        items.append(VillageItem(**{**dict(row), "contacts": contacts}))
    return VillagePage(
        items=items, next=next_place(items[-1].code, "") if len(rows) > limit else None
    )


@router.get(
    "/statistics",
    summary="Numbers of a unit",
    operation_id="village_statistics",
    responses=documented(*READING),
)
async def statistics(
    request: Request,
    caller: Signed,
    unit: Annotated[
        str,
        Query(
            pattern=r"^\d{4,12}$",
            description="A village, or a unit above",
            examples=["150221104200"],
        ),
    ],
    week: Week = None,
    month: Month = None,
) -> Statistics:
    """Of a village at the least: the numbers of a grid would tell of single households."""
    period = week_or_month(week, month)
    in_scope(caller, unit)
    log = "weekly_analysis" if week is not None else "monthly_summary"
    found = await summary(
        lender_for(request, caller, unit),
        state_of(request).settings,
        unit_on(caller, unit, "period", period),
        period,
        caller.now,
        log,
    )
    if found is None:
        raise absent(caller, unit)
    totals = found.totals
    return Statistics(
        unit=found.unit,
        period=found.period,
        visits=totals.visits,
        households_visited=totals.households_visited,
        problems_raised=totals.problems_raised,
        problems_resolved=totals.problems_resolved,
        problems_open=totals.problems_open,
        median_hours_to_resolve=totals.median_hours_to_resolve,
        duties=found.duties,
    )
