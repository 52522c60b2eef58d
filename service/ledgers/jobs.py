"""Large ledgers, made in the background and kept for a day."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from service.http.temporary_files import XLSX
from service.identity.access import Caller
from service.identity.queries import posts_of
from service.identity.rights import ROUTES
from service.identity.tokens import Claims
from service.jobs.kinds import Job, JobKind
from service.jobs.results import Result
from service.kit.localization import asked_for
from service.ledgers.ledgers import Begin, What, write
from service.ledgers.named import AskedLedger, file_name, ledger_of
from service.ledgers.sheet import Column, LedgerSheet, Sheet
from service.organisation.trees import current_tree

# How often it is told how many rows are written, and how much of a file is read at once.
_TOLD_EVERY_S = 1.0
_PIECE_BYTES = 256 * 1024


class Wanted(msgspec.Struct):
    """A ledger that a cadre has asked for; `language`: of what the service says in it."""

    staff_code: str
    ledger: AskedLedger
    language: str


class _Rows:
    """How many rows were written, over all sheets."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self, begin: Begin, title: str, columns: Sequence[Column]) -> LedgerSheet:
        """Begins a sheet whose rows are counted."""
        return _Counting(begin(title, columns), self)


class _Counting(NamedTuple):
    sheet: LedgerSheet
    rows: _Rows

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows and counts them."""

        def counted() -> Iterable[Sequence[Any]]:
            for row in rows:
                self.rows.count += 1
                yield row

        self.sheet.write(counted())

    def close(self, totals: Sequence[Any] | None = None) -> None:
        """Ends the sheet."""
        self.sheet.close(totals)


async def _work(job: Job) -> None:
    """Writes the ledger with what its cadre may see by now, and keeps it."""
    assert job.result is not None, "a ledger is asked for by somebody"
    wanted = msgspec.convert(job.payload, Wanted)
    asked_for.set("en" if wanted.language == "en" else "zh")
    with tempfile.TemporaryDirectory(prefix="gridloop-ledger-") as folder:
        path = Path(folder) / "ledger.xlsx"
        rows = _Rows()
        telling = asyncio.create_task(_tell(job.result, rows))
        try:
            what = await _write(job, wanted, partial(rows.begin, partial(Sheet, path)))
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
        await job.result.progress(rows.count, rows.count)
        await job.result.keep(file_name(what), XLSX, _pieces(path))


async def _write(job: Job, wanted: Wanted, begin: Begin) -> What:
    caller = await _caller(job, wanted.staff_code)
    async with (
        job.database.reading() as connection,
        connection.transaction(readonly=True),
    ):
        what = await ledger_of(connection, caller, wanted.ledger)
        await write(connection, job.settings, what, begin)
    return what


async def _caller(job: Job, staff_code: str) -> Caller:
    """The cadre with the posts of now: who has lost them since gets no ledger."""
    now = job.now()
    async with job.database.reading() as connection:
        tree = await current_tree(connection)
        held = await posts_of(connection, staff_code)
    posts = [post._replace(tree=tree) for post in held if post.role != "app_client"]
    claims = Claims(staff_code, None, now.timestamp())
    return Caller(claims, posts, now, ROUTES["ask_ledger"], tree=tree)


async def _tell(result: Result, rows: _Rows) -> None:
    """Tells how many rows there are; how many it will be nobody knows."""
    while True:
        await asyncio.sleep(_TOLD_EVERY_S)
        await result.progress(rows.count, 0)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


# Two at a time: each keeps a core busy while the phones sync.
LEDGER = JobKind("ledger", _work, attempts=3, max_concurrency=2)
