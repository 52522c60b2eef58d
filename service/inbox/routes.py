"""What needs a decision: `/v1/conflicts` and `/v1/held`."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from service.audit.audit_log import note
from service.identity.access import Caller, Signed
from service.identity.rights import ADMINISTERS, may_settle
from service.identity.views import View, redact, redact_value
from service.inbox import queries
from service.inbox.about import Named, about
from service.inbox.answers import (
    ConflictOut,
    ConflictPage,
    Discard,
    HeldOut,
    HeldPage,
    Release,
    Resolution,
)
from service.inbox.decide import discard_held, release_held, settle
from service.kit.bounded import cut
from service.kit.database import Connection, retry_on_conflict
from service.kit.encrypted_values import conflict_value, held_body, held_detail
from service.kit.encryption_queries import cipher_of
from service.kit.errors import ALREADY_DECIDED, NOT_FOUND, READING, Problem, documented
from service.kit.field_cipher import FieldCipher
from service.kit.localization import localized
from service.kit.paging import After, GivenId, Id, Limit, next_after, read_after
from service.kit.state import state_of
from service.organisation.units import scope_of
from service.writes.merge_rule_texts import shown_rule
from service.writes.originals import unpacked
from sync_protocol.limits import showable
from sync_protocol.messages import shown_json
from sync_protocol.texts import Text, with_strings

router = APIRouter(prefix="/v1", tags=["inbox"])
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_ORIGINAL: dict[int | str, dict[str, Any]] = {
    200: {"description": "Just what was sent, or the mutation as it is kept", "content": _TEXT}
}
Unit = Annotated[
    str | None,
    Query(max_length=20, description="That unit and all below it", examples=["150221100"]),
]


# The reasons whose details quote what was sent, of which a view may show nothing.
_QUOTING = frozenset({"unreadable", "too-large", "fields-wrong", "id-wrong"})


def _units(caller: Caller, unit: str | None) -> list[str]:
    """The units that a list is about; none for a cadre without a post, who still sees the own held
    mutations.
    """
    return caller.units_or_none() if unit is None else scope_of(caller, unit)


def _conflict(row: Any, cipher: FieldCipher, caller: Caller) -> ConflictOut:
    values, view = dict(row), caller.shown_of(row["grid"])
    for name in ("kept", "lost", "value"):
        value = None
        if values[name] is not None:
            found = conflict_value(
                cipher, row["kind"], row["field"], row["record"], row["id"], name, values[name]
            )
            value = shown_json(json.dumps(found))
        values[name] = redact_value(row["kind"], row["field"], value, view)
    return ConflictOut(**{**values, "rule": shown_rule(row["rule"])})


def _held(row: Any, cipher: FieldCipher, caller: Caller) -> HeldOut:
    values = dict(row)
    body = held_body(cipher, row["id"], values.pop("body"), row["kind"], row["record"], row["grid"])
    mutation = shown_json(body.text)
    detail = held_detail(cipher, row["id"], row["detail"])
    view = View.FULL if row["staff_code"] == caller.staff_code else caller.shown_of(row["grid"])
    if view is not View.FULL:
        if isinstance(mutation.get("fields"), dict):
            mutation["fields"] = redact(row["kind"], mutation["fields"], view)
        if row["reason"] in _QUOTING:
            detail = with_strings(detail, lambda _: "…")
    values["detail"] = localized(detail)
    return HeldOut(mutation=mutation, **values)


def _fields(item: HeldOut) -> dict[str, Any]:
    fields = item.mutation.get("fields")
    return fields if isinstance(fields, dict) else {}


@router.get(
    "/conflicts",
    summary="Fields on which two devices disagreed",
    operation_id="list_conflicts",
    responses=documented(*READING),
)
async def conflicts(
    request: Request,
    caller: Signed,
    unit: Unit = None,
    state: Literal["open", "resolved"] | None = None,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    record: GivenId = None,
    limit: Limit = 100,
    after: After = None,
) -> ConflictPage:
    """The newest first; what lost is kept for ever."""
    units = _units(caller, unit)
    async with state_of(request).database.transaction() as connection:
        cipher = await cipher_of(connection, state_of(request).settings)
        rows, more = cut(
            await queries.conflicts(
                connection,
                caller.ranges(units),
                state,
                kind,
                record,
                read_after(after),
                limit + 1,
            ),
            limit,
        )
        named = [Named(row["kind"], row["record"]) for row in rows]
        subjects = await about(connection, caller, named)
        await note(connection, request, caller, "conflicts", units, len(rows))
    items = [
        _conflict(row, cipher, caller).model_copy(update={"about": subject})
        for row, subject in zip(rows, subjects, strict=True)
    ]
    return ConflictPage(
        items=items, next=next_after(items[-1].created_at, items[-1].id) if more else None
    )


@router.post(
    "/conflicts/{id}/resolution",
    summary="Settle a conflict",
    operation_id="resolve_conflict",
    responses=documented(*READING, ALREADY_DECIDED),
)
async def resolution(request: Request, caller: Signed, id: Id, body: Resolution) -> ConflictOut:
    """Keeps what was kept, brings back what lost, or sets a new value; reaches all phones as a
    mutation.
    """
    state = state_of(request)
    ranges = caller.ranges(caller.units())

    async def decide() -> ConflictOut:
        async with state.database.transaction() as connection:
            row = await queries.lock_conflict(connection, id, ranges)
            if row is None:
                raise Problem(NOT_FOUND, Text("There is no conflict {id} in your scope.", id=id))
            cipher = await cipher_of(connection, state.settings)
            await settle(
                connection, state.settings, cipher, caller, row, body.choice, body.value, body.note
            )
            await note(connection, request, caller, "conflict-settled", [id], 1)
            settled = await queries.lock_conflict(connection, id, ranges)
            return _conflict(settled, cipher, caller)

    return await retry_on_conflict(decide)


@router.get(
    "/held",
    summary="Mutations kept aside",
    operation_id="list_held",
    responses=documented(*READING),
)
async def held(
    request: Request,
    caller: Signed,
    unit: Unit = None,
    state: Literal["open", "released", "discarded"] | None = "open",
    limit: Limit = 100,
    after: After = None,
) -> HeldPage:
    """Those of the units in scope, and the caller's own; the newest first."""
    units = _units(caller, unit)
    async with state_of(request).database.transaction() as connection:
        cipher = await cipher_of(connection, state_of(request).settings)
        rows, more = cut(
            await queries.held(
                connection,
                caller.ranges(units),
                caller.staff_code,
                state,
                read_after(after),
                limit + 1,
            ),
            limit,
        )
        await note(connection, request, caller, "held", units, len(rows))
        items = [_held(row, cipher, caller) for row in rows]
        named = [Named(one.kind, one.record, _fields(one)) for one in items]
        subjects = await about(connection, caller, named)
    items = [
        one.model_copy(update={"about": subject})
        for one, subject in zip(items, subjects, strict=True)
    ]
    return HeldPage(
        items=items, next=next_after(items[-1].received_at, items[-1].id) if more else None
    )


