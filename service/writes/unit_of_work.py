"""The part of the world that one call of the write path touches: read, judged and merged in memory,
written in one statement.

What a mutation does to a record is decided by `sync_protocol.merge` alone, whoever's it is and
whoever's come with it.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Sequence, Set
from datetime import datetime
from itertools import chain, groupby, repeat
from typing import Any

from service.cases import filing
from service.identity.views import for_device, present_views, view_in
from service.kit import sql
from service.kit.database import Connection
from service.kit.encryption import FieldCipher, Undecrypted
from service.kit.settings import Settings
from service.kit.sql import Copy, Cte
from service.records import queries as records
from service.runtime.yielding import EVERY, let_others_run
from service.tallies import deltas, facts, upserts
from service.writes import held_queries, log_queries, queries
from service.writes.evidence import gather_evidence
from service.writes.judge import Evidence, Judge, Validities, World
from service.writes.mutations import Author, HoldReason, PreparedMutation
from service.writes.prefetch import Erased, Snapshot
from service.writes.visit_columns import PreparedVisitColumns
from sync_protocol import clock, lifecycle
from sync_protocol.merge import Edit, Loss, Record, create, destination, merge
from sync_protocol.messages import Conflict, Verdict
from sync_protocol.records import KINDS, PROBLEM, STEP, VISIT, Kind


class GridUnlocked(Exception):
    """A record turned out to lie in a grid whose counter is not locked; the write path locks it and
    begins again.
    """

    def __init__(self, grid: str) -> None:
        super().__init__(grid)
        self.grid = grid


class UnitOfWork:
    """The part of the world that one call touches, in memory between the reads and the writes."""

    def __init__(self, now: datetime, settings: Settings) -> None:
        self.now = now
        self.settings = settings
        self._cipher: FieldCipher | None = None
        self.heads: dict[str, int] = {}
        self.revs_allocated: dict[str, int] = defaultdict(int)
        self.stored: dict[tuple[str, str], records.Stored] = {}
        self.touched: dict[tuple[str, str], None] = {}
        self.existing: dict[tuple[str, str], str] = {}
        self.created: dict[tuple[str, str], None] = {}
        self.has_waiters = False
        self.erased: dict[tuple[str, str], Erased] = {}
        self.parts: list[Cte] = []
        self.multi_writer_grids: set[str] = set()
        self._takers: dict[str, str] = {}
        self.own_work_from = ""
        self._validities = Validities(now)
        self._items: list[PreparedMutation | PreparedVisitColumns] = []
        self.visits: list[tuple[PreparedVisitColumns, list[int]]] = []
        self.visits_before: dict[str, facts.VisitFacts | None] = {}
        self.households_before: dict[str, facts.HouseholdFacts | None] = {}
        self.filed: dict[str, filing.Filed] = {}
        self.changes = deltas.TallyDeltas()
        self.log: list[log_queries.LogRow] = []
        self.conflicts: list[queries.ConflictEntry] = []
        self.held: list[held_queries.HeldEntry] = []
        self.held_again: list[held_queries.HeldEntry] = []
        self._own_bases: Set[log_queries.Base] = frozenset()
        self.moves_out: list[tuple[str, int, str, str]] = []
        # How many mutations were judged.
        self.count = 0

    @property
    def cipher(self) -> FieldCipher:
        """What encrypts and decrypts for this database, as the transaction has found it."""
        assert self._cipher is not None
        return self._cipher

    # -------------------------------------------------------------------------------------- reading

    async def open(
        self,
        connection: Connection,
        items: Sequence[PreparedMutation | PreparedVisitColumns],
        look: Snapshot,
    ) -> None:
        """Reads whole what the mutations change, and notes what there is of all that they name."""
        self._items = _apart_where_needed(items, look)
        self._cipher = self.settings.keyring.cipher(look.encryption)
        self.heads = look.locked
        self.existing = dict(look.existing)
        self.has_waiters = look.has_waiters
        self.erased = look.erased
        wanted: dict[str, dict[str, None]] = defaultdict(dict)
        problems: dict[str, None] = {}
        for item in self._items:
            if isinstance(item, PreparedVisitColumns) or item.flaw is not None or item.kind is None:
                continue
            name, id = item.kind.name, item.mutation.id
            if (name, id) in look.existing:
                wanted[name][id] = None
            problem = (
                id
                if name == "problem"
                else item.fields.get("problem_id")
                if name == "step"
                else None
            )
            if problem and ("problem", problem) in look.existing:
                problems[problem] = None
        for name, ids in wanted.items():
            for record_id, stored in (
                await records.load(connection, KINDS[name], ids, self.cipher)
            ).items():
                if stored.record.grid not in self.heads:
                    raise GridUnlocked(stored.record.grid)
                self.stored[name, record_id] = stored
                if name == "step":
                    problems[str(stored.record.fields["problem_id"])] = None
        if problems:
            self.filed = await filing.load(connection, problems)
        singles = [item for item in self._items if isinstance(item, PreparedMutation)]
        # A base above what was pulled is either foreign or the rev of an own mutation.
        ahead = {_base_of(item) for item in singles if self._is_ahead(item)}
        if ahead:
            self._own_bases = await log_queries.own_revs(connection, ahead)
        self.own_work_from = look.own_work_from
        if not self.own_work_from and any(item.kind in (PROBLEM, STEP) for item in singles):
            self.own_work_from = await queries.own_work_from(connection)
        # It holds what it judges by, and not the batch: a circle would keep all this in memory
        # until the garbage collector finds it.
        world = World(self.heads, self.stored, self.existing, self.erased)
        self._judge = Judge(self.now, self.settings, world, self._validities, Evidence())
        for item in self._items:
            if isinstance(item, PreparedVisitColumns) and self._judge.may_have_flaw(item):
                singles += item.to_mutations()
        evidence = await gather_evidence(
            connection, singles, world.where, self._validities, self.cipher
        )
        self._judge = Judge(self.now, self.settings, world, self._validities, evidence)

    # -------------------------------------------------------------------------------------- judging

    async def take_all(self) -> list[Verdict]:
        """Judges and merges the mutations, in order."""
        verdicts: list[Verdict] = []
        told = 0
        for item in self._items:
            if isinstance(item, PreparedMutation):
                verdicts.append(self._take(item))
            else:
                verdicts += self._take_visits(item)
            if len(verdicts) - told > EVERY:
                await let_others_run(len(verdicts) - told)
                told = len(verdicts)
        self.count = len(verdicts)
        return verdicts

    def _take(self, item: PreparedMutation) -> Verdict:
        """Judges and merges one mutation."""
        flaw = item.flaw or self._judge.flaw(item)
        if flaw is not None:
            return self._hold(item, flaw)
        assert item.kind is not None
        kind = item.kind
        key = (kind.name, item.mutation.id)
        stored = self.stored.get(key)
        edit = item.edit()
        edit.seen = self._seen_by(item)
        self._remember(key, stored, edit)
        losses: list[Loss] = []
        if stored is None:
            rev_grid = edit.grid
            rev = self._next_rev(rev_grid, edit.device)
            record = create(kind, edit, rev)
            stored = records.Stored(record, item.mutation.seq, self.now)
            merged = False
            self.stored[key] = stored
            self.created[key] = None
        else:
            before, last, echoed, was_deleted = (
                stored.record.grid,
                stored.record.last,
                stored.echo,
                stored.record.deleted,
            )
            rev_grid = destination(stored.record, edit)
            rev = self._next_rev(rev_grid, edit.device)
            outcome = merge(kind, stored.record, edit, rev)
            merged, losses = outcome.merged, outcome.losses
            if stored.record.grid != before:
                self.moves_out.append(
                    (before, self._next_rev(before, edit.device), kind.name, edit.id)
                )
                self.multi_writer_grids.add(before)
            # What was corrected for this device must still reach it, even when the device has
            # edited on since: its base says only that it has the verdict.
            stored.echo = (
                echoed and last.device == edit.device and last.rev > item.author.seen(before)
            )
            # A tombstone has no fields, so that who brings the record back does not have those that
            # it had.
            stored.echo = stored.echo or (was_deleted and not stored.record.deleted)
        stored.seq = item.mutation.seq
        stored.echo = stored.echo or merged or not item.as_sent or item.origin is not None
        stored.offset_ms = _noteworthy(item.author.offset_ms) or stored.offset_ms
        self.touched[key] = None
        verdict = Verdict(item.mutation.seq, "merged" if merged else "applied", rev)
        if losses:
            verdict.conflicts = [
                self._conflict(kind, stored.record, loss, rev, item.author) for loss in losses
            ]
        self._log(item, verdict, rev_grid)
        return verdict

    def _is_ahead(self, item: PreparedMutation) -> bool:
        """Whether the base is above what the author's device has pulled, in this history of the
        server.
        """
        if not item.mutation.base or item.rebased:
            return False
        pulled = self._pulled_by(item)
        return pulled is not None and item.mutation.base > pulled

    def _pulled_by(self, item: PreparedMutation) -> int | None:
        """The rev above which the author's device had pulled nothing of the grid in which it saw
        the record.
        """
        if item.seen is not None:
            return item.seen
        grid = item.mutation.base_grid or item.mutation.grid
        bounds = [self.heads[grid] + self.revs_allocated[grid]] if grid in self.heads else []
        position = item.author.pulled.get(grid)
        # Of a grid that it is pulling from the start it may have seen more before.
        if position is not None and not position.snapshot:
            bounds.append(position.rev)
        return min(bounds, default=None)

    def _seen_by(self, item: PreparedMutation) -> int | None:
        """The rev up to which the author's device can have seen the record, in the grid in which it
        saw it.
        """
        if not item.mutation.base:
            return None
        return (
            item.mutation.base
            if self._own_bases and _base_of(item) in self._own_bases
            else self._pulled_by(item)
        )

    def _take_visits(self, some: PreparedVisitColumns) -> list[Verdict]:
        """Takes in new visits, without what only a merge needs; one by one when one of them may
        have a flaw.
        """
        if self._judge.may_have_flaw(some):
            return [self._take(item) for item in some.to_mutations()]
        visits = some.visits
        revs = self._next_revs(visits.grids, some.author.device)
        self.existing.update(
            zip(zip(repeat(VISIT.name), visits.ids, strict=False), visits.grids, strict=True)
        )
        self.visits.append((some, revs))
        return [
            Verdict(mutation.seq, "applied", rev)
            for mutation, rev in zip(visits.mutations, revs, strict=True)
        ]

    def _next_rev(self, grid: str, device: str, count: int = 1) -> int:
        """The next revision of a grid, the first of `count` that are taken."""
        if self._takers.setdefault(grid, device) != device:
            self.multi_writer_grids.add(grid)
        rev = self.heads[grid] + self.revs_allocated[grid] + 1
        self.revs_allocated[grid] += count
        return rev

    def _next_revs(self, grids: Sequence[str], device: str) -> list[int]:
        """The next revisions of grids, one for each time that a grid is named."""
        revs: list[int] = []
        for grid, named in groupby(grids):
            count = len([*named])
            first = self._next_rev(grid, device, count)
            revs += range(first, first + count)
        return revs

    def _remember(self, key: tuple[str, str], stored: records.Stored | None, edit: Edit) -> None:
        """Keeps what a visit or a household counted by before an edit of this call first changed
        that.
        """
        kind, record_id = key
        if kind == "visit" and record_id not in self.visits_before:
            lives_on = stored is not None and not stored.record.deleted and edit.op == "put"
            if not lives_on or not facts.VISIT_COUNTS_BY.isdisjoint(edit.fields):
                self.visits_before[record_id] = _visit_facts(stored)
        elif kind == "household" and record_id not in self.households_before:
            self.households_before[record_id] = _household_facts(stored)

    def _conflict(
        self, kind: Kind, record: Record, loss: Loss, rev: int, author: Author
    ) -> Conflict:
        entry = queries.ConflictEntry(
            id=records.new_uuid(),
            grid=record.grid,
            kind=kind.name,
            record=record.id,
            rev=rev,
            loss=loss,
        )
        self.conflicts.append(entry)
        # Whoever writes may not see what is there, or not any more.
        view = view_in(present_views(author.posts, self.now), record.grid)
        kept = for_device(kind.name, loss.field, _showable(loss.kept), view)
        return Conflict(loss.field, kept, _showable(loss.lost), loss.rule, entry.id)

    def _hold(self, item: PreparedMutation, flaw: HoldReason) -> Verdict:
        verdict = Verdict(item.mutation.seq, "held", reason=flaw.reason, detail=flaw.detail)
        if item.origin is None:
            self.held.append(
                held_queries.HeldEntry(records.new_uuid(), item, flaw, self._seen_by(item))
            )
        else:
            self.held_again.append(held_queries.HeldEntry(item.origin, item, flaw))
        self._log(item, verdict)
        return verdict

    def _log(self, item: PreparedMutation, verdict: Verdict, grid: str | None = None) -> None:
        self.log.append((item, verdict, grid or item.mutation.grid))

    # ------------------------------------------------------------------------- problems and tallies

    async def fold_problems(self, connection: Connection) -> None:
        """Folds every problem that got a step or was changed, and collects what changes in the
        tallies.
        """
        for new, _ in self.visits:
            columns = (
                new.visits.grids,
                new.numbers,
                new.fields["visited_at"],
                new.fields["duties"],
                new.fields["household_id"],
            )
            self.changes.new_visits(new.author.staff_code, zip(*columns, strict=True), self.now)
        for visit, had in self.visits_before.items():
            self.changes.visit(had, _visit_facts(self.stored.get(("visit", visit))))
        for household, counted in self.households_before.items():
            self.changes.household(
                household, counted, _household_facts(self.stored.get(("household", household)))
            )
        new_steps: dict[str, dict[str, lifecycle.Step]] = defaultdict(dict)
        problems = {record_id for kind, record_id in self.touched if kind == "problem"}
        for kind, record_id in self.touched:
            if kind == "step":
                record = self.stored[kind, record_id].record
                problem_id = str(record.fields["problem_id"])
                # Its latest stamp: the one that phones are sent, and fold by.
                new_steps[problem_id][record_id] = lifecycle.Step(
                    record_id, record.last.stamp, record.created_by, record.fields
                )
                problems.add(problem_id)
        if not problems:
            return
        unread = [problem for problem in problems if ("problem", problem) not in self.stored]
        if unread:
            for record_id, stored in (
                await records.load(connection, KINDS["problem"], unread, self.cipher)
            ).items():
                self.stored["problem", record_id] = stored
        # Also those that have no case: one that comes back after it was deleted has the steps that
        # it had.
        older = [problem for problem in problems if ("problem", problem) not in self.created]
        steps = filing.steps_from(await records.steps_of(connection, older)) if older else {}
        limit = filing.limit_rule_of(self.settings)
        extending = filing.extending((*steps.values(), *new_steps.values()))
        may_extend = await filing.ranks_above(connection, extending) if extending else None
        gone = []
        kept = []
        for problem in sorted(problems):
            record = self.stored["problem", problem].record
            was = self.filed.get(problem)
            before = facts.case_facts(was)
            if record.deleted:
                gone.append(problem)
                self.changes.case(before, None)
                continue
            all_steps = {**steps.get(problem, {}), **new_steps.get(problem, {})}
            case = lifecycle.fold(
                record.fields,
                record.grid,
                record.created_by,
                all_steps.values(),
                limit,
                may_extend,
                self.own_work_from,
            )
            received_at = self.stored["problem", problem].received_at
            filed = filing.Filed(
                problem,
                record.grid,
                record.fields["duty"],
                filing.severity_of(record.fields),
                case,
                received_at,
            )
            kept.append(filed)
            self.changes.case(before, facts.case_facts(filed))
        if kept:
            self.parts.append(filing.writing(kept))
        if gone:
            self.parts.append(filing.removing(gone))

    # -------------------------------------------------------------------------------------- writing

    async def write(self, connection: Connection, also: Sequence[Cte]) -> None:
        """Writes all that changed: new rows by COPY, the rest in one statement.

        Households come before it, because their contact members count with the visits.
        """
        cipher = self.cipher
        by_kind: dict[str, list[records.Stored]] = defaultdict(list)
        for key in self.touched:
            by_kind[key[0]].append(self.stored[key])
        copies: list[Copy] = []
        households: list[Cte] = []
        for kind, some in sorted(by_kind.items()):
            fresh: list[records.Stored] = []
            created: list[records.Stored] = []
            known: list[records.Stored] = []
            for stored in some:
                if (kind, stored.record.id) not in self.created:
                    known.append(stored)
                elif stored.is_fresh:
                    fresh.append(stored)
                else:
                    created.append(stored)
            if fresh:
                copies.append(
                    records.adding(
                        KINDS[kind], records.columns_of(KINDS[kind], fresh, cipher), self.now
                    )
                )
            for changed, are_new in ((created, True), (known, False)):
                if changed:
                    part = records.writing(KINDS[kind], changed, cipher, are_new)
                    (households if kind == "household" else self.parts).append(part)
        if self.visits:
            copies.append(records.adding(VISIT, _columns_of(self.visits), self.now))
        await let_others_run(self.count)
        lines, bodies = log_queries.log_mutations(self.log, self.visits, self.now, cipher)
        self.parts += bodies
        await let_others_run(self.count)
        await sql.copy(connection, [*copies, lines])
        if "household" in by_kind:
            await sql.write(connection, households)
            await upserts.settle_households(connection, self.changes)
        if self.held:
            await held_queries.write_held(
                connection, self.held, self.now, self.settings.held_quota_bytes, cipher
            )
        if self.held_again:
            await held_queries.hold_again(connection, self.held_again, cipher)
        if self.conflicts:
            await queries.insert_conflicts(connection, self.conflicts, self.now, cipher)
        if self.moves_out:
            await queries.insert_moves(connection, self.moves_out)
        if self.revs_allocated:
            self.parts.append(queries.advance_counters(self.revs_allocated))
        await sql.write(connection, [*self.parts, *upserts.adding(self.changes), *also])
        await upserts.take_leave(connection, self.changes)

    def created_ids(self) -> list[str]:
        """The ids of all records that were made."""
        return [
            *(id for _, id in self.created),
            *chain.from_iterable(new.visits.ids for new, _ in self.visits),
        ]

    def let_through(self) -> set[str]:
        """The held mutations that were released and went through."""
        origins = {
            item.origin
            for item in self._items
            if isinstance(item, PreparedMutation) and item.origin is not None
        }
        return origins - {entry.id for entry in self.held_again}

    def devices_to_echo(self) -> set[str]:
        """The devices that do not know by their verdicts alone what became of records by their
        mutations.
        """
        found = {new.author.device for new, _ in self.visits if True in new.must_echo}
        found |= {
            stored.record.last.device
            for stored in map(self.stored.__getitem__, self.touched)
            if stored.echo
        }
        return found


def _apart_where_needed(
    items: Sequence[PreparedMutation | PreparedVisitColumns], look: Snapshot
) -> list[PreparedMutation | PreparedVisitColumns]:
    """Takes apart pushes of new visits of which one is known already, or comes in another mutation,
    too.
    """
    ids = [
        id
        for item in items
        for id in ((item.mutation.id,) if isinstance(item, PreparedMutation) else item.visits.ids)
    ]
    not_alone = {id for kind, id in look.existing if kind == VISIT.name}
    if len({*ids}) < len(ids):
        not_alone |= {id for id, count in Tally(ids).items() if count > 1}
    found: list[PreparedMutation | PreparedVisitColumns] = []
    for item in items:
        if isinstance(item, PreparedMutation) or not_alone.isdisjoint(item.visits.ids):
            found.append(item)
        else:
            found += item.to_mutations()
    return found


def _base_of(item: PreparedMutation) -> log_queries.Base:
    mutation = item.mutation
    return (
        item.author.device,
        mutation.kind,
        mutation.id,
        mutation.base_grid or mutation.grid,
        mutation.base,
    )


def _columns_of(
    visits: Sequence[tuple[PreparedVisitColumns, Sequence[int]]],
) -> dict[str, Sequence[Any]]:
    """New visits as columns of their table."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for new, revs in visits:
        count, author = len(revs), new.author
        columns["id"] += new.visits.ids
        columns["grid"] += new.visits.grids
        columns["rev"] += revs
        columns["seq"] += [mutation.seq for mutation in new.visits.mutations]
        columns["stamp"] += new.numbers
        columns["echo"] += new.must_echo
        columns["device"] += [author.device] * count
        columns["by"] += [author.staff_code] * count
        columns["offset_ms"] += [_noteworthy(author.offset_ms)] * count
        for name, column in new.fields.items():
            columns[name] += column
    return {**columns}


def _showable(value: Any) -> Any:
    """A value as an answer can hold it: the marker is a plain text."""
    return str(value) if isinstance(value, Undecrypted) else value


def _noteworthy(offset_ms: int) -> int | None:
    """A phone's clock offset, if it is one that people should know of."""
    return offset_ms if abs(offset_ms) >= clock.NOTEWORTHY_MS else None


def _visit_facts(stored: records.Stored | None) -> facts.VisitFacts | None:
    if stored is None:
        return None
    record = stored.record
    return facts.visit_facts(
        record.grid,
        record.created_by,
        record.fields,
        record.first.stamp,
        stored.received_at,
        record.deleted,
    )


def _household_facts(stored: records.Stored | None) -> facts.HouseholdFacts | None:
    if stored is None:
        return None
    return facts.household_facts(stored.record.grid, stored.record.fields, stored.record.deleted)
