"""The revisions that one call of the write path takes of its grids, whose counters are locked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby


class Revisions:
    """Gives out revisions, each the next one of its grid.

    `heads`: where the locked counters stood; `allocated`: how many of each grid were given out
    since; `multi_writer_grids`: the grids in which more than one device has written.
    """

    def __init__(self, heads: Mapping[str, int]) -> None:
        self.heads = heads
        self.allocated: dict[str, int] = defaultdict(int)
        self.multi_writer_grids: set[str] = set()
        self._takers: dict[str, str] = {}

    def next(self, grid: str, device: str, count: int = 1) -> int:
        """The next revision of a grid, the first of `count` that a device takes."""
        if self._takers.setdefault(grid, device) != device:
            self.multi_writer_grids.add(grid)
        rev = self.heads[grid] + self.allocated[grid] + 1
        self.allocated[grid] += count
        return rev

    def next_of_each(self, grids: Sequence[str], device: str) -> list[int]:
        """The next revisions of grids, one for each time that a grid is named."""
        revs: list[int] = []
        for grid, named in groupby(grids):
            count = len([*named])
            first = self.next(grid, device, count)
            revs += range(first, first + count)
        return revs

    def head(self, grid: str) -> int | None:
        """Where a grid stands by now; None if its counter is not locked."""
        return self.heads[grid] + self.allocated[grid] if grid in self.heads else None
