"""Writes what came of a unit of work: new rows by COPY, the rest in one statement."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from service.kit import sql
from service.kit.database import Connection
from service.kit.sql import Cte
from service.records import queries as records
from service.runtime.yielding import let_others_run
from service.tallies import upserts
from service.writes import held_queries, queries
from service.writes.derived import derive
from service.writes.interface import NewRows
from service.writes.log_queries import MutationLog
from service.writes.unit_of_work import UnitOfWork
from sync_protocol.kinds import Kind
from sync_protocol.periods import local_day
from sync_protocol.records import HOUSEHOLD


async def persist(
    connection: Connection, work: UnitOfWork, also: Sequence[Cte], count: int
) -> None:
    """Writes all that has changed, and `also` in the same statement; `count`: how many mutations
    there were.

    Households come before the rest, because their contact members count with the visits.
    """
    cipher, aside = work.cipher, work.aside
    changes, parts = await derive(
        connection, work.accepted, work.merged, work.cases, work.rules, cipher, work.tree
    )
    rows = [accepted.rows(cipher) for accepted in work.accepted]
    new = _joined(chain.from_iterable(some.new for some in rows))
    households: list[Cte] = []
    for kind, part in chain.from_iterable(some.changed for some in rows):
        (households if kind is HOUSEHOLD else parts).append(part)
    copies = [records.adding(kind, columns, work.now) for kind, columns in new]
    await let_others_run(count)
    log = MutationLog(work.now, cipher)
    for accepted in work.accepted:
        accepted.log(log)
    lines, bodies = log.to_sql()
    parts += bodies
    await let_others_run(count)
    await sql.copy(connection, [*copies, lines])
    if households or any(kind is HOUSEHOLD for kind, _ in new):
        await sql.write(connection, households)
        await upserts.settle_households(connection, changes, local_day(work.now))
    if aside.held:
        quota = work.settings.held_quota_bytes
        await held_queries.write_held(connection, aside.held, work.now, quota, cipher)
    if aside.held_again:
        await held_queries.hold_again(connection, aside.held_again, cipher)
    if aside.conflicts:
        await queries.insert_conflicts(connection, aside.conflicts, work.now, cipher)
    if work.merged.departed:
        await queries.insert_moves(connection, work.merged.departed)
    parts += work.merged.phones(cipher)
    if work.revisions.allocated:
        parts.append(queries.advance_counters(work.revisions.allocated))
    await sql.write(connection, [*parts, *upserts.adding(changes), *also])
    await upserts.remove_unvisited(connection, changes)


def _joined(rows: Iterable[NewRows]) -> list[NewRows]:
    """The rows with those that have the same columns one behind the other: each COPY is a round
    trip.
    """
    found: dict[tuple[str, ...], list[NewRows]] = defaultdict(list)
    for some in rows:
        found[some.kind.name, *some.columns].append(some)
    return [_one_behind_the_other(some) for some in found.values()]


def _one_behind_the_other(rows: Sequence[NewRows]) -> NewRows:
    if len(rows) == 1:
        return rows[0]
    kind: Kind = rows[0].kind
    columns: dict[str, Sequence[Any]] = {
        name: [*chain.from_iterable(some.columns[name] for some in rows)]
        for name in rows[0].columns
    }
    return NewRows(kind, columns)
