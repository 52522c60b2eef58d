"""What a phone keeps: its outbox and the records that it has pulled, in one SQLite file.

Every method is one transaction, so a process killed between any two statements has either all of it
or nothing. The outbox keeps a mutation for 30 days after it was acknowledged, because the server
may lose its last hours (promise 9).
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sync_protocol.clock import ZERO
from sync_protocol.merge import overlay
from sync_protocol.messages import Change, Mutation, SyncAnswer, Verdict
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS

KEEP_ACKED_MS = 30 * 24 * 3600 * 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, kind TEXT, id TEXT, grid TEXT, op TEXT, base INTEGER, stamp TEXT,
    fields TEXT, epoch TEXT,
    base_grid TEXT, acked_ms INTEGER, outcome TEXT, rev INTEGER, reason TEXT, detail TEXT,
    laid INTEGER DEFAULT 0);
CREATE INDEX IF NOT EXISTS outbox_record ON outbox (kind, id);
CREATE TABLE IF NOT EXISTS record (
    kind TEXT, id TEXT, grid TEXT, rev INTEGER, deleted INTEGER, fields TEXT, stamp TEXT, by TEXT,
    created_by TEXT,
    stale INTEGER DEFAULT 0, PRIMARY KEY (kind, id));
CREATE INDEX IF NOT EXISTS record_grid ON record (grid);
CREATE TABLE IF NOT EXISTS grid (code TEXT PRIMARY KEY, stale INTEGER DEFAULT 0);
"""


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
    """A mutation of this phone that the server keeps aside."""

    seq: int
    kind: str
    id: str
    reason: str
    detail: str
    fields: dict[str, Any]


