"""Folds problems anew from their records and steps, as a recount does, and when limits or working
days have changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from service.cases import filing
from service.kit.database import Connection
from service.organisation.tree import Tree
from service.records.columns import fields_json
from service.vocabulary.rules import Rules
from service.writes import queries as sync_queries
from sync_protocol.lifecycle import fold
from sync_protocol.records import KINDS


async def folded(
    connection: Connection, rules: Rules, tree: Tree, where: str, *values: Any
) -> dict[str, filing.Filed]:
    """The cases of those living problems `p` for which a condition holds, by problem, as they are
    filed.
    """
    rows = await connection.fetch(
        f"""
        SELECT s.id::text, s.problem_id::text AS problem, s.stamp, s.created_by,
               {fields_json(KINDS["step"], "s")} AS fields
        FROM problem p JOIN step s ON s.problem_id = p.id WHERE {where}
            AND NOT p.deleted AND NOT s.deleted
        """,
        *values,
    )
    by_problem = defaultdict(dict, filing.steps_from(rows))
    may_extend = await filing.ranks_above(connection, filing.extending(by_problem.values()), tree)
    own_work_from = await sync_queries.own_work_from(connection)
    found = {}
    for row in await connection.fetch(
        f"SELECT p.id::text, p.grid, p.created_by, p.received_at,"
        f" {fields_json(KINDS['problem'], 'p')} AS fields FROM problem p WHERE {where}"
        " AND NOT p.deleted",
        *values,
    ):
        fields = msgspec.json.decode(row["fields"])
        case = fold(
            fields,
            row["grid"],
            row["created_by"],
            by_problem[row["id"]].values(),
            rules.limit_of(row["grid"]),
            may_extend,
            own_work_from,
            tree.parent,
        )
        case.history = []
        # Which the case file does not keep: they stand in the steps.
        case.reason = case.duplicate_of = None
        found[row["id"]] = filing.Filed(
            row["id"],
            row["grid"],
            fields["duty"],
            filing.severity_of(fields),
            case,
            row["received_at"],
            filing.category_of(fields),
        )
    return found


async def folded_some(
    connection: Connection, rules: Rules, tree: Tree, problems: Sequence[str]
) -> dict[str, filing.Filed]:
    """The same of these problems."""
    return await folded(connection, rules, tree, "p.id = ANY($1::uuid[])", list(problems))
