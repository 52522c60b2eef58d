"""The SQLite file of a phone: its tables, transactions and named values."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


class PhoneFile:
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
