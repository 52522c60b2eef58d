"""Whether the service's clock is right. What is stored by a wrong one is ordered wrongly for ever,
so nothing is stored by a clock that differs from the database's.

Where both run on one machine their clocks are one. Then the stamps that stand in the database show
a clock that was put back, and the phones, each of which says at every exchange what its own clock
shows, one that is wrong in either direction. A phone's clock is no proof: what phones say is only
told.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
from starlette.types import ASGIApp, Receive, Scope, Send

from service.kit import metrics
from service.kit.database import Connection, Database
from service.kit.errors import UNAVAILABLE, Problem
from sync_protocol.moments import canonical_moment
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

# How far the clocks of service and database may be apart.
APART = timedelta(seconds=60)
# How far the clock may lie behind the newest stamp: two machines that serve one database differ by
# less.
BEHIND = timedelta(minutes=5)
# From how far on, and from how many phones, a median of the phones' clocks is told; and who counts
# as lately seen.
PHONES_APART = timedelta(minutes=5)
PHONES_NEEDED = 5
LATELY = timedelta(hours=1)

EVERY_S = 60.0
RETRY_AFTER_S = 60
_TOLD_EVERY_S = 600.0
# A clock that has moved by so much more, or less, than time has passed was set: it is compared
# before anything else is stored.
_JUMP_S = 10.0
# A browser's OPTIONS asks nothing of the data; beside the API and the pages there are only health,
# figures, documentation and files.
_ASKING = frozenset({"OPTIONS"})
_API = "/v1"


class Clocks(NamedTuple):
    """What the clocks show: `here` the service's; how far it is ahead of the database's, with the
    journey there left out in its favour; the newest stamp or receipt in the database; and of so
    many phones, in the middle, how far it is ahead of them.
    """

    here: datetime
    ahead: timedelta
    newest: datetime | None
    phones: int
    ahead_of_phones: timedelta

    @property
    def apart(self) -> Text | None:
        """What is to be said where the clocks of service and database differ; None where they
        agree.
        """
        if abs(self.ahead) <= APART:
            return None
        return Text(
            "The service's clock shows {here}, the database's {there}: they are more than a minute"
            " apart, and what is stored now would have"
            " a wrong time. Set the wrong one right, best by NTP; a service that runs goes on by"
            " itself then.",
            here=_shown(self.here),
            there=_shown(self.here - self.ahead),
        )

    @property
    def behind(self) -> Text | None:
        """What is to be said where the clock lies behind what stands in the database."""
        if self.newest is None or self.newest - self.here <= BEHIND:
            return None
        return Text(
            "The service's clock shows {here}, but the newest stamp in the database is of"
            " {newest}: what is written now would be ordered"
            " before it. Set the clock right, best by NTP. If it is right, and a wrong one had"
            " written that stamp, start with"
            " ‘gridloop serve --trust-clock’ or GRIDLOOP_TRUST_CLOCK=1 until that moment has"
            " passed.",
            here=_shown(self.here),
            newest=_shown(self.newest),
        )

    @property
    def phones_differ(self) -> Text | None:
        """What is to be said where phones agree that it is another time."""
        if self.phones < PHONES_NEEDED or abs(self.ahead_of_phones) <= PHONES_APART:
            return None
        return Text(
            "The service's clock shows {here}; the clocks of {phones} phones that synced within"
            " the last hour show {there} in the middle."
            " Compare the server's clock with one that you trust, and set it right, best by NTP.",
            here=_shown(self.here),
            phones=self.phones,
            there=_shown(self.here - self.ahead_of_phones),
        )


def _shown(moment: datetime) -> str:
    return canonical_moment(moment.replace(microsecond=0))


# Whoever writes moves a device on, over REST one of the server's.
_NEWEST = """
    SELECT greatest((SELECT max(last_seen) FROM device),
           (SELECT to_timestamp((max(last_stamp) >> 16) / 1000.0) FROM device),
                    (SELECT max(at) FROM audit))
"""
_PHONES = """
    SELECT count(*) AS phones, coalesce(percentile_disc(0.5) WITHIN GROUP
        (ORDER BY clock_offset_ms), 0) AS offset_ms FROM device
    WHERE platform <> 'server' AND revoked_at IS NULL AND last_seen > $1 AND last_seen <= $2
