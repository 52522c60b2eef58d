"""`POST /v1/sync` and `POST /v1/sync/verify`."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.http.body import read_body
from service.identity.access import phone
from service.kit.database_errors import TOO_SLOW
from service.kit.errors import (
    DEVICE_FORKED,
    DEVICE_NEEDED,
    DEVICE_REVOKED,
    HELD_QUOTA,
    INVALID,
    MALFORMED,
    OTP_ENROLMENT_NEEDED,
    PASSWORD_CHANGE_NEEDED,
    PROTOCOL_UNKNOWN,
    SEQ_GAP,
    SESSION_ENDED,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    TOKEN_MISSING,
    TOO_LARGE,
    UNAVAILABLE,
    UNSUPPORTED,
    UPGRADE,
    Problem,
    documented,
    unavailable,
)
from service.kit.state import state_of
from service.runtime.admission import ConcurrencyLimit
from service.runtime.deadlines import Deadline
from service.sync import examples
from service.sync.exchange import Exchanges
from service.sync.requests import PhoneCaller
from service.sync.verify import verify
from sync_protocol.decoding import BrokenEnvelope, UnknownProtocol, decode_request, decode_verify
from sync_protocol.messages import MAX_MUTATIONS, VerifyAnswer, encode
from sync_protocol.texts import Text
from sync_protocol.version import SPEAKS

router = APIRouter(tags=["sync"])
E = TypeVar("E")


def concurrency_of(request: Request) -> ConcurrencyLimit:
    """The limit of exchanges in this process."""
    return cast(ConcurrencyLimit, request.app.state.concurrency)


_SIGNED = (
    *(TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, SESSION_ENDED),
    *(PASSWORD_CHANGE_NEEDED, OTP_ENROLMENT_NEEDED, DEVICE_NEEDED, UNAVAILABLE),
)


def _body(schema: str, example: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _answer(schema: str, example: Any) -> dict[int | str, dict[str, Any]]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {
        200: {
            "description": "What the server did and has",
            "content": {"application/json": content},
        }
    }


def _read(decode: Callable[[bytes], E], body: bytes) -> E:
    """The envelope in a body; raises `Problem`."""
    try:
        return decode(body)
    except BrokenEnvelope as error:
        raise Problem(MALFORMED if error.malformed else INVALID, error.detail) from None
    except UnknownProtocol as error:
        raise Problem(
            PROTOCOL_UNKNOWN,
            Text(
                "The app speaks protocol {protocol}, this server none above {newest}. Nothing was"
                " taken in: keep everything,"
                " and sync again when the server has been updated.",
                protocol=error.protocol,
                newest=SPEAKS[-1],
            ),
            protocol=error.protocol,
            speaks=list(SPEAKS),
        ) from None


@contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    """Raises `Problem` before the phone gives up: what has not been committed by then is not, and
    its statement is cancelled. Waiting for a slot counts.
    """
    try:
        with Deadline(asyncio.get_running_loop().time() + seconds):
            yield
    except TimeoutError as error:
        raise unavailable(TOO_SLOW, error) from None


@router.post(
    "/v1/sync",
    summary="Hand in mutations and pull changes",
    operation_id="sync",
    openapi_extra=_body("SyncRequest", examples.REQUEST),
    response_class=Response,
    responses=_answer("SyncAnswer", examples.ANSWER)
    | documented(
        *(MALFORMED, PROTOCOL_UNKNOWN, *_SIGNED, DEVICE_REVOKED, SEQ_GAP, DEVICE_FORKED),
        *(TOO_LARGE, UNSUPPORTED, INVALID, UPGRADE, HELD_QUOTA),
    ),
)
async def sync(request: Request) -> Response:
    """One exchange of a phone: it pushes what was written, then pulls what is new. See
    `sync_protocol/PROTOCOL.md`.
    """
    state = state_of(request)
    claims, device, now = await phone(request, state)
    body = await read_body(request, owner=device, account=claims.staff_code)
    concurrency = concurrency_of(request)
    with _in_time(state.settings.exchange_seconds):
        async with concurrency.slot(device, claims.staff_code):
            message = _read(decode_request, body)
            count = len(message.mutations)
            if count > MAX_MUTATIONS:
                text = Text(
                    "{count} mutations are over the limit of {max}; send fewer at a time.",
                    count=count,
                    max=MAX_MUTATIONS,
                )
                raise Problem(TOO_LARGE, text)
            caller = PhoneCaller(device, claims.staff_code, claims.registered_ms)
            began = time.monotonic()
            answer = await state.of(Exchanges).answer(caller, message, now)
            concurrency.took(claims.staff_code, count, time.monotonic() - began)
    return Response(answer, media_type="application/json")


@router.post(
    "/v1/sync/verify",
    summary="Prove a copy of grids",
    operation_id="verify_copy",
    openapi_extra=_body("VerifyRequest", examples.VERIFY),
    response_class=Response,
    responses=_answer("VerifyAnswer", {"mismatched": ["150221100201001"]})
    | documented(
        MALFORMED,
        PROTOCOL_UNKNOWN,
        *_SIGNED,
        DEVICE_REVOKED,
        TOO_LARGE,
        UNSUPPORTED,
        INVALID,
        UPGRADE,
    ),
)
async def prove(request: Request) -> Response:
    """Compares count and digest of the device's grids with what a first pull would give now; names
    those that differ.
    """
    state = state_of(request)
    claims, device, now = await phone(request, state)
    message = _read(
        decode_verify, await read_body(request, owner=device, account=claims.staff_code)
    )
    with _in_time(state.settings.exchange_seconds):
        async with concurrency_of(request).slot(device, claims.staff_code):
            mismatched = await verify(state.database, device, claims.staff_code, message, now)
    return Response(encode(VerifyAnswer(mismatched)), media_type="application/json")
