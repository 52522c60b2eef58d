"""Keeps the tree of units in memory, and reads it again when the database has a newer one."""

import json
from datetime import date
from typing import Any

from service.kit.database import Connection
from service.organisation import queries
from service.organisation.tree import LevelFacts, Spell, Tree, UnitFacts


class Trees:
    """The tree as this process last read it."""

    def __init__(self) -> None:
        self._newest = Tree()

    @property
    def newest(self) -> Tree:
        """The tree that was read last, without asking."""
        return self._newest

    async def of_version(self, connection: Connection, version: int) -> Tree:
        """The tree of a version that a statement has just read, or a newer one."""
        if self._newest.version < version:
            await self.read(connection)
        return self._newest

    async def read(self, connection: Connection) -> Tree:
        """The tree as it is now."""
        tree = await read_tree(connection)
        # The version goes back where the database was restored.
        self._newest = tree
        return tree


async def read_tree(connection: Connection) -> Tree:
    """The tree as the database has it, in one statement."""
    row = await queries.tree(connection)
    spells: dict[str, list[Spell]] = {}
    for one in _rows(row["spells"]):
        begins, ends = (
            None if one[name] is None else date.fromisoformat(one[name])
            for name in ("valid_from", "valid_to")
        )
        assert begins is not None
        spells.setdefault(one["unit"], []).append(Spell(one["parent"], begins, ends))
    units = (
        UnitFacts._make((*facts, tuple(spells.get(facts[0], ()))))
        for facts in zip(*(row[name] for name in queries.UNIT_COLUMNS), strict=True)
    )
    return Tree(row["version"], units, [LevelFacts(**level) for level in _rows(row["levels"])])


def _rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)
    return found
