"""Counts attempts to sign in, for all processes alike: the limits of the library `limits`, kept in PostgreSQL."""

import time

import asyncpg
from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter

from service.database import Database
from service.errors import TOO_MANY, Problem
from service.settings import Settings
from sync_protocol.texts import Text


class PostgresStorage(Storage):
    """Windows of attempts in the table `attempt`, which needs no WAL: after a crash everybody may try again."""

    STORAGE_SCHEME = ["gridloop+postgres"]  # noqa: RUF012 (the library asks for a list)

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What may be raised below."""
        return asyncpg.PostgresError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts in the window under way, or begins one of `expiry` seconds."""
        now = time.time()
        async with self._database.reading() as connection:
            count: int = await connection.fetchval(
                """
                INSERT INTO attempt AS a (key, count, expires_at) VALUES ($1, $2, $3)
                ON CONFLICT (key) DO UPDATE SET count = CASE WHEN a.expires_at <= $4 THEN excluded.count ELSE a.count + excluded.count END,
                    expires_at = CASE WHEN a.expires_at <= $4 THEN excluded.expires_at ELSE a.expires_at END
                RETURNING count
                """,
                key,
                amount,
                now + expiry,
                now,
            )
        return count

    async def get(self, key: str) -> int:
        """The count of the window under way."""
        async with self._database.reading() as connection:
            count: int | None = await connection.fetchval("SELECT count FROM attempt WHERE key = $1 AND expires_at > $2", key, time.time())
        return count or 0

    async def get_expiry(self, key: str) -> float:
        """When the window under way ends, Unix time."""
        async with self._database.reading() as connection:
            expires_at: float | None = await connection.fetchval("SELECT expires_at FROM attempt WHERE key = $1", key)
        return expires_at or time.time()

    async def check(self) -> bool:
        """Whether the table can be reached."""
        await self.get("check")
        return True

    async def reset(self) -> int | None:
        """Forgets every window."""
        async with self._database.reading() as connection:
            return int((await connection.execute("DELETE FROM attempt")).split()[-1])

    async def clear(self, key: str) -> None:
        """Forgets one window."""
        async with self._database.reading() as connection:
            await connection.execute("DELETE FROM attempt WHERE key = $1", key)


class Attempts:
    """Failed attempts, limited per account at an address, per account, and per address."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._limiter = FixedWindowRateLimiter(PostgresStorage(database))
        self._here, self._account, self._address = (
            parse(text) for text in (settings.attempts_here, settings.attempts_account, settings.attempts_address)
        )

    def _windows(self, account: str, address: str) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        return [
            (self._here, ("here", account, address)),
            (self._account, ("account", account)),
            (self._address, ("address", address)),
        ]

    async def check(self, account: str, address: str) -> None:
        """Raises `Problem` while too many attempts have failed; says when to try again."""
        for item, names in self._windows(account, address):
            if not await self._limiter.test(item, *names):
                ends, _ = await self._limiter.get_window_stats(item, *names)
                wait = max(1, int(ends - time.time()) + 1)
                raise Problem(
                    TOO_MANY,
                    Text(
                        "Too many attempts have failed; try again in {seconds} seconds, or ask the administrator for a new password.",
                        seconds=wait,
                    ),
                    {"Retry-After": str(wait)},
                )

    async def failed(self, account: str, address: str) -> None:
        """Counts a failed attempt."""
        for item, names in self._windows(account, address):
            await self._limiter.hit(item, *names)

    async def succeeded(self, account: str, address: str) -> None:
        """Forgets the failures of an account at an address that have been made good."""
        await self._limiter.clear(self._here, "here", account, address)