@router.post(
    "/held/{id}/release",
    summary="Release a held mutation",
    operation_id="release_held",
    responses=documented(*READING, ALREADY_DECIDED),
)
async def release(request: Request, caller: Signed, id: Id, body: Release) -> dict[str, Any]:
    """Sends it through the write path again, judged at its original stamp; answers the verdict."""
    state = state_of(request)

    async def decide() -> dict[str, Any]:
        async with state.database.transaction() as connection:
            await _may_decide(connection, caller, id)
            verdict = await release_held(connection, state.settings, caller, id, body)
            act = "held-not-released" if verdict["outcome"] == "held" else "held-released"
            await note(connection, request, caller, act, [id], 1)
            return verdict

    return await retry_on_conflict(decide)


@router.post(
    "/held/{id}/discard",
    summary="Discard a held mutation",
    operation_id="discard_held",
    responses=documented(*READING, ALREADY_DECIDED),
)
async def discard(request: Request, caller: Signed, id: Id, body: Discard) -> dict[str, Any]:
    """Decides that it shall not be applied; it stays readable with the reason."""
    state = state_of(request)

    async def decide() -> dict[str, Any]:
        async with state.database.transaction() as connection:
            await _may_decide(connection, caller, id, or_author=True)
            await note(connection, request, caller, "held-discarded", [id], 1)
            return await discard_held(connection, state.settings, caller, id, body.reason)

    return await retry_on_conflict(decide)


@router.get(
    "/held/{id}/original",
    summary="What came of a held mutation",
    operation_id="held_original",
    response_class=PlainTextResponse,
    responses=_ORIGINAL | documented(*READING),
)
async def original(request: Request, caller: Signed, id: Id) -> PlainTextResponse:
    """For its author, and for who may decide and works there: what is shown may be a normalised
    copy, of which this is the original.
    """
    async with state_of(request).database.transaction() as connection:
        cipher = await cipher_of(connection, state_of(request).settings)
        row = await queries.original_of(connection, id)
        if row is None or not (
            row["staff_code"] == caller.staff_code or _sees_original(caller, row)
        ):
            raise _absent(id)
        await note(connection, request, caller, "held-original", [id], 1)
    if row["original"] is not None:
        return PlainTextResponse(unpacked(id, row["original"], cipher))
    return PlainTextResponse(
        showable(held_body(cipher, id, row["body"], row["kind"], row["record"], row["grid"]).text)
    )


async def _may_decide(
    connection: Connection, caller: Caller, id: str, or_author: bool = False
) -> None:
    row = await queries.grid_of_held(connection, id)
    own = row is not None and or_author and row["staff_code"] == caller.staff_code
    if row is None or not (own or _decides_on(caller, row)):
        raise _absent(id)


def _decides_on(caller: Caller, row: Any) -> bool:
    """Whether the caller may decide on what is held in a grid: what names one that does not exist
    is nobody's but an administrator's.
    """
    return may_settle(caller.posts, row["grid"], caller.now) or (
        not row["known"] and caller.holds(ADMINISTERS)
    )


def _sees_original(caller: Caller, row: Any) -> bool:
    """Whether the caller sees all that came: it may hold anything, so that no mask can be laid over
    it.
    """
    return _decides_on(caller, row) and caller.view_of(row["grid"]) is View.FULL


def _absent(id: str) -> Problem:
    return Problem(NOT_FOUND, Text("There is no held mutation {id} in your scope.", id=id))
