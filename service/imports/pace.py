"""How an import gives way to phones: where the service runs it, it works in short pieces and rests
for longer than each took; where a command runs it, it only lets others of its process run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from service.kit.database import retry_on_conflict

T = TypeVar("T")

# Of work between two turns of others.
_PIECE_S = 0.003
_PIECE_ALONE_S = 0.1
# How much longer than each piece of work it rests.
_REST = 2.0
# Households of one transaction: the phones of their grids wait for so long.
_TOGETHER = 20
_TOGETHER_ALONE = 500
# Groups of households that are written at the same time: while PostgreSQL works for one of them,
# this process does for another.
_AT_ONCE_ALONE = 2
# Households that are compared together with what is known.
_COMPARED = 200
_COMPARED_ALONE = 1_000


class Pace:
    """The pace of an import. `together`: how many households one transaction writes;
    `compared`: about how many are compared together with what is known, and written one part after
    the other; `at_once`: how many such groups are written at the same time.
    """

    def __init__(self, gently: bool) -> None:
        self._gently = gently
        self._since = monotonic()
        self.together = _TOGETHER if gently else _TOGETHER_ALONE
        self.at_once = 1 if gently else _AT_ONCE_ALONE
        self.compared = _COMPARED if gently else _COMPARED_ALONE

    async def breathe(self) -> None:
        """Lets others run if it has worked for long; to be called every few rows."""
        worked = monotonic() - self._since
        if worked >= (_PIECE_S if self._gently else _PIECE_ALONE_S):
            await self._rest(worked)

    async def transaction(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does a transaction, and leaves the database to others for a while."""
        began = monotonic()
        done = await retry_on_conflict(work)
        await self._rest(monotonic() - began)
        return done

    async def _rest(self, worked: float) -> None:
        await asyncio.sleep(worked * _REST if self._gently else 0)
        self._since = monotonic()
