"""Keeps trees of units in memory. A version of the tree never changes, so it is read once."""

import json
from collections import OrderedDict
from datetime import date
from typing import Any

from service.kit.database import Connection
from service.organisation import queries
from service.organisation.tree import LevelFacts, Spell, Tree, UnitFacts

# Those of the databases that this process works with, and the one or two versions before.
_KEPT = 8
_trees: "OrderedDict[str, Tree]" = OrderedDict()


async def tree_of(connection: Connection, version: str) -> Tree:
    """The tree of a version that a statement has just read, or a newer one."""
    found = _trees.get(version)
    return found if found is not None else await read_tree(connection)


async def current_tree(connection: Connection) -> Tree:
    """The tree as it is now."""
    return await tree_of(connection, await queries.tree_version(connection))


async def read_tree(connection: Connection) -> Tree:
    """The tree as the transaction sees it, in one statement."""
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
    levels = [LevelFacts(**level) for level in _rows(row["levels"])]
    tree = _trees[row["version"]] = Tree(row["version"], units, levels)
    while len(_trees) > _KEPT:
        _trees.popitem(last=False)
    return tree


def _rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)
    return found
