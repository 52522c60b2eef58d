"""Reads a request's body within its limits: plain or gzip, never more than the inflated limit in
memory, and not for ever.

A body that comes slowly costs nobody else anything: all that are being read hold
`MAX_ARRIVING_BYTES` together at most, a device has two of them, and beyond that the account that
holds most gives up the one that has been coming for longest. Its sender is asked to try again.
Bodies of those who have not signed in are counted apart, by their addresses.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Any

from fastapi import Request
from isal import isal_zlib
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.kit.errors import MALFORMED, TOO_LARGE, TOO_SLOW, UNSUPPORTED, Problem
from service.runtime.deadlines import Deadline
from sync_protocol.messages import MAX_REQUEST_BYTES
from sync_protocol.texts import Text

# A page of a push over a bad line takes seconds. After `FREE_S` a body must have come at
# `LEAST_RATE` bytes a second, and all of it after `BODY_TIMEOUT_S`.
FREE_S = 10
LEAST_RATE = 1024
BODY_TIMEOUT_S = 60
MAX_ARRIVING_BYTES = 64 * 1024 * 1024
MAX_ANONYMOUS_BYTES = 8 * 1024 * 1024
AT_ONCE = 2


def body_seconds(received: int) -> float:
    """How long a body may have been coming of which so many bytes are here."""
    return min(BODY_TIMEOUT_S, FREE_S + received / LEAST_RATE)


class _Body:
    """A body on its way: how much of it is buffered, until when it may come."""

    def __init__(self, owner: Hashable, account: Hashable, began: float) -> None:
        self.owner = owner
        self.account = account
        self.began = began
        self.received = 0
        self.buffered = 0
        self.deadline = Deadline(began + body_seconds(0))


class Arriving:
    """The bodies that a process is reading, the oldest first."""

    def __init__(self, max_bytes: int = MAX_ARRIVING_BYTES, at_once: int = AT_ONCE) -> None:
        self.max_bytes = max_bytes
        self._at_once = at_once
        self._bodies: dict[_Body, None] = {}
        self._of_owners: defaultdict[Hashable, dict[_Body, None]] = defaultdict(dict)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def begin(self, owner: Hashable | None, account: Hashable | None = None) -> _Body:
        """Begins to read a body of an account; an owner who has too many of them loses the oldest:
        a phone that lost its line tries again.
        """
        body = _Body(owner, account, asyncio.get_running_loop().time())
        if owner is not None:
            own = self._of_owners[owner]
            for other in [*own][: max(0, len(own) + 1 - self._at_once)]:
                self._give_up(other)
            self._of_owners[owner][body] = None
        self._bodies[body] = None
        return body

    def take(self, body: _Body, received: int, buffered: int) -> None:
        """Notes that some bytes have come, and how many are buffered for them; raises
        `TimeoutError` when this body has to make room.
        """
        body.received += received
        body.buffered += buffered
        self.bytes += buffered
        if body in self._bodies:
            body.deadline.until = body.began + body_seconds(body.received)
            while self.bytes > self.max_bytes and len(self._bodies) > 1:
                oldest = self._oldest_of_most()
                if oldest is body:  # whoever reads it is here, and need not be cancelled
                    self.end(body)
                    raise TimeoutError
                self._give_up(oldest)

    def _oldest_of_most(self) -> _Body:
        """The oldest body of the account whose bodies hold most: whoever sends much makes room, and
        not who is slow.
        """
        buffered: Counter[Hashable] = Counter()
        for body in self._bodies:
            buffered[body.account] += body.buffered
        [(most, _)] = buffered.most_common(1)
        return next(body for body in self._bodies if body.account == most)

    def end(self, body: _Body) -> None:
        """A body is there, or given up."""
        if body in self._bodies:
            del self._bodies[body]
            own = self._of_owners.get(body.owner)
            if own is not None:
                own.pop(body, None)
                if not own:
                    del self._of_owners[body.owner]
        self.bytes -= body.buffered
        body.buffered = 0

    def _give_up(self, body: _Body) -> None:
        self.end(body)
        body.deadline.pass_now()


ARRIVING = Arriving()
ANONYMOUS = Arriving(MAX_ANONYMOUS_BYTES)


async def read_body(
    request: Request,
    limit: int = MAX_REQUEST_BYTES,
    owner: Hashable | None = None,
    account: Hashable | None = None,
    arriving: Arriving = ARRIVING,
) -> bytes:
    """The inflated body; raises `Problem` when it is over `limit` bytes, too slow, or not what its
    encoding says.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise Problem(
            UNSUPPORTED,
            Text(
                "Content-Encoding ‘{encoding}’ is not read here; use gzip or none.",
                encoding=encoding[:20],
            ),
        )
    body = arriving.begin(owner, account)
    try:
        with body.deadline:
            return await _read(
                request,
                limit,
                isal_zlib.decompressobj(wbits=31) if encoding == "gzip" else None,
                body,
                arriving,
            )
    except TimeoutError:
        text = Text("The body came too slowly; send it again where coverage is better.")
        raise Problem(TOO_SLOW, text, {"Connection": "close"}) from None
    finally:
        arriving.end(body)


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


def _refuse_more(inflater: Any) -> None:
    """Raises `Problem` where something stands behind the end of what was inflated."""
    if inflater.eof:
        raise Problem(MALFORMED, "Bytes follow the end of the gzip body; send one gzip member.")


async def _read(
    request: Request, limit: int, inflater: Any, body: _Body, arriving: Arriving
) -> bytes:
    parts = []
    size = received = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if not chunk:
            continue
        came = len(chunk)
        received += came
        if inflater is not None:
            # What is inflated already keeps all that comes behind it, and tells of no byte.
            _refuse_more(inflater)
            try:
                chunk = inflater.decompress(chunk, limit - size + 1)
            except isal_zlib.error:  # type: ignore[misc]  # its types call the class an exception
                raise Problem(
                    MALFORMED, "The body is not gzip, as its Content-Encoding says."
                ) from None
            if inflater.unused_data:
                _refuse_more(inflater)
        size += len(chunk)
        if max(size, received) > limit or (inflater is not None and inflater.unconsumed_tail):
            text = Text(
                "The body is over {limit} bytes inflated; send fewer mutations at a time.",
                limit=limit,
            )
            raise Problem(TOO_LARGE, text, limit=limit)
        parts.append(chunk)
        if more:
            arriving.take(body, came, len(chunk))
    if inflater is not None and not inflater.eof and parts:
        raise Problem(MALFORMED, "The gzip body ends too early; send it again.")
    return b"".join(parts)
