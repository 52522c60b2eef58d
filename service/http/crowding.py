"""More connections than there may be: the idle ones that make room, and what the system allows."""

import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

log = logging.getLogger("gridloop")

SHED = 64
_TOLD_EVERY_S = 10.0


def shed_idle(connections: Iterable[Any], count: int = SHED) -> int:
    """Closes the connections that have been idle for longest; how many."""
    idle = [
        connection
        for connection in connections
        if connection.is_idle and not connection.transport.is_closing()
    ]
    idle = sorted(idle, key=lambda connection: connection.idle_since)[:count]
    for connection in idle:
        connection.transport.abort()
    crowd.note(closed=len(idle))
    return len(idle)


class Crowd:
    """Says in the log now and then that there are more connections than there may be."""

    def __init__(self) -> None:
        self._told = -_TOLD_EVERY_S
        self._closed = self._refused = 0

    def note(self, closed: int = 0, refused: int = 0) -> None:
        """Counts idle connections that were closed, and new ones that were refused."""
        self._closed += closed
        self._refused += refused
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S and (self._closed or self._refused):
            log.warning(
                "there are too many connections: %d idle ones were closed, %d new ones refused",
                self._closed,
                self._refused,
            )
            self._told, self._closed, self._refused = now, 0, 0


crowd = Crowd()


def room_for_files(wanted: int) -> int:
    """Lets the process open as many files as the system allows; how many connections that leaves,
    of those wanted.
    """
    if sys.platform == "win32":
        return wanted
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return wanted if most == resource.RLIM_INFINITY else max(64, min(wanted, most - 256))