class Store:
    """The phone's file at `path`; `:memory:` for none."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        if "laid" not in {row[1] for row in self._db.execute("PRAGMA table_info(outbox)")}:
            self._db.execute("ALTER TABLE outbox ADD COLUMN laid INTEGER DEFAULT 0")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def copy_to(self, path: str | Path) -> "Store":
        """A store over a copy of everything, as a backup of the phone makes it."""
        copy = Store(path)
        self._db.backup(copy._db)
        return copy

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(self, name: str, default: str = "") -> str:
        """A named value."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else str(row[0])

    def set(self, **values: str) -> None:
        """Keeps named values, all at once."""
        with self._transaction():
            self._set(**values)

    def _set(self, **values: str) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    # ---------------------------------------------------------------------------------------- edits

    @property
    def acked(self) -> int:
        """The highest seq that the server has acknowledged."""
        return int(self.get("acked", "0"))

    @property
    def epoch(self) -> str:
        """The server's history that this phone follows."""
        return self.get("epoch")

    def last_stamp(self) -> str:
        """The stamp from which the clock continues."""
        return self.get("stamp", ZERO)

    def queue(self, mutation: Mutation) -> Mutation:
        """Gives a new mutation the next seq and its base, and keeps it; the edit is safe when this
        returns.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT rev, grid FROM record WHERE kind = ? AND id = ?",
                (mutation.kind, mutation.id),
            ).fetchone()
            mutation.seq = int(self.get("next_seq", "1"))
            mutation.base = row[0] if row else 0
            if row and row[1] != mutation.grid:
                mutation.base_grid = row[1]
            mutation.epoch = self.epoch or None
            self._insert(mutation)
            self._set(next_seq=str(mutation.seq + 1), stamp=mutation.stamp)
        return mutation

    def _insert(self, mutation: Mutation) -> None:
        self._db.execute(
            "INSERT INTO outbox (seq, kind, id, grid, op, base, stamp, fields, epoch, base_grid)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                mutation.seq,
                mutation.kind,
                mutation.id,
                mutation.grid,
                mutation.op,
                mutation.base,
                mutation.stamp,
                json.dumps(mutation.fields),
                mutation.epoch,
                mutation.base_grid,
            ),
        )

    def unsent(self, limit: int) -> list[Mutation]:
        """The oldest mutations that are not acknowledged, at most `limit`."""
        return self._mutations("WHERE seq > ? ORDER BY seq LIMIT ?", (self.acked, limit))

    def count_unsent(self) -> int:
        """How many mutations are not acknowledged."""
        return int(
            self._db.execute("SELECT count(*) FROM outbox WHERE seq > ?", (self.acked,)).fetchone()[
                0
            ]
        )

    def _mutations(self, where: str, values: Sequence[Any]) -> list[Mutation]:
        rows = self._db.execute(
            "SELECT seq, kind, id, grid, op, base, stamp, fields, epoch, base_grid"
            f" FROM outbox {where}",
            values,
        )
        return [
            Mutation(seq, kind, id, grid, op, base, stamp, json.loads(fields), epoch, base_grid)
            for seq, kind, id, grid, op, base, stamp, fields, epoch, base_grid in rows
        ]

    def take_refusal(self, problem: Mapping[str, Any]) -> None:
        """Takes `acked` and `verdicts` from a refusal that took the mutations in all the same."""
        with self._transaction():
            acked = int(problem.get("acked", self.acked))
            verdicts = msgspec.convert(problem.get("verdicts", []), list[Verdict])
            if acked < self.acked:
                self._trace_back(acked)
                return
            self._acknowledge(acked, [verdict.seq for verdict in verdicts])
            for verdict in verdicts:
                self._note_verdict(verdict)

    @property
    def tracing(self) -> bool:
        """Whether this phone is showing the server again all that it keeps, because what was
        acknowledged may be a copy's.
        """
        return self.get("tracing") == "1"

    def trace_back(self, acked: int) -> None:
        """Shows the server again all that is kept, from before `acked` on: acknowledged numbers may
        be those of a copy of this phone.
        """
        with self._transaction():
            self._trace_back(acked)

    def _trace_back(self, acked: int) -> None:
        self._set_acked(min(acked, self._unbroken_since() - 1))
        self._set(tracing="1", parts_at="")

    def part_at(self, seq: int) -> None:
        """Keeps that from `seq` on the server holds other content: what lies before is shown again,
        the rest starts as a new device.
        """
        self.set(parts_at=str(seq))

    @property
    def parts_at(self) -> int:
        """The seq from which on the server holds other content, as it said while this phone was
        tracing; 0 if it did not.
        """
        return int(self.get("parts_at") or 0)

    def out_of_step(self) -> bool:
        """Whether the numbers here cannot go on from what the server has acknowledged: then this
        phone must start as a new device.

        Either the server holds more than this phone ever numbered, so the phone was restored from a
        backup or copied (promise 10); or the server was restored and asks for mutations that this
        phone no longer keeps (promise 9); or all was shown again up to where the two histories
        part.
        """
        if self.get("copied") == "1" or 0 < self.parts_at <= self.acked + 1:
            return True
        return int(self.get("next_seq", "1")) - 1 - self.acked != self.count_unsent()

    def _unbroken_since(self) -> int:
        """The lowest seq from which on every mutation is still kept."""
        seq = int(self.get("next_seq", "1"))
        for (kept,) in self._db.execute("SELECT seq FROM outbox ORDER BY seq DESC"):
            if kept != seq - 1:
                break
            seq = kept
        return seq

    def set_acked(self, acked: int) -> None:
        """Takes the server's word for what it holds; it may go back after a restore (promise 9)."""
        with self._transaction():
            self._set_acked(acked)

    def _set_acked(self, acked: int) -> None:
        # Verdicts on mutations that the server has lost mean nothing any more.
        self._db.execute(
            "UPDATE outbox SET outcome = NULL, rev = NULL, acked_ms = NULL WHERE seq > ?", (acked,)
        )
        self._db.execute(
            "UPDATE outbox SET acked_ms = ? WHERE seq <= ? AND acked_ms IS NULL",
            (int(self.get("server_ms", "0")), acked),
        )
        self._set(acked=str(acked))

    def _acknowledge(self, acked: int, sent: Sequence[int]) -> None:
        """Takes the server's word for what it holds, as far as this phone has shown it.

        While tracing, what the server holds beyond the last seq that was `sent` may be a copy's,
        and must be shown, too.
        """
        own = min(acked, sent[-1] if sent else self.acked) if self.tracing else acked
        self._set_acked(own)
        if self.tracing and self.count_unsent():
            return
        self._set(tracing="")
        if acked >= int(self.get("next_seq", "1")):
            self._set(copied="1")

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

    def _unsettled(self) -> list[Mutation]:
        """The own mutations that are not acknowledged, or whose verdict has not come."""
        return self._mutations("WHERE seq > ? OR outcome IS NULL ORDER BY seq", (self.acked,))

    def _number_anew(self, kept: Sequence[Mutation], device: str, predecessor: str) -> None:
        self._db.execute("DELETE FROM outbox")
        for seq, mutation in enumerate(kept, 1):
            mutation.seq = seq
            self._insert(mutation)
        self._set(
            device=device,
            acked="0",
            next_seq=str(len(kept) + 1),
            cursor="",
            refresh_token="",
            verify="",
        )
        self._set(predecessor=predecessor, tracing="", copied="", parts_at="")
        self._set_stale()

    def _forget_acked(self, server_ms: int) -> None:
        """Drops mutations acknowledged more than 30 days ago; by the server's clock, for the
        phone's may jump by years.
        """
        self._db.execute(
            "DELETE FROM outbox WHERE seq <= ? AND acked_ms < ? AND outcome != 'held'",
            (self.acked, server_ms - KEEP_ACKED_MS),
        )

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
                # Revs of another history mean nothing, and the server has begun from the start: the
                # old copy shows until it is through.
                self._set(epoch=answer.epoch)
                self._db.execute("UPDATE record SET stale = 1, rev = 0")
                self._db.execute("UPDATE grid SET stale = 1")
            elif from_start:
                self._set_stale()
            for grid in again:
                self._db.execute("UPDATE record SET stale = 1 WHERE grid = ?", (grid,))
                self._db.execute("UPDATE grid SET stale = 1 WHERE code = ?", (grid,))
            self._set(again="[]")
            by_seq = {mutation.seq: mutation for mutation in sent}
            for verdict in answer.verdicts:
                self._take_verdict(verdict, by_seq[verdict.seq], begins_anew)
            for change in answer.changes:
                self._take_change(change)
            for grid in answer.dropped_grids:
                self._db.execute("DELETE FROM record WHERE grid = ?", (grid,))
                self._db.execute("DELETE FROM grid WHERE code = ?", (grid,))
            if not answer.more:
                self._db.execute("DELETE FROM record WHERE stale = 1")
                self._db.execute("DELETE FROM grid WHERE stale = 1")
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

    def _await_no_longer(self) -> None:
        """All was pulled: what acknowledged edits waited for has come, or is gone."""
        self._db.execute(
            "UPDATE outbox SET rev = NULL WHERE rev IS NOT NULL"
            " AND outcome IN ('applied', 'merged')"
        )

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

    def _set_stale(self) -> None:
        """Whatever a pull from the start does not bring again is gone when it ends."""
        self._db.execute("UPDATE record SET stale = 1")
        self._db.execute("UPDATE grid SET stale = 1")

    def _take_verdict(self, verdict: Verdict, mutation: Mutation, begins_anew: bool) -> None:
        [(laid,)] = self._db.execute(
            "SELECT laid FROM outbox WHERE seq = ?", (verdict.seq,)
        ).fetchall()
        outcome = self._note_verdict(verdict)
        self._db.execute("UPDATE outbox SET laid = 1 WHERE seq = ?", (verdict.seq,))
        is_repeated = verdict.outcome == "duplicate"
        if outcome == "applied" and verdict.rev is not None and not (is_repeated and laid):
            self._fold_in(mutation, verdict.rev, waits=is_repeated and begins_anew)

    def _note_verdict(self, verdict: Verdict) -> str:
        outcome = verdict.first or verdict.outcome
        self._db.execute(
            "UPDATE outbox SET outcome = ?, rev = ?, reason = ?, detail = ? WHERE seq = ?",
            (outcome, verdict.rev, verdict.reason, verdict.detail, verdict.seq),
        )
        return outcome

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

    def _take_change(self, change: Change) -> None:
        row = self._db.execute(
            "SELECT rev, grid, stale FROM record WHERE kind = ? AND id = ?",
            (change.kind, change.id),
        ).fetchone()
        if change.gone:
            # A higher rev is that of a record which has come back since.
            gone = (change.kind, change.id, change.grid, change.rev)
            self._db.execute(
                "DELETE FROM record WHERE kind = ? AND id = ? AND grid = ? AND (stale OR rev <= ?)",
                gone,
            )
        elif row is None or row[1] != change.grid or row[2] or row[0] <= change.rev:
            self._put_record(change)

    def _put_record(self, change: Change) -> None:
        self._db.execute("INSERT OR REPLACE INTO grid (code) VALUES (?)", (change.grid,))
        self._db.execute(
            "INSERT OR REPLACE INTO record (kind, id, grid, rev, deleted, fields, stamp, by,"
            " created_by)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                change.kind,
                change.id,
                change.grid,
                change.rev,
                int(change.deleted),
                json.dumps(change.fields, sort_keys=True),
                change.stamp,
                change.by,
                change.created_by,
            ),
        )

    def wipe(self) -> None:
        """Deletes everything: the device was revoked and has handed in its work."""
        with self._transaction():
            for table in ("meta", "outbox", "record", "grid"):
                self._db.execute(f"DELETE FROM {table}")

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
            "SELECT seq, kind, id, reason, detail, fields FROM outbox WHERE outcome = 'held'"
            " ORDER BY seq"
        )
        found = {
            seq: Held(seq, kind, id, reason, detail, json.loads(text))
            for seq, kind, id, reason, detail, text in rows
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
                )
                if mine:
                    found[item.seq] = item
                else:
                    others.append(item)
        return [*others, *(found[seq] for seq in sorted(found))]

    def grids(self) -> list[str]:
        """The grids of which this phone has pulled anything, whether or not a record of them is
        left.
        """
        return [code for (code,) in self._db.execute("SELECT code FROM grid ORDER BY code")]

    def pulled(self) -> list[Change]:
        """Every pulled record as it stands, tombstones included."""
        rows = self._db.execute(
            "SELECT kind, id, grid, rev, deleted, fields, stamp, by, created_by FROM record"
            " ORDER BY kind, id"
        )
        return [
            Change(
                kind, id, grid, rev, bool(deleted), json.loads(fields), False, stamp, by, created_by
            )
            for kind, id, grid, rev, deleted, fields, stamp, by, created_by in rows
        ]
