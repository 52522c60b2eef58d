"""Named points of an exchange at which a simulation may stop, reorder or kill it. In service
nothing happens there.
"""

from collections.abc import Awaitable, Callable

Hook = Callable[[str], Awaitable[None]]

PUSH_LOCKED = "push locked"
PUSH_WRITTEN = "push written"
PUSH_COMMITTED = "push committed"
PULL_READ = "pull read"
ALL = (PUSH_LOCKED, PUSH_WRITTEN, PUSH_COMMITTED, PULL_READ)

_hook: Hook | None = None


def set_hook(hook: Hook | None) -> None:
    """Puts a simulation's hook in place, or takes it out."""
    global _hook
    _hook = hook


async def hit(name: str) -> None:
    """Called by the exchange at each point."""
    if _hook is not None:
        await _hook(name)
