"""Limits of time that PostgreSQL keeps for the connections of a pool."""

from typing import NamedTuple

# PostgreSQL itself ends a statement that takes too long; the driver only where the server does not
# answer any more.
DRIVER_LATER_S = 5


class Limits(NamedTuple):
    """Seconds after which PostgreSQL ends a wait for a lock, a statement, and a transaction in
    which nothing is done; 0: never.

    They are the server's, so that the work really ends, and nobody waits for the locks of somebody
    who has gone.
    """

    lock: float
    statement: float
    idle: float

    def server_settings(self) -> dict[str, str]:
        """As PostgreSQL takes them for a connection. Where there is no limit that is said, too: the
        role may have one of its own.
        """
        return {
            "lock_timeout": _milliseconds(self.lock),
            "statement_timeout": _milliseconds(self.statement),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle),
        }

    @property
    def of_driver(self) -> float | None:
        """When the driver gives a statement up, and cancels it: later than the server."""
        return self.statement + DRIVER_LATER_S if self.statement else None


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


# Those of commands, which take the time that they need.
UNLIMITED = Limits(0, 0, 0)
