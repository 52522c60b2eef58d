"""A fair share of the REST API for each account: so many of its requests are under way at once, the
others wait behind them.

Without it one page that asks for everything at once, or one account that means harm, would have all
database connections.
"""

import asyncio
from collections import deque

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.identity.access import account_of
from service.kit.errors import TOO_MANY_REQUESTS, Problem

AT_ONCE = 4
WAITING = 60


class _Share:
    def __init__(self) -> None:
        self.under_way = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class AccountLimit:
    """Stands where a body has been read. Who has no token, or a wrong one, is told so by the
    route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._shares: dict[str, _Share] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = await account_of(Request(scope)) if scope["type"] == "http" else None
        if account is None:
            await self._app(scope, receive, send)
            return
        share = self._shares.setdefault(account, _Share())
        await self._enter(account, share)
        try:
            await self._app(scope, receive, send)
        finally:
            self._leave(account, share)

    async def _enter(self, account: str, share: _Share) -> None:
        if share.under_way < AT_ONCE:
            share.under_way += 1
            return
        if len(share.waiting) >= WAITING:
            raise Problem(
                TOO_MANY_REQUESTS,
                "Too many requests of this account are waiting; send fewer at once.",
                {"Retry-After": "2"},
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(account, share)
            raise

    def _leave(self, account: str, share: _Share) -> None:
        """Hands the place on to the one who has waited for longest."""
        while share.waiting:
            turn = share.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        share.under_way -= 1
        if not share.under_way:
            self._shares.pop(account, None)
