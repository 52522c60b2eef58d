"""What was written on a phone: mutations under their numbers, and what the server said of them.

The outbox keeps a mutation for 30 days after it was acknowledged, because the server may lose its
last hours (promise 9).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sync_protocol.clock import ZERO
from sync_protocol.device.phone_file import PhoneFile
from sync_protocol.messages import MAX_MUTATIONS, MAX_REQUEST_BYTES, Mutation, Verdict, encode

KEEP_ACKED_MS = 30 * 24 * 3600 * 1000


class Outbox(PhoneFile):
    """The numbered mutations of a phone: not yet handed in, or kept after that for a while."""

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

    @property
    def next_seq(self) -> int:
        """The seq that the next mutation gets."""
        return int(self.get("next_seq", "1"))

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

    def batch(self) -> list[Mutation]:
        """The next mutations, as many as fit a request; none from where the server holds others
        under the same numbers.
        """
        size = 0
        batch: list[Mutation] = []
        parts_at = self.parts_at
        for mutation in self.unsent(MAX_MUTATIONS):
            if parts_at and mutation.seq >= parts_at:
                break
            size += len(encode(mutation)) + 1
            if batch and size > MAX_REQUEST_BYTES - 10_000:
                break
            batch.append(mutation)
        return batch

    def written(self, since: int = 0) -> list[Mutation]:
        """Every mutation that is still kept, acknowledged or not, from a seq on."""
        return self._mutations("WHERE seq >= ? ORDER BY seq", (since,))

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

    def _unsettled(self) -> list[Mutation]:
        """The own mutations that are not acknowledged, or whose verdict has not come."""
        return self._mutations("WHERE seq > ? OR outcome IS NULL ORDER BY seq", (self.acked,))

    def _renumber(self, kept: Sequence[Mutation]) -> None:
        self._db.execute("DELETE FROM outbox")
        for seq, mutation in enumerate(kept, 1):
            mutation.seq = seq
            self._insert(mutation)
        self._set(acked="0", next_seq=str(len(kept) + 1), tracing="", copied="", parts_at="")

    # ------------------------------------------------------------------------ what the server holds

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
        if acked >= self.next_seq:
            self._set(copied="1")

    def _note_verdict(self, verdict: Verdict) -> str:
        outcome = verdict.first or verdict.outcome
        self._db.execute(
            "UPDATE outbox SET outcome = ?, rev = ?, reason = ?, detail = ? WHERE seq = ?",
            (outcome, verdict.rev, verdict.reason, verdict.detail, verdict.seq),
        )
        return outcome

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

    def _await_no_longer(self) -> None:
        """All was pulled: what acknowledged edits waited for has come, or is gone."""
        self._db.execute(
            "UPDATE outbox SET rev = NULL WHERE rev IS NOT NULL"
            " AND outcome IN ('applied', 'merged')"
        )

    def _forget_acked(self, server_ms: int) -> None:
        """Drops mutations acknowledged more than 30 days ago; by the server's clock, for the
        phone's may jump by years.
        """
        self._db.execute(
            "DELETE FROM outbox WHERE seq <= ? AND acked_ms < ? AND outcome != 'held'",
            (self.acked, server_ms - KEEP_ACKED_MS),
        )

    # --------------------------------------------------------------------------------- tracing back

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

    def _unbroken_since(self) -> int:
        """The lowest seq from which on every mutation is still kept."""
        seq = self.next_seq
        for (kept,) in self._db.execute("SELECT seq FROM outbox ORDER BY seq DESC"):
            if kept != seq - 1:
                break
            seq = kept
        return seq

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
        return self.next_seq - 1 - self.acked != self.count_unsent()
