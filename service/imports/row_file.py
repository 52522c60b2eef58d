"""The rows of an import on their way from files to the database: read once, in the order of files,
and taken again village by village; and what was found of them until it is written.

They lie in a temporary file, encrypted by a key that only this process has, so that memory does not
grow with the number of households and nothing personal is left on the disk.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_AT_ONCE = 500
# Columns of what only one row may have.
_UNIQUE = ("number", "own")
_KEPT = 2**80


class Row(msgspec.Struct, array_like=True):
    """A row of a sheet: where it stands (file, sheet as called there, row), and its cleaned values.

    `masked`: what stood in columns where it is only what somebody was shown of a value. `given`:
    what stood in those whose values are written otherwise. `wrong`: those whose texts (which are
    their values then) are not taken, unless that is what is here already: a kind of fault, with
    what its sentences need. `bad`: something is wrong with it already.
    """

    file: str
    sheet: str
    number: int
    values: dict[str, Any]
    masked: dict[str, str] = {}
    bad: bool = False
    given: dict[str, str] = {}
    wrong: dict[str, tuple[str, dict[str, Any]]] = {}

    @property
    def where(self) -> tuple[str, str, int]:
        """Where it stands."""
        return self.file, self.sheet, self.number


class Spool:
    """Rows by sheet and place."""

    def __init__(self, folder: Path) -> None:
        # Used by one at a time, in whichever thread.
        self._file = sqlite3.connect(
            folder / "rows.sqlite3", isolation_level=None, check_same_thread=False
        )
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute("PRAGMA cache_size = -8000")
        self._file.execute(
            "CREATE TABLE row (seq INTEGER PRIMARY KEY, sheet TEXT NOT NULL, grid TEXT NOT NULL,"
            " number BLOB, own BLOB, body BLOB NOT NULL)"
        )
        self._file.execute(
            "CREATE TABLE place (village TEXT NOT NULL, grid TEXT NOT NULL,"
            " PRIMARY KEY (village, grid)) WITHOUT ROWID"
        )
        self._file.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self._cipher = AESGCM(os.urandom(32))
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Row).decode
        self._seq = 0
        self._waiting: list[tuple[Any, ...]] = []

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()

    def add(
        self,
        sheet: str,
        row: Row,
        grid: str = "",
        number: bytes | None = None,
        own: bytes | None = None,
    ) -> None:
        """Adds a row. `number`, `own`: digests of what must be unique in all files."""
        self._seq += 1
        nonce = self._seq.to_bytes(12, "big")
        body = self._cipher.encrypt(nonce, self._encode(row), None)
        self._waiting.append((self._seq, sheet, grid, number, own, body))
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.execute("BEGIN")
            self._file.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?)", self._waiting)
            self._file.execute("COMMIT")
            self._waiting = []

    def finish(self) -> None:
        """All rows are there."""
        self._flush()
        self._file.execute("CREATE INDEX by_grid ON row (sheet, grid, seq)")
        for column in _UNIQUE:
            self._file.execute(
                f"CREATE INDEX by_{column} ON row ({column}) WHERE {column} IS NOT NULL"
            )

    def count(self, sheet: str) -> int:
        """How many rows a sheet has."""
        [count] = self._file.execute(
            "SELECT count(*) FROM row WHERE sheet = ?", (sheet,)
        ).fetchone()
        return int(count)

    def put_into_villages(self, sheet: str, village_of: Callable[[str], str]) -> None:
        """Says in which village each grid of a sheet's rows lies."""
        grids = self._file.execute("SELECT DISTINCT grid FROM row WHERE sheet = ?", (sheet,))
        self._file.executemany(
            "INSERT OR REPLACE INTO place VALUES (?, ?)",
            [(village_of(grid), grid) for (grid,) in grids.fetchall()],
        )

    def villages(self, sheet: str) -> list[tuple[str, int]]:
        """The villages of a sheet's rows, in order, each with how many; once they were told."""
        return self._file.execute(
            "SELECT village, count(*) FROM place CROSS JOIN row USING (grid) WHERE sheet = ?"
            " GROUP BY village ORDER BY village",
            (sheet,),
        ).fetchall()

    def rows(self, sheet: str, village: str | None = None) -> Iterator[tuple[int, Row]]:
        """The rows of a sheet, of one village if that is given, in order of grid and place in the
        file; each with its own number.
        """
        if village is None:
            found = self._file.execute(
                "SELECT seq, body FROM row WHERE sheet = ? ORDER BY seq", (sheet,)
            )
        else:
            found = self._file.execute(
                # In this order of tables, as `CROSS` says: else every row would be gone through.
                "SELECT seq, body FROM place p CROSS JOIN row r ON r.sheet = ? AND r.grid = p.grid"
                " WHERE p.village = ? ORDER BY p.grid, seq",
                (sheet, village),
            )
        for seq, body in found:
            yield seq, self._decode(self._cipher.decrypt(seq.to_bytes(12, "big"), body, None))

    def repeated(self) -> dict[int, tuple[str, str, int]]:
        """The rows whose number or id another row has before them, each with where that one
        stands.
        """
        firsts: dict[int, int] = {}
        for column in _UNIQUE:
            firsts |= dict(
                self._file.execute(
                    f"SELECT r.seq, f.seq FROM row r JOIN (SELECT {column}, min(seq) AS seq FROM"
                    f" row WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*) > 1) f"
                    f" ON f.{column} = r.{column} WHERE r.seq > f.seq"
                ).fetchall()
            )
        found = {}
        for seq, first in firsts.items():
            [body] = self._file.execute("SELECT body FROM row WHERE seq = ?", (first,)).fetchone()
            row = self._decode(self._cipher.decrypt(first.to_bytes(12, "big"), body, None))
            found[seq] = row.where
        return found

    def keep(self, number: int, body: bytes) -> None:
        """Keeps something under a number, once."""
        sealed = self._cipher.encrypt(_nonce_of_kept(number), body, None)
        self._file.execute("INSERT INTO kept VALUES (?, ?)", (number, sealed))

    def kept(self, number: int) -> bytes | None:
        """What was kept under a number."""
        found = self._file.execute("SELECT body FROM kept WHERE number = ?", (number,)).fetchone()
        return found and self._cipher.decrypt(_nonce_of_kept(number), found[0], None)


def _nonce_of_kept(number: int) -> bytes:
    """No row has it: those have the numbers below."""
    return (_KEPT + number).to_bytes(12, "big")
