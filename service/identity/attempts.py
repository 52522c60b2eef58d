"""Attempts to sign in: counted before a password is looked at, given back when it was right, for
all processes alike.

A device that signed in as the cadre before, and an address from which the cadre did, have limits of
their own: whoever attacks an account from elsewhere, or an address that a village shares, locks
neither. How many attempts a window allows is a text of the library `limits`; before a window is
full the pause between two attempts doubles.
"""

import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

import asyncpg
from limits import RateLimitItem, parse

from service.identity import attempt_queries as queries
from service.kit.database import Database
from service.kit.errors import SIGN_IN_FAILED, TOO_MANY, Problem, Type
from service.kit.logs import hashed
from service.kit.settings import Settings
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

# So many attempts may follow on each other at once; after that, and once one has failed, they pause
# for 1, 2, 4, 8 … seconds.
FREE_ATTEMPTS = 4


# By so many seconds the times of attempts, and the clocks of machines, may differ.
_APART_S = 60


class Window(NamedTuple):
    """What an attempt counts in: a key, how many it may be in what time, and whether they must
    pause.
    """

    key: str
    item: RateLimitItem
    pauses: bool = False


class Counted(NamedTuple):
    """What a window holds: attempts, failed or under way; its end and its last failure, both Unix
    times, 0 for none.
    """

    attempts: int
    expires_at: float
    last_at: float


class Origin(NamedTuple):
    """Whose attempt it is: the account, in one spelling, and from where. `device` and
    `is_known_address`: it signed in there before.
    """

    account: str
    address: str
    device: str | None = None
    is_known_address: bool = False


