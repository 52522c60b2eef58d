"""A request that met a statement prepared before the tables changed is done again, once: a
migration under a running service costs nobody.

Outside a transaction asyncpg does this by itself, and `retry_on_conflict` for the work that is
given to it. All other requests come here. One that had written something already is not done again;
its sender is asked to.
"""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.body import replayed
from service.kit.database import commits
from service.kit.database_errors import OUTDATED

log = logging.getLogger("gridloop")


class Retries:
    """Stands where the body is one message already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        first: Message | None = None
        done: list[None] = []

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def remember() -> Message:
            nonlocal first
            message = await receive()
            first = first or message
            return message

        token = commits.set(done)
        try:
            await self._app(scope, remember, watch)
        except OUTDATED as error:
            if started or done:
                raise
            log.info("a request is done again: %r", error)
            await self._app(scope, receive if first is None else replayed(first, receive), send)
        finally:
            commits.reset(token)
