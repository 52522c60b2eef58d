"""Webhooks: `/v1/webhooks`, for who administers the unit. `openapi/app.md` shows a receiver."""

import re
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.http.strict import RequestBody
from service.identity import client_queries
from service.identity.access import Caller, Signed
from service.jobs.queue import add as add_job
from service.kit.database import Connection, Row
from service.kit.encryption_queries import cipher_of
from service.kit.errors import INVALID, NOT_FOUND, READING, Problem, documented
from service.kit.field_cipher import FieldCipher
from service.kit.paging import After, Id, Limit, next_place, read_id
from service.kit.state import State, state_of
from service.organisation.units import UnitFilter, in_scope, scope_of
from service.webhooks import addresses, event_queries, queries
from service.webhooks.bodies import STANDARD, WECOM
from service.webhooks.delivering import WEBHOOKS
from service.webhooks.events import EventType
from service.webhooks.places import address_place, secret_place
from service.webhooks.queries import NewWebhook
from service.webhooks.sending import new_secret
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
Format = Literal["standard", "wecom", "dingtalk", "feishu"]
Name = Annotated[str, Field(min_length=1, max_length=100, examples=["应急值班群"])]
Events = Annotated[list[EventType], Field(min_length=1, max_length=6)]
Address = Annotated[str, Field(max_length=addresses.MAX_LENGTH)]
# The form of the Standard Webhooks: 24 to 64 bytes in Base64.
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")
_WRITING = documented(*READING)


class NewWebhookIn(RequestBody):
    """Who is to be told of what. The `address` of a group robot is the one that the group shows."""

    name: Name
    unit: str = Field(
        pattern=r"^\d{1,15}$",
        description="Events of this unit and all below it",
        examples=["150221104"],
    )
    events: Events
    address: Address = Field(examples=["https://app.example.cn/hooks/gridloop"])
    format: Format = "standard"
    app: str | None = Field(
        None,
        max_length=100,
        description="The app for which it is: its requests come with their receipts. None for"
        " others, and for group robots",
    )
    secret: str | None = Field(
        None,
        max_length=200,
        description="Of DingTalk and Feishu: what the robot signs with, if that is switched on. Of"
        " the format `standard`: left out, one is made",
    )


class WebhookChange(RequestBody):
    """What is left out stays. `renew_secret`: another one is made, and answered once."""

    name: Name | None = None
    events: Events | None = None
    address: Address | None = None
    secret: str | None = Field(None, max_length=200)
    renew_secret: bool = False
    active: bool | None = None


class WebhookOut(BaseModel):
    """A webhook. Of its address only the `host` is shown. `secret` is answered once, when it was
    made. `stopped_because`: why it is not active, where nobody has switched it off;
    `rests_until`: nothing is sent before, for nobody answered.
    """

    id: str
    name: str
    unit: str
    app: str | None
    events: list[str]
    format: str
    host: str
    active: bool
    created_by: str
    created_at: datetime
    stopped_because: str | None
    rests_until: datetime | None
    secret: str | None = None


class WebhookItem(WebhookOut):
    """A webhook, with how many deliveries wait, and how many are dead."""

    waiting: int
    dead: int


class WebhookPage(BaseModel):
    """A page of webhooks in order of id."""

    items: list[WebhookItem]
    next: str | None


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    operation_id="create_webhook",
    responses=_WRITING,
)
async def create(request: Request, caller: Signed, body: NewWebhookIn) -> WebhookOut:
    """From now on events are told. The secret of the format `standard` is in this answer only."""
    state = state_of(request)
    in_scope(caller, body.unit)
    allowed = addresses.networks(state.settings.webhook_networks)
    host = await addresses.checked(body.address, allowed)
    secret = _secret(body.format, body.secret)
    id = fresh_id(request, caller.now)
    async with state.database.transaction() as connection:
        await _refuse_foreign_app(connection, caller, body.app, body.unit)
        if not await queries.is_any_active(connection):
            await event_queries.begin_cursor(connection)
        cipher = await cipher_of(connection, state.settings)
        new = NewWebhook(
            id=id,
            name=body.name,
            unit=body.unit,
            app=body.app,
            events=sorted({*body.events}),
            format=body.format,
            host=host,
            address=cipher.encrypt(address_place(id), body.address),
            secret=None if secret is None else cipher.encrypt(secret_place(id), secret),
            created_by=caller.staff_code,
        )
        await queries.add(connection, new, caller.now)
        await note(connection, request, caller, "webhook-created", [id, body.unit, host], 1)
        row = await own(connection, caller, id)
    await begin_telling(state)
    return _shown(row, secret if body.secret is None else None)


