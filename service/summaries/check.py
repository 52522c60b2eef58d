"""Recounts everything that is derived from the records, and compares: cases from steps, the tallies from visits, cases and households."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from service.cases import filing
from service.database import Connection
from service.records.columns import fields_json
from service.settings import Settings
from service.statements import write
from service.summaries.credit import Changes, case_facts, household_facts, visit_facts
from service.summaries.tallies import DUTY_COUNTS, WEEK_DAYS, WORK_COUNTS
from service.sync import queries as sync_queries
from sync_protocol.lifecycle import fold
from sync_protocol.records import KINDS

_AT_ONCE = 5_000


class Difference(msgspec.Struct):
    """A derived row that is not what the records say."""

    what: str
    key: str
    kept: str
    recounted: str


class Recount(msgspec.Struct):
    """Everything derived, from nothing but the records: cases by problem, and the rows of each tally by table."""

    cases: dict[str, filing.Filed]
    tallies: dict[str, dict[Any, tuple[int, ...]]]


def _key(*parts: Any) -> tuple[Any, ...]:
    return parts


# table -> (key columns, count columns, how a row's key is made)
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], Callable[..., Any]]] = {
    "tally": (("day", "grid", "cadre"), WORK_COUNTS, _key),
    "week_tally": (("week", "grid"), WEEK_DAYS, _key),
    "case_tally": (("every", "span", "village", "severity"), ("raised", "closed", "lapsed", "cleared"), _key),
    "cadre_tally": (("span", "village", "cadre"), WORK_COUNTS, _key),
    "visited_household": (("household", "span", "grid"), (), _key),
    "grid_tally": (("span", "grid"), (*WORK_COUNTS, "late", *DUTY_COUNTS, "households", "contacts"), _key),
    "household_tally": (("grid",), ("households", "contacts"), str),
}

Progress = Callable[[str, int], None]


async def recount(connection: Connection, settings: Settings, progress: Progress = lambda what, done: None) -> Recount:
    """Counts everything anew; call it in a transaction that sees one state of the records."""
    changes = Changes()
    contacts = set()
    done = 0
    async for row in connection.cursor(
        f"SELECT id::text, grid, {fields_json(KINDS['household'])} AS fields FROM household WHERE NOT deleted", prefetch=_AT_ONCE
    ):
        facts = household_facts(row["grid"], msgspec.json.decode(row["fields"]))
        changes.household(row["id"], None, facts)
        if facts and facts.contact:
            contacts.add(row["id"])
        done += 1
    progress("households", done)
    done = 0
    async for row in connection.cursor(
        f"SELECT grid, created_by, received_at, coalesce(clocks -> 'first' ->> 1, lpad(to_hex(stamp), 16, '0')) AS first,"
        f" {fields_json(KINDS['visit'])} AS fields FROM visit WHERE NOT deleted",
        prefetch=_AT_ONCE,
    ):
        fields = msgspec.json.decode(row["fields"])
        changes.visit(None, visit_facts(row["grid"], row["created_by"], fields, row["first"], row["received_at"]))
        done += 1
        if done % 100_000 == 0:
            progress("visits", done)
    progress("visits", done)
    filed = await _recount_cases(connection, settings)
    for item in filed.values():
        changes.case(None, case_facts(item))
    progress("problems", len(filed))
    visited = changes.visited()
    grids = {key: [*counts, 0, 0] for key, counts in changes.grids().items()}
    for key in visited:
        household, span, grid = key
        grids[span, grid][-2] += 1
        grids[span, grid][-1] += household in contacts
    return Recount(
        filed,
        {
            "tally": changes.days(),
            "week_tally": changes.weeks(),
            "case_tally": changes.cases(),
            "cadre_tally": changes.cadres(),
            "visited_household": visited,
            "grid_tally": {key: tuple(counts) for key, counts in grids.items()},
            "household_tally": changes.stock(),
        },
    )


async def _recount_cases(connection: Connection, settings: Settings) -> dict[str, filing.Filed]:
    filed = {}
    problems = await connection.fetch(
        f"SELECT id::text, grid, created_by, received_at, {fields_json(KINDS['problem'])} AS fields FROM problem WHERE NOT deleted"
    )
    steps = await connection.fetch(
        f"SELECT id::text, problem_id::text AS problem, stamp, created_by, {fields_json(KINDS['step'])} AS fields"
        " FROM step WHERE NOT deleted"
    )
    by_problem = defaultdict(dict, filing.steps_from(steps))
    limit = filing.limit_rule_of(settings)
    may_extend = await filing.ranks_above(connection, filing.extending(by_problem.values()))
    own_work_from = await sync_queries.own_work_from(connection)
    for row in problems:
        fields = msgspec.json.decode(row["fields"])
        case = fold(fields, row["grid"], row["created_by"], by_problem[row["id"]].values(), limit, may_extend, own_work_from)
        case.history = []
        case.reason = case.duplicate_of = None  # which the case file does not keep: they stand in the steps
        filed[row["id"]] = filing.Filed(row["id"], row["grid"], fields["duty"], filing.severity_of(fields), case, row["received_at"])
    return filed


async def differences(connection: Connection, settings: Settings, progress: Progress = lambda what, done: None) -> list[Difference]:
    """Where the kept cases and tallies differ from a recount; empty when all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await compare(connection, await recount(connection, settings, progress))


async def compare(connection: Connection, truth: Recount) -> list[Difference]:
    """Where the kept cases and tallies differ from a recount."""
    found = []
    kept = await filing.load(connection, [str(row["problem"]) for row in await connection.fetch("SELECT problem FROM case_file")])
    for problem in sorted(truth.cases.keys() | kept.keys()):
        one, two = kept.get(problem), truth.cases.get(problem)
        if one != two:
            found.append(Difference("case", problem, str(one), str(two)))
    for table, (keys, counts, make) in TABLES.items():
        key = ", ".join(f"{name}::text" if name == "household" else name for name in keys)
        have = {}
        async for row in connection.cursor(f"SELECT {', '.join([key, *counts])} FROM {table}", prefetch=_AT_ONCE):
            values = tuple(row)
            have[make(*values[: len(keys)])] = values[len(keys) :] or (1,)
        zero = (0,) * max(1, len(counts))
        wanted = truth.tallies[table]
        found += [
            Difference(table, str(tuple(map(str, item)) if isinstance(item, tuple) else item), str(have.get(item)), str(wanted.get(item)))
            for item in sorted(have.keys() | wanted.keys())
            if have.get(item, zero) != wanted.get(item, zero)
        ]
    return found


async def mend(connection: Connection, truth: Recount) -> None:
    """Writes the recounted cases and tallies in place of the kept ones, in the caller's transaction."""
    await connection.execute("DELETE FROM case_file")
    every = list(truth.cases.values())
    for start in range(0, len(every), _AT_ONCE):
        await write(connection, [filing.writing(every[start : start + _AT_ONCE])])
    for table, (keys, counts, _) in TABLES.items():
        await connection.execute(f"DELETE FROM {table}")
        await connection.copy_records_to_table(
            table,
            columns=[*keys, *counts],
            records=[(*(key if isinstance(key, tuple) else (key,)), *row[: len(counts)]) for key, row in truth.tallies[table].items()],
        )
