"""What follows from records that were written: where problems stand, and what changes in the
tallies.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from service.cases import filing
from service.kit.database import Connection
from service.kit.field_cipher import FieldCipher
from service.kit.sql import Cte
from service.organisation.tree import Tree
from service.records import queries as records
from service.tallies import facts
from service.tallies.deltas import TallyDeltas
from service.vocabulary.rules import Rules
from service.writes.interface import Accepted
from service.writes.merged import MergedRecords
from sync_protocol import lifecycle
from sync_protocol.records import KINDS


class CasesBefore(msgspec.Struct):
    """Where the problems stood that mutations change, as they were last filed; `own_work_from`: see
    `lifecycle.fold`.
    """

    filed: dict[str, filing.Filed] = msgspec.field(default_factory=dict)
    own_work_from: str = ""

    async def load(self, connection: Connection, problems: Collection[str]) -> None:
        """Reads these."""
        self.filed = await filing.load(connection, problems)


class Derived(NamedTuple):
    """What changes in the tallies, and what is written of cases."""

    changes: TallyDeltas
    cases: list[Cte]


async def derive(
    connection: Connection,
    accepted: Iterable[Accepted],
    merged: MergedRecords,
    cases: CasesBefore,
    rules: Rules,
    cipher: FieldCipher,
    tree: Tree,
) -> Derived:
    """Folds every problem that got a step or was changed, and collects what changes in the
    tallies.
    """
    changes = TallyDeltas()
    for some in accepted:
        some.count(changes)
    new_steps = _new_steps(merged)
    problems = {id for kind, id in merged.touched if kind == "problem"} | new_steps.keys()
    if not problems:
        return Derived(changes, [])
    unread = [problem for problem in problems if ("problem", problem) not in merged.stored]
    if unread:
        read = await records.load(connection, KINDS["problem"], unread, cipher)
        merged.stored.update((("problem", id), stored) for id, stored in read.items())
    # Also those that have no case: one that comes back after it was deleted has the steps that it
    # had.
    older = [problem for problem in problems if ("problem", problem) not in merged.new]
    steps = filing.steps_from(await records.steps_of(connection, older)) if older else {}
    extending = filing.extending((*steps.values(), *new_steps.values()))
    may_extend = await filing.ranks_above(connection, extending, tree) if extending else None
    gone = []
    kept = []
    for problem in sorted(problems):
        stored = merged.stored["problem", problem]
        record = stored.record
        before = facts.case_facts(cases.filed.get(problem))
        if record.deleted:
            gone.append(problem)
            changes.case(before, None)
            continue
        all_steps = {**steps.get(problem, {}), **new_steps.get(problem, {})}
        case = lifecycle.fold(
            record.fields,
            record.grid,
            record.created_by,
            all_steps.values(),
            rules.limit_of(record.grid),
            may_extend,
            cases.own_work_from,
            tree.parent,
        )
        filed = filing.Filed(
            problem,
            record.grid,
            record.fields["duty"],
            filing.severity_of(record.fields),
            case,
            stored.received_at,
            filing.category_of(record.fields),
        )
        kept.append(filed)
        changes.case(before, facts.case_facts(filed))
    parts = []
    if kept:
        parts.append(filing.writing(kept))
    if gone:
        parts.append(filing.removing(gone))
    return Derived(changes, parts)


def _new_steps(merged: MergedRecords) -> dict[str, dict[str, lifecycle.Step]]:
    """The steps that mutations have made or changed, by problem and id."""
    found: dict[str, dict[str, lifecycle.Step]] = defaultdict(dict)
    for kind, id in merged.touched:
        if kind == "step":
            record = merged.stored[kind, id].record
            # Its latest stamp: the one that phones are sent, and fold by.
            found[str(record.fields["problem_id"])][id] = lifecycle.Step(
                id, record.last.stamp, record.created_by, record.fields
            )
    return found
