"""Counts anew what the tallies of a part of the villages should be, from the records alone."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from service.cases import filing
from service.cases.refolding import folded
from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.sql import array
from service.organisation.trees import read_tree
from service.tallies.deltas import TallyDeltas, WeekKey
from service.tallies.facts import case_facts, household_facts
from service.tallies.spans import period_type, spans_of, village_of
from service.tallies.upserts import DUTY_COUNTS, WEEK_DAYS, WORK_COUNTS
from service.vocabulary.keeping import read_reference_data
from service.vocabulary.rules import Rules
from sync_protocol import periods

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
# A household counts in one grid alone, and perhaps in one of another part.
_VISITED_ELSEWHERE = """
    SELECT household::text, span, grid FROM visited_household
    WHERE household = ANY($1::text::uuid[]) AND NOT (grid >= $2 AND grid < $3)
"""
_CONTACT_CHANGES = """
    SELECT household::text, day, change FROM contact_change
    WHERE household = ANY($1::text::uuid[])
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
    grids: dict[Any, tuple[int, ...]] = {
        key: (*counts, 0, 0) for key, counts in changes.grids().items()
    }
    empty = (0,) * (len(WORK_COUNTS) + 1 + len(DUTY_COUNTS))
    for key, counts in (await _households(connection, part, visited, contacts)).items():
        grids[key] = (*grids.get(key, (*empty, 0, 0))[:-2], *counts)
    weeks = changes.weeks()
    return Recount(
        filed,
        {
            "tally": changes.days(),
            "week_tally": weeks,
            "village_week_tally": _village_weeks(weeks),
            "case_tally": changes.cases(),
            "hours_tally": changes.hours(),
            "cadre_tally": changes.cadres(),
            "grid_tally": grids,
            "household_tally": changes.household_counts(),
            "duty_tally": changes.added_duties(),
            "category_tally": changes.categories(),
        },
        visited,
    )


def _village_weeks(weeks: Mapping[WeekKey, tuple[int, ...]]) -> dict[WeekKey, tuple[int, ...]]:
    """How many grids of each village were visited on each day of a week, from their visits."""
    found: dict[WeekKey, list[int]] = defaultdict(lambda: [0] * len(WEEK_DAYS))
    for (week, grid), visits in weeks.items():
        row = found[week, village_of(grid)]
        for place, count in enumerate(visits):
            row[place] += count > 0
    return {key: tuple(row) for key, row in found.items()}


async def _households(
    connection: Connection,
    part: Part,
    visited: Mapping[tuple[str, str], set[str]],
    contacts: set[str],
) -> dict[tuple[str, str], list[int]]:
    """How many households count as visited in each span and grid of a part, and how many of these
    are contact households, as of the last day of the span. `contacts`: those that are so now.
    """
    # The grid with the highest code in which each was visited.
    counts_in: dict[tuple[str, str], str] = {}

    def count(household: str, span: str, grid: str) -> None:
        for one in _spans_in(span):
            key = (household, one)
            counts_in[key] = max(counts_in.get(key, ""), grid)

    for (span, grid), households in visited.items():
        for household in households:
            count(household, span, grid)
    every = array({household for household, _ in counts_in})
    for household, span, grid in await connection.fetch(_VISITED_ELSEWHERE, every, *part):
        count(household, span, grid)
    changed: dict[str, list[tuple[date, int]]] = defaultdict(list)
    for household, day, change in await connection.fetch(_CONTACT_CHANGES, every):
        changed[household].append((day, change))
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for (household, span), grid in counts_in.items():
        if part.begins <= grid < part.ends:
            contact = int(household in contacts)
            if household in changed:
                last = _last_day(span)
                contact -= sum(change for day, change in changed[household] if day > last)
            counts = found[span, grid]
            counts[0] += 1
            counts[1] += contact
    return found


@lru_cache(maxsize=4_096)
def _spans_in(span: str) -> tuple[str, ...]:
    """A week, or a month and the longer spans around it."""
    return (span,) if period_type(span) == "week" else spans_of(_first_day(span))[1:]


def _first_day(span: str) -> date:
    year, number = int(span[:4]), int(span[5:].lstrip("WQH") or 1)
    kind = period_type(span)
    if kind == "week":
        return date.fromisocalendar(year, number, 1)
    return date(year, 1 + (number - 1) * _MONTHS[kind], 1)


_MONTHS = {"month": 1, "quarter": 3, "half": 6, "year": 12}


@lru_cache(maxsize=4_096)
def _last_day(span: str) -> date:
    return periods.around(period_type(span), _first_day(span)).last


async def _recount_cases(
    connection: Connection, settings: Settings, part: Part
) -> dict[str, filing.Filed]:
    tree = await read_tree(connection)
    rules = Rules(settings, tree, await read_reference_data(connection))
    return await folded(connection, rules, tree, "p.grid >= $1 AND p.grid < $2", *part)
