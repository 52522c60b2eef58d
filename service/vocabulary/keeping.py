"""Keeps words, limits and calendars in memory. A version of them never changes, so it is read
once.
"""

import json
from collections import OrderedDict
from datetime import date
from typing import Any

from service.kit.database import Connection
from service.kit.settings import Settings
from service.organisation.trees import current_tree
from service.vocabulary import queries
from service.vocabulary.days import Calendar, DayOff
from service.vocabulary.rules import ReferenceData, Rules
from service.vocabulary.terms import BUILT_IN, Term, Vocabulary

# Those of the databases that this process works with, and the one or two versions before.
_KEPT = 8
_known: "OrderedDict[str, ReferenceData]" = OrderedDict()


async def reference_data(connection: Connection, version: str) -> ReferenceData:
    """What a version says that a statement has just read, or a newer one."""
    found = _known.get(version)
    return found if found is not None else await read_reference_data(connection)


async def current_reference_data(connection: Connection) -> ReferenceData:
    """What holds now."""
    return await reference_data(connection, await queries.version(connection))


async def current_rules(connection: Connection, settings: Settings) -> Rules:
    """The rules by the tree, the words and the calendar as they are now."""
    tree = await current_tree(connection)
    return Rules(settings, tree, await current_reference_data(connection))


async def read_reference_data(connection: Connection) -> ReferenceData:
    """The same as the transaction sees it, in one statement."""
    row = await queries.everything(connection)
    terms = json.loads(row["terms"])
    data = _known[row["version"]] = ReferenceData(
        row["version"],
        Vocabulary(_term(one) for one in terms) if terms else BUILT_IN,
        Calendar(
            ((one["unit"], one["year"]) for one in json.loads(row["years"])),
            (
                (one["unit"], date.fromisoformat(one["day"]), DayOff(one["works"], one["name"]))
                for one in json.loads(row["days"])
            ),
        ),
    )
    while len(_known) > _KEPT:
        _known.popitem(last=False)
    return data


def _term(row: dict[str, Any]) -> Term:
    ends = row["valid_to"]
    return Term(
        row["list"],
        row["code"],
        row["name_zh"],
        row["name_en"],
        row["name_mn"],
        row["position"],
        date.fromisoformat(row["valid_from"]),
        None if ends is None else date.fromisoformat(ends),
        row["attributes"],
    )
