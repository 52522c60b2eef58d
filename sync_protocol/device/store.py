"""What a phone keeps: its outbox and the records that it has pulled, in one SQLite file.

Every method is one transaction, so a process killed between any two statements has either all of it
or nothing.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

from sync_protocol.clock import ZERO
from sync_protocol.device.outbox import Outbox
from sync_protocol.device.pulled import PulledRecords
from sync_protocol.merge import overlay
from sync_protocol.messages import Change, Mutation, SyncAnswer, Verdict
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS


class View(NamedTuple):
    """A record as the phone's owner sees it: pulled state with the phone's own pending edits over
    it.
    """

    kind: str
    id: str
    grid: str
    rev: int
    fields: dict[str, Any]
    pending: bool
    stamp: str = ""
    by: str = ""
    created_by: str = ""


def _has_come(
    place: tuple[str, int] | None, grid: str, base_grid: str | None, rev: int | None
) -> bool:
    """Whether the pulled record at `place` holds an acknowledged edit; until then the edit stays
    visible (read your writes).

    A record that has moved on to another grid has left the edit behind it. `rev` is None when all
    was pulled since: what there is has come.
    """
    if rev is None:
        return True
    if place is None:
        return False
    return place[1] >= rev if place[0] == grid else place[0] != base_grid


class Held(NamedTuple):
    """A mutation of this phone that the server keeps aside. `moves_to`: the grid to which it moves
    its record once somebody has accepted that; show the record as waiting for it.
    """

    seq: int
    kind: str
    id: str
    reason: str
    detail: str
    fields: dict[str, Any]
    moves_to: str | None = None


def _moves_to(reason: str, grid: str) -> str | None:
    return grid if reason == "needs-acceptance" else None


class Store(Outbox, PulledRecords):
    """A phone's file: its outbox, and its copy of the records. An answer changes both at once."""

    def copy_to(self, path: str | Path) -> "Store":
        """A store over a copy of everything, as a backup of the phone makes it."""
        copy = Store(path)
        self._db.backup(copy._db)
        return copy

    def wipe(self) -> None:
        """Deletes everything: the device was revoked and has handed in its work."""
        with self._transaction():
            for table in ("meta", "outbox", "record", "grid"):
                self._db.execute(f"DELETE FROM {table}")

    def queue(self, mutation: Mutation) -> Mutation:
        """Gives a new mutation the next seq and its base, and keeps it; the edit is safe when this
        returns.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT rev, grid FROM record WHERE kind = ? AND id = ?",
                (mutation.kind, mutation.id),
            ).fetchone()
            mutation.seq = self.next_seq
            mutation.base = row[0] if row else 0
            if row and row[1] != mutation.grid:
                mutation.base_grid = row[1]
            mutation.epoch = self.epoch or None
            self._insert(mutation)
            self._set(next_seq=str(mutation.seq + 1), stamp=mutation.stamp)
        return mutation

    def renumber(self, device: str) -> None:
        """Starts anew as `device`, with the unacknowledged mutations as 1, 2, 3 … (promise 10)."""
        with self._transaction():
            kept = self._unsettled()
            self._number_anew(kept, device, self.get("refresh_token") or self.get("cursor"))

    def import_outbox(self, others: Sequence[Mutation], predecessor: str, device: str) -> None:
        """Starts anew as `device` with the mutations of another phone of the cadre among the own,
        by their stamps.

        Those of one phone stay in their order, whatever its clock did.

        `predecessor`: what proves since when that other phone was registered.
        """
        with self._transaction():
            kept = self._unsettled()
            both = list(merge(others, kept, key=lambda mutation: mutation.stamp))
            self._number_anew(both, device, predecessor)
            last = max([self.last_stamp(), *(mutation.stamp for mutation in others)])
            self._set(stamp=last)

    def _number_anew(self, kept: Sequence[Mutation], device: str, predecessor: str) -> None:
        self._renumber(kept)
        self._set(device=device, predecessor=predecessor, cursor="", refresh_token="", verify="")
        self._set_stale()

    # -------------------------------------------------------------------------------------- answers

    @property
    def again(self) -> list[str]:
        """The grids that must be sent from the start."""
        grids: list[str] = json.loads(self.get("again", "[]"))
        return grids

    def ask_again(self, grids: Sequence[str], verified_ms: int) -> None:
        """Keeps when the copy was verified, and the grids that differed, until an answer brings
        them.
        """
        self.set(again=json.dumps(list(grids)), verify=str(verified_ms))

    def take(
        self,
        answer: SyncAnswer,
        sent: Sequence[Mutation],
        from_start: bool,
        again: Sequence[str] = (),
    ) -> None:
        """Takes a whole answer in one transaction: verdicts, changes, dropped grids and the cursor,
        or none of it.

        `from_start`: the request had no cursor, so records that the pull does not name are gone
        when it ends; likewise those of the grids that it asked for `again`.
        """
        with self._transaction():
            restored = answer.epoch != self.epoch != "" or answer.acked < self.acked
            begins_anew = from_start or answer.epoch != self.epoch
            if answer.epoch != self.epoch:
                self._set(epoch=answer.epoch)
                self._begin_epoch()
            elif from_start:
                self._set_stale()
            self._set_stale_in(again)
            self._set(again="[]")
            by_seq = {mutation.seq: mutation for mutation in sent}
            for verdict in answer.verdicts:
                self._take_verdict(verdict, by_seq[verdict.seq], begins_anew)
            for change in answer.changes:
                self._take_change(change)
            self._drop_grids(answer.dropped_grids)
            if not answer.more:
                self._drop_stale()
                self._await_no_longer()
                self._note_decided()
            server_ms = to_ms(datetime.fromisoformat(answer.server_time))
            self._set(cursor=answer.cursor, server_ms=str(server_ms))
            self._set(own_work_from=answer.rules.own_work_from if answer.rules else ZERO)
            if restored:
                self._trace_back(answer.acked)
            else:
                self._acknowledge(answer.acked, [mutation.seq for mutation in sent])
            self._forget_acked(server_ms)

    def _note_decided(self) -> None:
        """Whatever is held has an open notice when all was pulled: what has none was decided,
        though that notice never came.
        """
        self._db.execute(
            "UPDATE outbox SET outcome = 'decided' WHERE outcome = 'held'"
            " AND seq NOT IN (SELECT json_extract(fields, '$.seq') FROM record"
            " WHERE kind = 'held' AND json_extract(fields, '$.device') = ?"
            " AND json_extract(fields, '$.state') = 'open')",
            (self.get("device"),),
        )

    def _take_verdict(self, verdict: Verdict, mutation: Mutation, begins_anew: bool) -> None:
        [(laid,)] = self._db.execute(
            "SELECT laid FROM outbox WHERE seq = ?", (verdict.seq,)
        ).fetchall()
        outcome = self._note_verdict(verdict)
        self._db.execute("UPDATE outbox SET laid = 1 WHERE seq = ?", (verdict.seq,))
        is_repeated = verdict.outcome == "duplicate"
        if outcome == "applied" and verdict.rev is not None and not (is_repeated and laid):
            self._fold_in(mutation, verdict.rev, waits=is_repeated and begins_anew)

    def _fold_in(self, mutation: Mutation, rev: int, waits: bool) -> None:
        """A mutation that was applied as it was sent is not sent back: it moves into the pulled
        record.

        `waits`: a pull from the start begins, which brings the record unless it was deleted since.
        """
        row = self._db.execute(
            "SELECT rev, fields, created_by, grid, stale FROM record WHERE kind = ? AND id = ?",
            (mutation.kind, mutation.id),
        ).fetchone()
        if row and row[4]:
            row = None  # an old copy, which a pull from the start is about to replace
        if row is None and (mutation.base > 0 or waits):
            return  # the feed brings the record, if it belongs here
        if row and row[3] == mutation.grid and row[0] >= rev:
            return  # newer already; revs of another grid say nothing
        fields = overlay(
            json.loads(row[1]) if row else {}, mutation.fields, KINDS[mutation.kind].sets
        )
        staff_code = self.get("staff_code")
        self._put_record(
            Change(
                mutation.kind,
                mutation.id,
                mutation.grid,
                rev,
                mutation.op == "delete",
                fields,
                stamp=mutation.stamp,
                by=staff_code,
                created_by=row[2] if row else staff_code,
            )
        )

    # ---------------------------------------------------------------------------------------- reads

    def views(self, kind: str | None = None, grid: str | None = None) -> list[View]:
        """The live records, pending edits included, by kind and id."""
        shown: dict[tuple[str, str], View | None] = {}
        places: dict[tuple[str, str], tuple[str, int]] = {}
        for change in self.pulled():
            places[change.kind, change.id] = change.grid, change.rev
            if not change.deleted:
                shown[change.kind, change.id] = View(
                    change.kind,
                    change.id,
                    change.grid,
                    change.rev,
                    change.fields,
                    False,
                    change.stamp,
                    change.by,
                    change.created_by,
                )
        acked = self.acked
        rows = self._db.execute(
            "SELECT seq > ? OR outcome IS NULL, kind, id, grid, op, stamp, fields, base_grid, rev"
            " FROM outbox"
            " WHERE seq > ? OR outcome IS NULL OR outcome IN ('applied', 'merged') ORDER BY seq",
            (acked, acked),
        )
        staff_code = self.get("staff_code")
        for unsent, name, record_id, home, op, stamp, fields, base_grid, rev in rows:
            if not unsent and _has_come(places.get((name, record_id)), home, base_grid, rev):
                continue
            if op == "delete":
                shown[name, record_id] = None
                continue
            under = shown.get((name, record_id))
            shown[name, record_id] = View(
                name,
                record_id,
                home,
                under.rev if under else 0,
                overlay(
                    under.fields if under else {},
                    json.loads(fields),
                    KINDS[name].sets if name in KINDS else frozenset(),
                ),
                True,
                stamp,
                staff_code,
                under.created_by if under else staff_code,
            )
        return sorted(
            (
                view
                for view in shown.values()
                if view is not None and kind in (None, view.kind) and grid in (None, view.grid)
            ),
            key=lambda view: view[:2],
        )

    def held(self) -> list[Held]:
        """The mutations that the server keeps aside, oldest first."""
        rows = self._db.execute(
            "SELECT seq, kind, id, reason, detail, fields, grid FROM outbox WHERE outcome = 'held'"
            " ORDER BY seq"
        )
        found = {
            seq: Held(seq, kind, id, reason, detail, json.loads(text), _moves_to(reason, grid))
            for seq, kind, id, reason, detail, text, grid in rows
        }
        # The feed's notices are newer than the verdicts: they tell of other reasons, of releases,
        # and of what an earlier device wrote.
        device = self.get("device")
        others = []
        for (text,) in self._db.execute(
            "SELECT fields FROM record WHERE kind = 'held' ORDER BY rev"
        ):
            notice = json.loads(text)
            mine = notice["device"] == device
            if mine:
                found.pop(notice["seq"], None)
            if notice["state"] == "open":
                fields = notice["mutation"]["fields"]
                item = Held(
                    notice["seq"],
                    notice["kind"],
                    notice["record"],
                    notice["reason"],
                    notice["detail"],
                    fields,
                    _moves_to(notice["reason"], notice["grid"]),
                )
                if mine:
                    found[item.seq] = item
                else:
                    others.append(item)
        return [*others, *(found[seq] for seq in sorted(found))]
