"""A phone's copy of the records: each as the server last sent it, and which of them are stale."""

import json
from collections.abc import Sequence

from sync_protocol.device.phone_file import PhoneFile
from sync_protocol.messages import Change


class PulledRecords(PhoneFile):
    """The records that were pulled, and the grids of which anything was.

    What is stale shows until a pull from the start has brought it again, or has ended without it.
    """

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

    def stale(self) -> set[tuple[str, str]]:
        """Kind and id of the records of an old copy, which a pull from the start is about to
        replace.
        """
        return set(self._db.execute("SELECT kind, id FROM record WHERE stale"))

    def _begin_epoch(self) -> None:
        """Revs of another history mean nothing, and the server has begun from the start: the old
        copy shows until it is through.
        """
        self._db.execute("UPDATE record SET stale = 1, rev = 0")
        self._db.execute("UPDATE grid SET stale = 1")

    def _set_stale(self) -> None:
        """Whatever a pull from the start does not bring again is gone when it ends."""
        self._db.execute("UPDATE record SET stale = 1")
        self._db.execute("UPDATE grid SET stale = 1")

    def _set_stale_in(self, grids: Sequence[str]) -> None:
        """The same of some grids."""
        for grid in grids:
            self._db.execute("UPDATE record SET stale = 1 WHERE grid = ?", (grid,))
            self._db.execute("UPDATE grid SET stale = 1 WHERE code = ?", (grid,))

    def _drop_stale(self) -> None:
        """All was pulled."""
        self._db.execute("DELETE FROM record WHERE stale = 1")
        self._db.execute("DELETE FROM grid WHERE stale = 1")

    def _drop_grids(self, grids: Sequence[str]) -> None:
        for grid in grids:
            self._db.execute("DELETE FROM record WHERE grid = ?", (grid,))
            self._db.execute("DELETE FROM grid WHERE code = ?", (grid,))

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
