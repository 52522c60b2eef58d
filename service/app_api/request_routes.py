"""The requests of herders that an app hands in: `/v1/requests`."""

import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from service.app_api import queries
from service.audit.audit_log import note
from service.http.ids import MadeId, fresh_id, id_taken
from service.http.strict import RequestBody
from service.identity.access import Caller, Signed
from service.kit.bounded import cut
from service.kit.database import Connection, Row, retry_on_conflict
from service.kit.errors import HELD, INVALID, NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Limit, next_after, read_after
from service.kit.state import state_of
from service.organisation.units import (
    absent,
    in_scope,
)
from service.vocabulary.terms import WORD_PATTERN
from service.writes.server_writes import refuse_held, write_as_cadre
from sync_protocol.lifecycle import OPEN
from sync_protocol.messages import Mutation
from sync_protocol.moments import canonical_moment
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ACTIONS, SEVERITIES, STATES

router = APIRouter(prefix="/v1", tags=["app"])

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
            refuse_held(verdict)
            if verdict.outcome == "merged" or verdict.rev is None:
                raise id_taken(id)
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
            refuse_held(verdict)
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
