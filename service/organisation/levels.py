"""The levels of the tree as they are changed: by the administrator of the whole city, and by
operators. One after the other, from the topmost down to the grids.
"""

from collections.abc import Sequence
from datetime import date

from service.kit.database import Connection
from service.kit.errors import INVALID, NOT_NOW, Problem
from service.organisation import change_queries as queries
from service.organisation.tree import LevelFacts, Tree, UnitFacts
from service.organisation.trees import read_tree
from sync_protocol.texts import Text

# What one worker looks after; statements ask for it by this name.
LOWEST = "grid"


async def set_levels(connection: Connection, levels: Sequence[LevelFacts], today: date) -> None:
    """Puts these in the place of the levels that there are, in the caller's transaction; positions
    count from 1. Raises `Problem`: when a level twice, when the last is not that of the grids, when
    a level with units goes, or comes to stand above one that it stood below, or when another comes
    between units that lie right under each other.
    """
    slugs = [level.slug for level in levels]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise Problem(INVALID, Text("A level has one name: {twice} is there twice.", twice=twice))
    if len(slugs) < 2 or slugs[-1] != LOWEST:
        raise Problem(
            INVALID,
            Text("The last level is ‘{lowest}’, and there is at least one above.", lowest=LOWEST),
        )
    await queries.lock_units(connection)
    tree = await read_tree(connection)
    used = {unit.level for unit in tree.units.values()}
    gone = sorted(used - {*slugs})
    if gone:
        raise Problem(
            NOT_NOW,
            Text(
                "Units are of the levels {gone}; a level goes when no unit is of it any more.",
                gone=gone,
            ),
        )
    kept = [slug for slug in slugs if slug in used]
    if kept != [slug for slug in tree.levels if slug in used]:
        raise Problem(
            NOT_NOW, "Levels that have units stay in their order; the units lie under each other."
        )
    _refuse_between(tree, slugs, today)
    await queries.replace_levels(connection, levels)


def _refuse_between(tree: Tree, slugs: Sequence[str], today: date) -> None:
    """Raises `Problem` for a level that comes between units and those right above them, today or on
    a day to come: no unit could be made there any more, for a new one lies under the level right
    above.
    """
    above = dict(zip(slugs[1:], slugs, strict=False))
    in_the_way: dict[tuple[str, str], list[str]] = {}
    for unit in tree.units.values():
        if unit.closed is not None and unit.closed <= today:
            continue
        for parent in {tree.parent(unit.code, today), _last_parent(unit)}:
            level = None if parent is None else tree.units[parent].level
            wanted = above.get(unit.level)
            # Units that lie otherwise already lie as they did before.
            before = _above(tree, unit.level)
            if level != wanted and level == before and wanted is not None:
                in_the_way.setdefault((wanted, unit.level), []).append(unit.code)
    for (between, level), units in in_the_way.items():
        before = _above(tree, level)
        if before is None:
            text = Text(
                "The level ‘{between}’ cannot come above ‘{level}’: {count} units of ‘{level}’ are"
                " topmost ones ({units} …). Levels above the top are set before units are there.",
                between=between,
                level=level,
                count=len(units),
                units=units[0],
            )
        else:
            text = Text(
                "The level ‘{between}’ cannot come between ‘{above}’ and ‘{level}’: {count} units"
                " of ‘{level}’ lie right under one of ‘{above}’ ({units} …). A level comes only"
                " where no units do.",
                between=between,
                above=before,
                level=level,
                count=len(units),
                units=", ".join(sorted(units)[:3]),
            )
        raise Problem(NOT_NOW, text)


def _above(tree: Tree, level: str) -> str | None:
    slugs = [*tree.levels]
    place = slugs.index(level)
    return slugs[place - 1] if place else None


def _last_parent(unit: UnitFacts) -> str | None:
    return unit.spells[-1].parent if unit.spells else unit.parent
