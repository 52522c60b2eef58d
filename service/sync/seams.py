"""Named points of an exchange at which a simulation may stop, reorder or kill it. In service nothing happens there."""

from collections.abc import Awaitable, Callable

Seam = Callable[[str], Awaitable[None]]

PUSH_LOCKED = "push locked"
PUSH_WRITTEN = "push written"
PUSH_COMMITTED = "push committed"
PULL_READ = "pull read"
ALL = (PUSH_LOCKED, PUSH_WRITTEN, PUSH_COMMITTED, PULL_READ)

_seam: Seam | None = None


def install(seam: Seam | None) -> None:
    """Puts a simulation's seam in place, or takes it out."""
    global _seam
    _seam = seam


async def reach(name: str) -> None:
    """Called by the exchange at each point."""
    if _seam is not None:
        await _seam(name)
