"""How a phone proves its copy: what it claims of each grid, which the server compares with its own
records (promise 12).
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sync_protocol.digest import copy_digest
from sync_protocol.messages import Change
from sync_protocol.windows import in_first_pull


def claims(
    grids: Sequence[str], pulled: Sequence[Change], today: date, own_work_from: str
) -> list[dict[str, Any]]:
    """Highest rev, number of live records and digest of each grid of a copy, of what a first pull
    would bring today.
    """
    shown = in_first_pull(pulled, today, own_work_from)
    by_grid: dict[str, list[tuple[str, int]]] = {grid: [] for grid in grids}
    revs = dict.fromkeys(by_grid, 0)
    for change in pulled:
        if change.grid not in by_grid:
            continue
        revs[change.grid] = max(revs[change.grid], change.rev)
        if (change.kind, change.id) in shown:
            by_grid[change.grid].append((change.id, change.rev))
    return [
        {"grid": grid, "rev": revs[grid], "count": len(pairs), "digest": copy_digest(pairs)}
        for grid, pairs in sorted(by_grid.items())
    ]
