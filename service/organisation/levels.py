"""The levels of the tree as they are changed: by the administrator of the whole city, and by
operators. One after the other, from the topmost down to the grids.
"""

from collections.abc import Sequence

from service.kit.database import Connection
from service.kit.errors import INVALID, NOT_NOW, Problem
from service.organisation import change_queries as queries
from service.organisation.tree import LevelFacts
from service.organisation.trees import read_tree
from sync_protocol.texts import Text

# What one worker looks after; statements ask for it by this name.
LOWEST = "grid"


async def set_levels(connection: Connection, levels: Sequence[LevelFacts]) -> None:
    """Puts these in the place of the levels that there are, in the caller's transaction; positions
    count from 1. Raises `Problem`: when a level twice, when the last is not that of the grids, or
    when a level with units goes, or comes to stand above one that it stood below.
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
    await queries.replace_levels(connection, levels)
