"""Records as mutations have changed them, in memory, and what is to be written of that.

What a mutation does to a record is decided by `sync_protocol.merge` alone, whoever's it is and
whoever's come with it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from service.kit.field_cipher import FieldCipher
from service.kit.sql import Cte
from service.records import queries as records
from service.records.queries import Stored
from service.tallies import facts
from service.tallies.deltas import TallyDeltas
from service.writes import phone_index
from service.writes.interface import NewRows, Rows
from service.writes.log_queries import LogRow, MutationLog
from service.writes.prepared import PreparedMutation, noteworthy_offset
from service.writes.queries import Departed
from service.writes.revisions import Revisions
from sync_protocol.kinds import Kind
from sync_protocol.merge import create, merge
from sync_protocol.messages import Verdict
from sync_protocol.moves import destination
from sync_protocol.record_state import Edit, Loss, Record
from sync_protocol.records import HOUSEHOLD, KINDS

# A record's kind and id.
Key = tuple[str, str]


class HouseholdMove(NamedTuple):
    """That a household has moved: the grids that it has left, where it is by now, and by whom."""

    former: set[str]
    to: str
    by: str


class MergeResult(NamedTuple):
    """What a mutation did: the record, the revision that it took and of which grid, whether both
    sides are in it, and what lost.
    """

    record: Record
    rev: int
    grid: str
    merged: bool
    losses: Sequence[Loss]


class MergedRecords:
    """The records that mutations change or make, and what is to be written of them (`Accepted`).

    `stored`: the records as they stand by now; `touched`, `new`: those that were changed, and among
    them those that were made; `log`: the mutations with their verdicts; `departed`: the records
    that left a grid; `moves`: the households among them, by id.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.stored: dict[Key, Stored] = {}
        self.touched: dict[Key, None] = {}
        self.new: dict[Key, None] = {}
        self.departed: list[Departed] = []
        self.moves: dict[str, HouseholdMove] = {}
        self._phones: dict[str, None] = {}
        self.logged: list[LogRow] = []
        # What visits and households counted by before they were changed.
        self._visits_before: dict[str, facts.VisitFacts | None] = {}
        self._households_before: dict[str, facts.HouseholdFacts | None] = {}

    def merge(
        self, item: PreparedMutation, kind: Kind, edit: Edit, revisions: Revisions
    ) -> MergeResult:
        """Makes the record of an edit, or merges the edit with what is there."""
        key = (kind.name, edit.id)
        stored = self.stored.get(key)
        self._remember(key, stored, edit)
        losses: Sequence[Loss] = ()
        if kind is HOUSEHOLD and _touches_phone(stored, edit):
            self._phones[edit.id] = None
        if stored is None:
            rev_grid = edit.grid
            rev = revisions.next(rev_grid, edit.device)
            record = create(kind, edit, rev)
            merged = item.moved_to is not None
            if item.moved_to is not None:
                rev_grid = item.moved_to
                rev = self._follow(kind, record, edit, rev_grid, revisions)
            stored = Stored(record, item.mutation.seq, self._now)
            self.stored[key] = stored
            self.new[key] = None
        else:
            before, last, echoed, was_deleted = (
                stored.record.grid,
                stored.record.last,
                stored.echo,
                stored.record.deleted,
            )
            rev_grid = destination(stored.record, edit)
            rev = revisions.next(rev_grid, edit.device)
            outcome = merge(kind, stored.record, edit, rev)
            merged, losses = outcome.merged, outcome.losses
            if stored.record.grid != before:
                left = revisions.next(before, edit.device)
                self.departed.append((before, left, kind.name, edit.id))
                if kind is HOUSEHOLD:
                    self._note_move(edit.id, before, stored.record.grid, edit.by)
                revisions.multi_writer_grids.add(before)
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
        stored.offset_ms = noteworthy_offset(item.author.offset_ms) or stored.offset_ms
        self.touched[key] = None
        return MergeResult(stored.record, rev, rev_grid, merged, losses)

    def _note_move(self, household: str, before: str, to: str, by: str) -> None:
        former = (
            {before} if household not in self.moves else {*self.moves[household].former, before}
        )
        self.moves[household] = HouseholdMove(former - {to}, to, by)

    def _follow(self, kind: Kind, record: Record, edit: Edit, to: str, revisions: Revisions) -> int:
        """Moves a new record after what it is about; its revision there."""
        # It was never seen there: the rev that it took tells that it has gone.
        former, left = edit.grid, record.last.rev
        move = Edit(
            edit.id,
            to,
            "put",
            record.last.rev,
            edit.stamp,
            edit.device,
            edit.by,
            {},
            override=True,
            base_grid=former,
        )
        rev = revisions.next(to, edit.device)
        merge(kind, record, move, rev)
        self.departed.append((former, left, kind.name, edit.id))
        revisions.multi_writer_grids.add(former)
        return rev

    def note(self, item: PreparedMutation, verdict: Verdict, grid: str) -> None:
        """Keeps a mutation and its verdict for the log; `grid`: whose revision it took."""
        self.logged.append((item, verdict, grid))

    def _remember(self, key: Key, stored: Stored | None, edit: Edit) -> None:
        """Keeps what a visit or a household counted by before an edit of this call first changed
        that.
        """
        kind, record_id = key
        if kind == "visit" and record_id not in self._visits_before:
            lives_on = stored is not None and not stored.record.deleted and edit.op == "put"
            if not lives_on or not facts.VISIT_COUNTS_BY.isdisjoint(edit.fields):
                self._visits_before[record_id] = _visit_facts(stored)
        elif kind == "household" and record_id not in self._households_before:
            self._households_before[record_id] = _household_facts(stored)

    # -------------------------------------------------------------------- what is written of them

    def created(self) -> Iterable[tuple[Key, str]]:
        """See `Accepted`."""
        return ((key, self.stored[key].record.grid) for key in self.new)

    def devices_to_echo(self) -> set[str]:
        """See `Accepted`."""
        return {
            stored.record.last.device
            for stored in map(self.stored.__getitem__, self.touched)
            if stored.echo
        }

    def count(self, changes: TallyDeltas) -> None:
        """See `Accepted`."""
        for visit, had in self._visits_before.items():
            changes.visit(had, _visit_facts(self.stored.get(("visit", visit))))
        for household, counted in self._households_before.items():
            changes.household(
                household, counted, _household_facts(self.stored.get(("household", household)))
            )

    def rows(self, cipher: FieldCipher) -> Rows:
        """See `Accepted`."""
        by_kind: dict[str, list[Stored]] = defaultdict(list)
        for key in self.touched:
            by_kind[key[0]].append(self.stored[key])
        rows: list[NewRows] = []
        parts: list[tuple[Kind, Cte]] = []
        for name, some in sorted(by_kind.items()):
            kind = KINDS[name]
            fresh: list[Stored] = []
            created: list[Stored] = []
            known: list[Stored] = []
            for stored in some:
                if (name, stored.record.id) not in self.new:
                    known.append(stored)
                elif stored.is_fresh:
                    fresh.append(stored)
                else:
                    created.append(stored)
            if fresh:
                rows.append(NewRows(kind, records.columns_of(kind, fresh, cipher)))
            for changed, are_new in ((created, True), (known, False)):
                if changed:
                    parts.append((kind, records.writing(kind, changed, cipher, are_new)))
        return Rows(rows, parts)

    def phones(self, cipher: FieldCipher) -> list[Cte]:
        """What is written of the index of phones."""
        if not self._phones:
            return []
        records = {id: self.stored["household", id].record for id in self._phones}
        now = {
            id: None if record.deleted else record.fields.get("phone")
            for id, record in records.items()
        }
        known = [id for id in records if ("household", id) not in self.new]
        return phone_index.keeping(cipher, now, known)

    def log(self, log: MutationLog) -> None:
        """See `Accepted`."""
        if self.logged:
            log.add(self.logged)


def _touches_phone(stored: Stored | None, edit: Edit) -> bool:
    was_deleted = stored is not None and stored.record.deleted
    return "phone" in edit.fields or edit.op == "delete" or was_deleted


def _visit_facts(stored: Stored | None) -> facts.VisitFacts | None:
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


def _household_facts(stored: Stored | None) -> facts.HouseholdFacts | None:
    if stored is None:
        return None
    return facts.household_facts(stored.record.grid, stored.record.fields, stored.record.deleted)
