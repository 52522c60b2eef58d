"""The part of the world that one call of the write path touches, in memory between the reads and
the writes: mutations are judged and merged here, one after the other, and get their verdicts.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from datetime import datetime
from itertools import chain
from typing import Any

from service.identity.views import for_device, present_views, view_in
from service.kit.database import Connection
from service.kit.encryption import Undecrypted
from service.kit.settings import Settings
from service.organisation.tree import Tree
from service.records import queries as records
from service.runtime.yielding import EVERY, let_others_run
from service.vocabulary.rules import Rules
from service.writes import log_queries, queries
from service.writes.derived import CasesBefore
from service.writes.evidence import gather_evidence
from service.writes.held_queries import HeldEntry
from service.writes.interface import Accepted, Prepared
from service.writes.judge import Judge, NewVisits
from service.writes.merged import MergedRecords, MergeResult
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.revisions import Revisions
from service.writes.snapshot import Snapshot
from service.writes.validities import Validities
from service.writes.world import Evidence, World
from sync_protocol.kinds import Kind
from sync_protocol.messages import Conflict, Verdict
from sync_protocol.record_state import Loss
from sync_protocol.records import KINDS, PROBLEM, STEP, VISIT


class GridUnlocked(Exception):
    """A record turned out to lie in a grid whose counter is not locked; the write path locks it and
    begins again.
    """

    def __init__(self, grid: str) -> None:
        super().__init__(grid)
        self.grid = grid


class Aside:
    """What mutations leave beside the records: values that lost, and mutations that are held, anew
    or again.
    """

    def __init__(self) -> None:
        self.conflicts: list[queries.ConflictEntry] = []
        self.held: list[HeldEntry] = []
        self.held_again: list[HeldEntry] = []


class UnitOfWork:
    """One call of the write path: `open` reads, `take_all` judges and merges, and `persist` writes
    what came of it: `accepted`, `aside`, `cases` and `revisions`.
    """

    def __init__(self, now: datetime, settings: Settings, snapshot: Snapshot) -> None:
        self.now = now
        self.settings = settings
        # What encrypts and decrypts for this database, as the transaction has found it.
        self.cipher = settings.keyring.cipher(snapshot.encryption)
        self.revisions = Revisions(snapshot.locked)
        self.merged = MergedRecords(now)
        self.accepted: list[Accepted] = [self.merged]
        self.aside = Aside()
        self.cases = CasesBefore(own_work_from=snapshot.own_work_from)
        self._parts: Sequence[Prepared] = ()
        # It holds what it judges by, and not the unit: a circle would keep all this in memory until
        # the garbage collector finds it.
        self._world = World(
            snapshot.locked,
            self.merged.stored,
            dict(snapshot.existing),
            snapshot.erased,
            snapshot.tree,
            snapshot.reference.vocabulary,
        )
        self.rules = Rules(settings, snapshot.tree, snapshot.reference)
        self._judge = Judge(now, settings, self._world, Validities(now), Evidence())
        self._own_bases: Set[log_queries.Base] = frozenset()

    @property
    def tree(self) -> Tree:
        """The tree of units."""
        return self._world.tree

    # -------------------------------------------------------------------------------------- reading

    async def open(self, connection: Connection, parts: Sequence[Prepared]) -> None:
        """Reads whole what the mutations change; raises `GridUnlocked`."""
        self._parts = _apart_where_needed(parts, self._world)
        singles = [item for part in self._parts for item in part.singles]
        doubtful = [item for part in self._parts for item in part.in_doubt(self)]
        await self._load(connection, [*singles, *doubtful])
        # A base above what was pulled is either foreign or the rev of an own mutation.
        ahead = {_base_of(item) for item in singles if self._is_ahead(item)}
        if ahead:
            self._own_bases = await log_queries.own_revs(connection, ahead)
        if not self.cases.own_work_from and any(item.kind in (PROBLEM, STEP) for item in singles):
            self.cases.own_work_from = await queries.own_work_from(connection)
        singles += doubtful
        evidence = await gather_evidence(
            connection,
            singles,
            self._world.where,
            self._judge.validities,
            self.cipher,
            self._world.tree,
        )
        self._judge = self._judge.with_evidence(evidence)

    async def _load(self, connection: Connection, items: Sequence[PreparedMutation]) -> None:
        """Reads the records that mutations name as their own, and the cases that they change."""
        existing = self._world.existing
        wanted: dict[str, dict[str, None]] = defaultdict(dict)
        problems: dict[str, None] = {}
        for item in items:
            if item.flaw is not None or item.kind is None:
                continue
            name, id = item.kind.name, item.mutation.id
            if (name, id) in existing:
                wanted[name][id] = None
            home = None if item.about is None else existing.get(item.about)
            if (
                home is not None
                and home != item.mutation.grid
                and self.revisions.head(home) is None
            ):
                # What is about it may have to go there.
                raise GridUnlocked(str(home))
            problem = (
                id
                if name == "problem"
                else item.fields.get("problem_id")
                if name == "step"
                else None
            )
            if problem and ("problem", problem) in existing:
                problems[problem] = None
        for name, ids in wanted.items():
            for record_id, stored in (
                await records.load(connection, KINDS[name], ids, self.cipher)
            ).items():
                if stored.record.grid not in self.revisions.heads:
                    raise GridUnlocked(stored.record.grid)
                self.merged.stored[name, record_id] = stored
                if name == "step":
                    problems[str(stored.record.fields["problem_id"])] = None
        if problems:
            await self.cases.load(connection, problems)

    # --------------------------------------------------------------------------------------- taking

    async def take_all(self) -> list[list[Verdict]]:
        """Judges and merges the mutations, in order; the verdicts of each part."""
        verdicts: list[list[Verdict]] = []
        untold = 0
        for part in self._parts:
            verdicts.append([])
            for some in part.take(self):
                verdicts[-1] += some
                untold += len(some)
                if untold > EVERY:
                    await let_others_run(untold)
                    untold = 0
        return verdicts

    def take(self, item: PreparedMutation) -> Verdict:
        """Judges and merges one mutation."""
        flaw = item.flaw or self._judge.flaw(item)
        if flaw is not None:
            return self._hold(item, flaw)
        assert item.kind is not None
        edit = item.edit()
        edit.seen = self._seen_by(item)
        result = self.merged.merge(item, item.kind, edit, self.revisions)
        verdict = Verdict(item.mutation.seq, "merged" if result.merged else "applied", result.rev)
        if result.losses:
            verdict.conflicts = [
                self._conflict(item.kind, result, loss, item) for loss in result.losses
            ]
        self.merged.note(item, verdict, result.grid)
        return verdict

    def may_have_flaw(self, visits: NewVisits) -> bool:
        """See `Judge`."""
        return self._judge.may_have_flaw(visits)

    def add(self, accepted: Accepted) -> None:
        """Takes what is to be written of mutations that need no merge; later ones may name what
        they have made.
        """
        self._world.existing.update(accepted.created())
        self.accepted.append(accepted)

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
        head = self.revisions.head(grid)
        bounds = [] if head is None else [head]
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

    def _conflict(
        self, kind: Kind, result: MergeResult, loss: Loss, item: PreparedMutation
    ) -> Conflict:
        record = result.record
        entry = queries.ConflictEntry(
            id=records.new_uuid(),
            grid=record.grid,
            kind=kind.name,
            record=record.id,
            rev=result.rev,
            loss=loss,
        )
        self.aside.conflicts.append(entry)
        # Whoever writes may not see what is there, or not any more; of what was released, who has
        # released it is told.
        posts = item.author.posts if item.decider is None else item.decider
        view = view_in(present_views(posts, self.now), record.grid)
        kept = for_device(kind.name, loss.field, _showable(loss.kept), view)
        return Conflict(loss.field, kept, _showable(loss.lost), loss.rule, entry.id)

    def _hold(self, item: PreparedMutation, flaw: HoldReason) -> Verdict:
        verdict = Verdict(item.mutation.seq, "held", reason=flaw.reason, detail=flaw.detail)
        if item.origin is None:
            entry = HeldEntry(records.new_uuid(), item, flaw, self._seen_by(item))
            self.aside.held.append(entry)
        else:
            self.aside.held_again.append(HeldEntry(item.origin, item, flaw))
        self.merged.note(item, verdict, item.mutation.grid)
        return verdict

    # ------------------------------------------------------------------------------ what came of it

    def created_ids(self) -> list[str]:
        """The ids of all records that were made."""
        return [id for accepted in self.accepted for (_, id), _ in accepted.created()]

    def let_through(self) -> set[str]:
        """The held mutations that were released and went through."""
        origins = {
            item.origin for part in self._parts for item in part.singles if item.origin is not None
        }
        return origins - {entry.id for entry in self.aside.held_again}

    def devices_to_echo(self) -> set[str]:
        """See `Accepted`."""
        return {*chain.from_iterable(accepted.devices_to_echo() for accepted in self.accepted)}


def _apart_where_needed(parts: Sequence[Prepared], world: World) -> list[Prepared]:
    """Takes apart pushes of new visits of which one is known already, or comes in another mutation,
    too.
    """
    ids = [*chain.from_iterable(part.ids for part in parts)]
    not_alone = {id for kind, id in world.existing if kind == VISIT.name}
    if len({*ids}) < len(ids):
        not_alone |= {id for id, count in Counter(ids).items() if count > 1}
    return [part if not_alone.isdisjoint(part.ids) else part.one_by_one() for part in parts]


def _base_of(item: PreparedMutation) -> log_queries.Base:
    mutation = item.mutation
    return (
        item.author.device,
        mutation.kind,
        mutation.id,
        mutation.base_grid or mutation.grid,
        mutation.base,
    )


def _showable(value: Any) -> Any:
    """A value as an answer can hold it: the marker is a plain text."""
    return str(value) if isinstance(value, Undecrypted) else value