class Attempts:
    """Counts attempts in the database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._here, self._account, self._address = (
            parse(text)
            for text in (
                settings.attempts_here,
                settings.attempts_account,
                settings.attempts_address,
            )
        )
        self._code = parse("10/hour")
        self._settings = settings

    def _stored(self, window: Window) -> str:
        """A window's key as the database keeps it: whatever was typed as a staff code may be
        anybody's phone number.
        """
        return (
            f"{window.key.partition(' ')[0]} {hashed(window.key, self._settings.keyring.log_key)}"
        )

    def of_cadre(self, origin: Origin) -> tuple[Window, ...]:
        """The windows of an attempt to sign in as a cadre."""
        account, address = origin.account, network_of(origin.address)
        if origin.device is not None:
            return (
                Window(f"device {origin.device} {account} {address}", self._here, pauses=True),
                Window(f"device {origin.device} {account}", self._account),
            )
        here = Window(f"here {account} {address}", self._here, pauses=True)
        if origin.is_known_address:
            return (here, Window(f"known {account}", self._account))
        return (
            here,
            Window(f"account {account}", self._account),
            Window(f"address {address}", self._address),
        )

    def of_app(self, client: str, address: str) -> tuple[Window, ...]:
        """The windows of an app's attempt. Its secret cannot be guessed, so nobody may lock the app
        from elsewhere.
        """
        network = network_of(address)
        return (
            Window(f"app {client} {network}", self._here, pauses=True),
            Window(f"address {network}", self._address),
        )

    def of_session(self, session: str) -> tuple[Window, ...]:
        """The windows of an attempt by somebody signed in."""
        return (Window(f"session {session}", self._here, pauses=True),)

    def of_code(self, account: str) -> tuple[Window, ...]:
        """The windows of codes of six digits, which whoever knows the password could go through."""
        return (Window(f"code {account}", self._code),)

    async def take(self, windows: Sequence[Window], now: datetime) -> None:
        """Counts an attempt in all windows, or in none: raises `Problem` while one of them allows
        no more; says when to come again.
        """
        at = now.timestamp()
        keyed = {self._stored(window): window for window in windows}
        async with self._database.transaction(bookkeeping=True) as connection:
            rows = await queries.lock_windows(connection, [*keyed])
            held = {
                key: Counted(row["count"], row["expires_at"], row["last_at"])
                for key, row in rows.items()
            }
            wait = max(seconds_to_wait(window, held[key], at) for key, window in keyed.items())
            if wait > 0:
                raise too_many(wait)
            await queries.write_windows(
                connection, {key: one_more(window, held[key], at) for key, window in keyed.items()}
            )

    @asynccontextmanager
    async def counted(
        self, windows: Sequence[Window], now: datetime, failure: Type = SIGN_IN_FAILED
    ) -> AsyncIterator[None]:
        """Counts what is done inside as an attempt; it failed if it raises a `Problem` of type
        `failure`.

        Whatever else it raises says nothing of the password: then the attempt is given back.
        """
        await self.take(windows, now)
        try:
            yield
        except BaseException as error:
            if isinstance(error, Problem) and error.type is failure:
                await self._failed(windows, now)
            else:
                await _if_it_can(self._give_back(windows))
            raise
        await _if_it_can(self._succeeded(windows))

    async def _failed(self, windows: Sequence[Window], now: datetime) -> None:
        """Keeps when an attempt failed, where that brings pauses; it is counted already."""
        async with self._database.transaction(bookkeeping=True) as connection:
            keys = [self._stored(window) for window in windows if window.pauses]
            await queries.note_failure(connection, keys, now.timestamp())

    async def _give_back(self, windows: Sequence[Window]) -> None:
        """Forgets an attempt that came to nothing: nobody's password was looked at, or it was right
        and something else was missing.
        """
        async with self._database.transaction(bookkeeping=True) as connection:
            await queries.give_back(connection, [self._stored(window) for window in windows])

    async def _succeeded(self, windows: Sequence[Window]) -> None:
        """Forgets a good attempt, and the failures before it where they pause."""
        async with self._database.transaction(bookkeeping=True) as connection:
            await queries.give_back(
                connection,
                [self._stored(window) for window in windows],
                [self._stored(window) for window in windows if window.pauses],
            )


async def _if_it_can(forgetting: Awaitable[None]) -> None:
    """Forgets an attempt where the database lets it: what was done stays done, and its sender must
    not be told that it failed.
    """
    try:
        await forgetting
    except (Problem, asyncpg.PostgresError) as error:
        log.warning("an attempt to sign in stays counted: %r", error)


def seconds_to_wait(window: Window, held: Counted, now: float) -> float:
    """How long a window allows no attempt; 0 when it allows one. One that a wrong clock has set
    into the future is over.
    """
    if not _is_under_way(window, held, now):
        return 0
    if held.attempts >= window.item.amount:
        return held.expires_at - now
    if (
        not window.pauses
        or held.attempts <= FREE_ATTEMPTS
        or not 0 < held.last_at <= now + _APART_S
    ):
        return 0
    pause: float = 2 ** (held.attempts - FREE_ATTEMPTS - 1)
    return max(0, min(held.last_at + pause, held.expires_at) - now)


def one_more(window: Window, held: Counted, now: float) -> Counted:
    """A window with one attempt more; a new one begins with it when the last is over."""
    if _is_under_way(window, held, now):
        return Counted(held.attempts + 1, held.expires_at, held.last_at)
    return Counted(1, now + window.item.get_expiry(), 0)


def _is_under_way(window: Window, held: Counted, now: float) -> bool:
    # Attempts at once come in another order than their times: one that is a little older must not
    # end the window of the newer.
    return now < held.expires_at <= now + window.item.get_expiry() + _APART_S


def too_many(wait: float) -> Problem:
    """The answer to one attempt too many."""
    seconds = max(1, int(wait) + 1)
    return Problem(
        TOO_MANY,
        Text(
            "Too many attempts have failed; try again in {seconds} seconds, or ask your village"
            " secretary or the administrator"
            " for a one-time code.",
            seconds=seconds,
        ),
        {"Retry-After": str(seconds)},
    )


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first half, which one line has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False).network_address) + "/64"
    return str(found)
