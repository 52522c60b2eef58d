"""Recounts everything that is derived from the records, and compares: cases from steps, the tally from visits and cases."""

from collections import defaultdict

import msgspec

from service.database import Connection
from service.problems import cases
from service.problems.limits import limit_rule
from service.records.columns import fields_json
from service.settings import Settings
from service.summaries.credit import Changes, Counts, Key, of_case, of_visit
from sync_protocol.lifecycle import fold
from sync_protocol.records import KINDS


class Difference(msgspec.Struct):
    """A derived row that is not what the records say."""

    what: str
    key: str
    kept: str
    recounted: str


async def recount(connection: Connection, settings: Settings) -> tuple[dict[str, cases.Filed], dict[Key, Counts]]:
    """All cases and the whole tally, from nothing but the records."""
    changes = Changes()
    visits = await connection.fetch(f"SELECT grid, created_by, {fields_json(KINDS['visit'])} AS fields FROM visit WHERE NOT deleted")
    for row in visits:
        changes.add(of_visit(row["grid"], row["created_by"], msgspec.json.decode(row["fields"])))
    limit = limit_rule(settings.emergency_hours, settings.urgent_days, settings.ordinary_days)
    filed = {}
    problems = await connection.fetch(
        f"SELECT id::text, grid, created_by, {fields_json(KINDS['problem'])} AS fields FROM problem WHERE NOT deleted"
    )
    steps = await connection.fetch(
        f"SELECT id::text, problem_id::text AS problem, stamp, created_by, {fields_json(KINDS['step'])} AS fields"
        " FROM step WHERE NOT deleted"
    )
    by_problem = defaultdict(dict, cases.steps_from(steps))
    authors = {step.by for some in by_problem.values() for step in some.values() if step.action == "extend"}
    may_extend = await cases.ranks_above(connection, authors)
    for row in problems:
        fields = msgspec.json.decode(row["fields"])
        case = fold(fields, row["grid"], row["created_by"], by_problem[row["id"]].values(), limit, may_extend)
        severity = fields.get("severity") or "ordinary"
        filed[row["id"]] = cases.Filed(row["id"], row["grid"], fields["duty"], severity, case)
        changes.add(of_case(row["grid"], fields["duty"], case))
    return filed, changes.rows()


async def differences(connection: Connection, settings: Settings) -> list[Difference]:
    """Where the kept cases and tally differ from a recount; empty when all is well."""
    filed, tally = await recount(connection, settings)
    found = []
    kept = await cases.load(connection, [str(row["problem"]) for row in await connection.fetch("SELECT problem FROM case_file")])
    for item in filed.values():
        item.case.history = []
    for problem in sorted(filed.keys() | kept.keys()):
        one, two = kept.get(problem), filed.get(problem)
        if one != two:
            found.append(Difference("case", problem, str(one), str(two)))
    rows = await connection.fetch("SELECT day, grid, cadre, duty, visits, raised, resolved FROM tally")
    have = {Key(*tuple(row)[:4]): Counts(*tuple(row)[4:]) for row in rows}
    found += [
        Difference("tally", str(tuple(map(str, key))), str(have.get(key)), str(tally.get(key)))
        for key in sorted(have.keys() | tally.keys())
        if have.get(key, Counts()) != tally.get(key, Counts())
    ]
    return found
