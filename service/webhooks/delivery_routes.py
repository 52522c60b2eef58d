"""What became of what was sent to a webhook: lists, dead letters, sending anew."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from service.audit.audit_log import note
from service.http.ids import fresh_id
from service.identity.access import Signed
from service.kit.errors import NOT_FOUND, NOT_NOW, READING, Problem, documented
from service.kit.paging import After, Id, Limit, next_after, read_after
from service.kit.state import state_of
from service.webhooks import event_queries, queries
from service.webhooks.bodies import body_of
from service.webhooks.events import TEST, Event
from service.webhooks.routes import begin_telling, own
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
State = Literal["waiting", "delivered", "dead"]
_ANSWERS = documented(*READING, NOT_NOW)


class DeliveryOut(BaseModel):
    """An event on its way: the `event` is the `webhook-id` under which it is sent at every attempt.
    `last_error`: `timeout`, `no-connection`, `forbidden-address`, `status-500` and the like.
    """

    id: str
    event: str
    type: str
    state: State
    attempts: int
    created_at: datetime
    next_at: datetime
    last_at: datetime | None
    last_status: int | None
    last_error: str | None


class DeliveryPage(BaseModel):
    """A page of deliveries, the newest first."""

    items: list[DeliveryOut]
    next: str | None


class Replayed(BaseModel):
    """How many deliveries wait anew."""

    count: int


@router.post(
    "/{id}/test",
    status_code=202,
    summary="Send a test event",
    operation_id="test_webhook",
    responses=_ANSWERS,
)
async def test(request: Request, caller: Signed, id: Id) -> DeliveryOut:
    """Of the type `webhook.test`; the list of deliveries shows what became of it."""
    state = state_of(request)
    async with state.database.transaction() as connection:
        row = await own(connection, caller, id)
        if not row["active"]:
            raise Problem(NOT_NOW, "The webhook is switched off; switch it on first.")
        key = f"test {fresh_id(request, caller.now)}"
        event = Event(key, TEST, row["unit"], caller.now, {"unit": row["unit"]})
        names = await event_queries.unit_names(connection, [row["unit"]])
        body = body_of(row, event, names.get(row["unit"], row["unit"]))
        await queries.add_deliveries(connection, [(id, event.id, TEST, body)], caller.now)
        [delivery] = await queries.deliveries(connection, id, None, None, 1, event=event.id)
        await note(connection, request, caller, "webhook-tested", [id], 1)
    await begin_telling(state)
    return DeliveryOut(**dict(delivery))


@router.get(
    "/{id}/deliveries",
    summary="Deliveries of a webhook",
    operation_id="list_webhook_deliveries",
    responses=_ANSWERS,
)
async def list_deliveries(
    request: Request,
    caller: Signed,
    id: Id,
    state: Annotated[
        State | None, Query(description="`dead`: what could not be delivered within three days")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> DeliveryPage:
    """They are kept for 60 days."""
    async with state_of(request).database.transaction() as connection:
        await own(connection, caller, id)
        found = await queries.deliveries(connection, id, state, read_after(after), limit + 1)
        await note(connection, request, caller, "webhook-deliveries", [id], len(found[:limit]))
    items = [DeliveryOut(**dict(row)) for row in found[:limit]]
    more = len(found) > limit
    return DeliveryPage(
        items=items, next=next_after(items[-1].created_at, items[-1].id) if more else None
    )


@router.post(
    "/{id}/replay",
    summary="Send all dead letters anew",
    operation_id="replay_webhook",
    responses=_ANSWERS,
)
async def replay_all(request: Request, caller: Signed, id: Id) -> Replayed:
    """Under the same ids, from the first attempt on."""
    return await _replay(request, caller, id, None)


@router.post(
    "/{id}/deliveries/{delivery}/replay",
    summary="Send a delivery anew",
    operation_id="replay_webhook_delivery",
    responses=_ANSWERS,
)
async def replay_one(request: Request, caller: Signed, id: Id, delivery: Id) -> Replayed:
    """Also one that was delivered, under the same id."""
    return await _replay(request, caller, id, delivery)


async def _replay(request: Request, caller: Signed, id: str, delivery: str | None) -> Replayed:
    state = state_of(request)
    async with state.database.transaction() as connection:
        await own(connection, caller, id)
        count = await queries.replay(connection, id, delivery, caller.now)
        if delivery is not None and count == 0:
            text = Text("There is no delivery {delivery} of this webhook.", delivery=delivery)
            raise Problem(NOT_FOUND, text)
        await note(connection, request, caller, "webhook-replayed", [id], count)
    await begin_telling(state)
    return Replayed(count=count)
