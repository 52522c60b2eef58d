"""Brings the due times of problems in line with changed limits or working days: in the transaction
of the change, so that nobody sees one without the other, and the tallies stay those of a recount.
"""

from collections.abc import Sequence

import msgspec

from service.cases import filing
from service.cases.refolding import folded_some
from service.kit.database import Connection
from service.kit.settings import Settings
from service.kit.sql import write
from service.organisation.trees import read_tree
from service.runtime.yielding import let_others_run
from service.tallies import upserts
from service.tallies.deltas import TallyDeltas
from service.tallies.facts import case_facts
from service.vocabulary.keeping import read_reference_data
from service.vocabulary.rules import Rules

_AT_ONCE = 1_000


async def recompute(connection: Connection, settings: Settings, problems: Sequence[str]) -> int:
    """Computes the due times of problems anew; returns how many are others now. Nobody writes
    meanwhile: see `queries.hold_writers`.
    """
    if not problems:
        return 0
    tree = await read_tree(connection)
    rules = Rules(settings, tree, await read_reference_data(connection))
    count = 0
    for begin in range(0, len(problems), _AT_ONCE):
        some = problems[begin : begin + _AT_ONCE]
        before = await filing.load(connection, some)
        changes, moved = TallyDeltas(), []
        for id, truth in (await folded_some(connection, rules, tree, some)).items():
            kept = before.get(id)
            if kept is None or kept.case.due == truth.case.due:
                continue
            case = msgspec.structs.replace(kept.case, due=truth.case.due)
            now = msgspec.structs.replace(kept, case=case)
            changes.case(case_facts(kept), case_facts(now))
            moved.append(now)
        if moved:
            await write(connection, [filing.writing(moved), *upserts.adding(changes)])
        count += len(moved)
        await let_others_run(len(some))
    return count
