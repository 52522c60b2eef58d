"""Counts anew what the tallies of a part of the villages should be, from the records alone."""

from typing import Any, NamedTuple

import msgspec

from service.cases import filing
from service.cases.refolding import folded
from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.sql import array
from service.organisation.trees import read_tree
from service.tallies.deltas import TallyDeltas
from service.tallies.facts import case_facts, household_facts
from service.vocabulary.keeping import read_reference_data
from service.vocabulary.rules import Rules

ROWS_AT_ONCE = 5_000


class Part(NamedTuple):
    """The grids from `begins` on and before `ends`, and the villages; both are codes of villages,
    or lie before and behind all codes.
    """

    begins: str
    ends: str


class Recount(msgspec.Struct):
    """Everything derived of a part, from nothing but the records: cases by problem, the rows of
    each tally by table, and the households visited by span and grid.
    """

    cases: dict[str, filing.Filed]
    tallies: dict[str, dict[Any, tuple[int, ...]]]
    visited: dict[tuple[str, str], set[str]]


_VISITS = """
    SELECT grid, created_by, stamp, clocks -> 'first' ->> 1 AS first, received_at, visited_at,
           duties, household_id::text
    FROM visit WHERE grid >= $1 AND grid < $2 AND NOT deleted AND visited_at IS NOT NULL
"""
_HOUSEHOLDS = (
    "SELECT id::text, grid, contact_member, coalesce(state, 'present') AS state FROM household"
    " WHERE grid >= $1 AND grid < $2 AND NOT deleted"
)
_CONTACTS_ELSEWHERE = """
    SELECT id::text FROM household WHERE id = ANY($1::text::uuid[]) AND contact_member IS NOT NULL
        AND NOT deleted
"""


async def recount(connection: Connection, settings: Settings, part: Part) -> Recount:
    """Counts a part anew."""
    changes = TallyDeltas()
    households, contacts = set(), set()
    for id, grid, contact_member, state in await connection.fetch(_HOUSEHOLDS, *part):
        facts = household_facts(grid, {"contact_member": contact_member, "state": state})
        changes.household(id, None, facts)
        households.add(id)
        if facts is not None and facts.contact:
            contacts.add(id)
    cursor = await connection.cursor(_VISITS, *part)
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        changes.stored_visits(rows)
    filed = await _recount_cases(connection, settings, part)
    for item in filed.values():
        changes.case(None, case_facts(item))
    visited = changes.visited_in()
    elsewhere = set().union(*visited.values()) - households
    if elsewhere:
        contacts.update(
            [row["id"] for row in await connection.fetch(_CONTACTS_ELSEWHERE, array(elsewhere))]
        )
    nobody: set[str] = set()
    grids = {}
    for key, counts in changes.grids().items():
        there = visited.get(key, nobody)
        grids[key] = (*counts, len(there), len(there & contacts))
    return Recount(
        filed,
        {
            "tally": changes.days(),
            "week_tally": changes.weeks(),
            "case_tally": changes.cases(),
            "cadre_tally": changes.cadres(),
            "grid_tally": grids,
            "household_tally": changes.household_counts(),
            "duty_tally": changes.added_duties(),
            "category_tally": changes.categories(),
        },
        visited,
    )


async def _recount_cases(
    connection: Connection, settings: Settings, part: Part
) -> dict[str, filing.Filed]:
    tree = await read_tree(connection)
    rules = Rules(settings, tree, await read_reference_data(connection))
    return await folded(connection, rules, tree, "p.grid >= $1 AND p.grid < $2", *part)