"""


async def read_clocks(connection: Connection, now: Callable[[], datetime]) -> Clocks:
    """What the clocks show just now; the tables are there."""
    await connection.fetchval(
        "SELECT 1"
    )  # so that no connecting, or preparing, is counted as the journey
    asked = now()
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    here = now()
    ahead = _least(asked - there, here - there)
    newest = await connection.fetchval(_NEWEST)
    row = await connection.fetchrow(_PHONES, here - LATELY, here + APART)
    assert row is not None
    return Clocks(here, ahead, newest, row["phones"], timedelta(milliseconds=row["offset_ms"]))


def _least(one: timedelta, other: timedelta) -> timedelta:
    """How far the clock is ahead at least: the database looked at its own at some moment
    between.
    """
    if one <= timedelta(0) <= other:
        return timedelta(0)
    return min(one, other, key=abs)


class ClockWatch:
    """Compares the clock of a service process when it starts, once a minute, and when it was set
    meanwhile.

    `wrong` is why nothing is stored, None while all is well; `warnings` is what somebody should
    look at all the same. `trusted`: the clock may lie behind what stands in the database.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        trusted: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wrong: Text | None = None
        self.warnings: list[Text] = []
        self._now = now
        self._monotonic = monotonic
        self._trusted = trusted
        # A process that may store has been behind nothing once; from then on it has written the
        # newest stamps itself.
        self._has_begun = trusted
        self._looked_at = (now(), monotonic())
        self._looking = asyncio.Lock()
        self._told: dict[str, float] = {}

    @property
    def was_set(self) -> bool:
        """Whether the clock was set since it was compared."""
        at, monotonic = self._looked_at
        return abs((self._now() - at).total_seconds() - (self._monotonic() - monotonic)) > _JUMP_S

    async def look(self, connection: Connection) -> None:
        """Compares now."""
        began = self._now(), self._monotonic()
        clocks = await read_clocks(connection, self._now)
        self._looked_at = began
        metrics.clock_ahead.labels("database").set(clocks.ahead.total_seconds())
        metrics.clock_ahead.labels("phones").set(
            clocks.ahead_of_phones.total_seconds() if clocks.phones >= PHONES_NEEDED else 0
        )
        behind = clocks.behind
        wrong = clocks.apart or (None if self._has_begun else behind)
        self._has_begun = self._has_begun or wrong is None
        if wrong is not None:
            self._tell(logging.ERROR, wrong)
        elif self.wrong is not None:
            log.warning(
                "the service's clock is right again; what phones and people write is stored from"
                " now on"
            )
            self._told.clear()
        self.wrong = wrong
        metrics.clock_wrong.set(wrong is not None)
        self.warnings = [
            text
            for text in (behind, clocks.phones_differ)
            if text is not None and text is not wrong
        ]
        for text in self.warnings:
            self._tell(logging.WARNING, text)

    def _tell(self, level: int, text: Text) -> None:
        """Says it in the log, and now and then again."""
        at = self._monotonic()
        if at - self._told.get(text.id, -_TOLD_EVERY_S) >= _TOLD_EVERY_S:
            self._told[text.id] = at
            log.log(level, "%s", text)

    async def run(self, database: Database) -> None:
        """Compares once a minute, until it is cancelled; while the database is away there is
        nothing to compare, and nothing is stored.
        """
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look_if_possible(database)

    async def look_if_possible(self, database: Database) -> None:
        """Compares, if the database can be reached and has its tables."""
        try:
            async with database.reading() as connection:
                await self.look(connection)
        except (Problem, asyncpg.PostgresError) as error:
            log.warning("the service's clock could not be compared with the database's: %r", error)

    def stamp(self) -> datetime:
        """The moment for what the service stores by itself; raises `Problem` by a wrong clock, and
        by one that was set and not compared.
        """
        if self.wrong is not None or self.was_set:
            raise clock_is_wrong()
        return self._now()

    async def refuse_wrong(self, database: Database) -> None:
        """Raises `Problem` while nothing may be stored; a clock that was set is compared first."""
        if self.was_set:
            async with self._looking:
                if self.was_set:
                    await self.look_if_possible(database)
        if self.wrong is not None:
            raise clock_is_wrong()


def clock_is_wrong() -> Problem:
    """The answer to whoever wants to store something by a wrong clock; it is counted."""
    metrics.clock_refusals.inc()
    return Problem(
        UNAVAILABLE,
        "The server's clock is wrong, and what it stored now would have a wrong time; nothing was"
        " changed. Try again in a few minutes.",
        {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"},
    )


class RightClock:
    """The layer that lets nothing be stored by a wrong clock, over REST or by a page of which
    `pages` has the first part of the path.

    Who reads waits, too: each read of personal data leaves a line in the trail, and who may read is
    judged by the clock.
    """

    def __init__(self, app: ASGIApp, pages: Collection[str] = ()) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._needs_clock(scope):
            try:
                await refuse_by_wrong_clock(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _needs_clock(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] in _ASKING:
            return False
        path: str = scope["path"]
        return path.startswith(_API) or path[1:].partition("/")[0] in self._pages


async def refuse_by_wrong_clock(scope: Scope) -> None:
    """Raises `Problem` where a request would store something by a wrong clock."""
    watch: ClockWatch | None = scope["app"].state.clock
    if watch is not None and (watch.wrong is not None or watch.was_set):
        await watch.refuse_wrong(scope["app"].state.gridloop.database)