@router.get("", summary="Webhooks", operation_id="list_webhooks", responses=_WRITING)
async def list_webhooks(
    request: Request,
    caller: Signed,
    unit: UnitFilter = None,
    limit: Limit = 100,
    after: After = None,
) -> WebhookPage:
    """Of the units that one administers."""
    units = scope_of(caller, unit)
    async with state_of(request).database.transaction() as connection:
        found = await queries.webhooks(connection, caller.ranges(units), read_id(after), limit + 1)
        await note(connection, request, caller, "webhooks", units, len(found[:limit]))
    items = [WebhookItem(**_fields(row), waiting=row["waiting"], dead=row["dead"]) for row in found]
    more = len(found) > limit
    return WebhookPage(
        items=items[:limit], next=next_place("", items[limit - 1].id) if more else None
    )


@router.patch(
    "/{id}", summary="Change a webhook", operation_id="change_webhook", responses=_WRITING
)
async def change(request: Request, caller: Signed, id: Id, body: WebhookChange) -> WebhookOut:
    """One that is switched on again is not told of what was meanwhile."""
    state = state_of(request)
    host = None
    if body.address is not None:
        allowed = addresses.networks(state.settings.webhook_networks)
        host = await addresses.checked(body.address, allowed)
    async with state.database.transaction() as connection:
        row = await own(connection, caller, id)
        cipher = await cipher_of(connection, state.settings)
        made = new_secret() if body.renew_secret and row["format"] == STANDARD else None
        values = _changes(row, body, cipher, made)
        if host is not None:
            values["host"] = host
        if values.get("active") and not await queries.is_any_active(connection):
            await event_queries.begin_cursor(connection)
        await queries.change(connection, row, values, caller.now)
        await note(connection, request, caller, "webhook-changed", [id, *sorted(values)], 1)
        row = await own(connection, caller, id)
    await begin_telling(state)
    return _shown(row, made)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a webhook",
    operation_id="delete_webhook",
    responses=_WRITING,
)
async def delete(request: Request, caller: Signed, id: Id) -> Response:
    """With what waits for it and what is dead."""
    async with state_of(request).database.transaction() as connection:
        row = await own(connection, caller, id)
        await queries.delete(connection, id)
        await note(connection, request, caller, "webhook-deleted", [id, row["host"]], 1)
    return Response(status_code=204)


async def own(connection: Connection, caller: Caller, id: str) -> Row:
    """A webhook that the caller administers, locked; raises `Problem`."""
    row = await queries.lock(connection, id, caller.ranges())
    if row is None:
        raise Problem(NOT_FOUND, Text("There is no webhook {id} that you administer.", id=id))
    return row


async def begin_telling(state: State) -> None:
    """Lets the job begin that tells, if it does not run."""
    async with state.database.transaction(bookkeeping=True) as connection:
        await add_job(connection, WEBHOOKS, key="every")


async def _refuse_foreign_app(
    connection: Connection, caller: Caller, app: str | None, unit: str
) -> None:
    """What an app is told lies within what its account is for."""
    if app is None:
        return
    row = await client_queries.client(connection, app)
    if row is None or row["revoked_at"] is not None or not caller.covers(row["unit"], unit):
        raise Problem(
            NOT_FOUND, Text("There is no account of an app ‘{app}’ for {unit}.", app=app, unit=unit)
        )


def _changes(
    row: Row, body: WebhookChange, cipher: FieldCipher, made: str | None
) -> dict[str, object]:
    values: dict[str, object] = {
        name: value
        for name, value in (("name", body.name), ("active", body.active))
        if value is not None
    }
    if body.events is not None:
        values["events"] = sorted({*body.events})
    if body.address is not None:
        values["address"] = cipher.encrypt(address_place(row["id"]), body.address)
    secret = made
    if made is None and body.secret is not None:
        secret = _secret(row["format"], body.secret)
    if secret is not None:
        values["secret"] = cipher.encrypt(secret_place(row["id"]), secret)
    return values


def _secret(format: str, given: str | None) -> str | None:
    """The secret that is kept; raises `Problem` for one that cannot be used."""
    if format == STANDARD:
        if given is not None and not _SECRET.fullmatch(given):
            raise Problem(
                INVALID, "secret is none of the Standard Webhooks; leave it out, and one is made."
            )
        return given or new_secret()
    if format == WECOM and given is not None:
        raise Problem(INVALID, "Robots of WeCom sign nothing; leave secret out.")
    return given


def _fields(row: Row) -> dict[str, object]:
    return {name: row[name] for name in WebhookOut.model_fields if name != "secret"}


def _shown(row: Row, secret: str | None) -> WebhookOut:
    return WebhookOut(**_fields(row), secret=secret)
