"""Reads a request's body within its limits: plain or gzip, never more than the inflated limit in memory."""

import asyncio
from typing import Any

from fastapi import Request
from isal import isal_zlib
from starlette.types import Message, Receive

from service.errors import MALFORMED, TOO_LARGE, TOO_SLOW, UNSUPPORTED, Problem
from sync_protocol.messages import MAX_REQUEST_BYTES

# A page of a push over a bad line takes seconds; whoever takes longer holds a place that others need.
BODY_TIMEOUT_S = 60


async def read_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """The inflated body; raises `Problem` when it is over `limit` bytes or not what its encoding says."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise Problem(UNSUPPORTED, f"Content-Encoding ‘{encoding[:20]}’ is not read here; use gzip or none.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read(request, limit, isal_zlib.decompressobj(wbits=31) if encoding == "gzip" else None)
    except TimeoutError:
        raise Problem(TOO_SLOW, f"The body did not come within {BODY_TIMEOUT_S} seconds; send it again where coverage is better.") from None


def replayed(first: Message, receive: Receive) -> Receive:
    """A `receive` that gives a message that was read already, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return first

    return again


async def _read(request: Request, limit: int, inflater: Any) -> bytes:
    parts = []
    size = 0
    async for chunk in request.stream():
        if inflater is not None:
            try:
                chunk = inflater.decompress(chunk, limit - size + 1)
            except isal_zlib.error:  # type: ignore[misc]  # its types call the class an exception
                raise Problem(MALFORMED, "The body is not gzip, as its Content-Encoding says.") from None
        size += len(chunk)
        if size > limit or (inflater is not None and inflater.unconsumed_tail):
            raise Problem(TOO_LARGE, f"The body is over {limit} bytes inflated; send fewer mutations at a time.", limit=limit)
        parts.append(chunk)
    if inflater is not None and not inflater.eof and parts:
        raise Problem(MALFORMED, "The gzip body ends too early; send it again.")
    return b"".join(parts)
