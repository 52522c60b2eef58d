"""Reads workbooks and text files as rows of cells: .xlsx, .xls, .csv.

`python -m service.imports.sheet_files` reads one file from its standard input and writes its sheets
and rows as lines of JSON. It is run as a process of its own, with bounds of memory and time: what a
file makes of the machine is not known before it was read, and neither the service nor its event
loop may pay for it. Nothing is put on a disk.
"""

import asyncio
import codecs
import csv
import datetime as days
import io
import os
import resource
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from service.kit.text_files import decoded, delimiter_of

# Of the process that reads.
MAX_MEMORY_BYTES = 2 * 1024**3
MAX_SECONDS = 120
# Of what is packed in a workbook; a sheet of 100,000 households has some 80 MB.
MAX_UNPACKED_BYTES = 512 * 1024**2
MAX_ENTRIES = 2_000
MAX_COLUMNS = 200
MAX_CELL = 5_000
_CHUNK = 1024 * 1024
_XLSX, _XLS = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

Cell = str | int | float | bool | None


class SheetBegins(msgspec.Struct, tag="sheet"):
    """A sheet begins; a text file has one, which has no name."""

    name: str
    hidden: bool = False


class RowRead(msgspec.Struct, tag="row"):
    """A row with something in it; `number` is as spreadsheets count, from 1. A day is a text like
    `2026-11-01`.
    """

    number: int
    cells: list[Cell]


class FileUnreadable(msgspec.Struct, tag="unreadable"):
    """The file cannot be read; `why` is one of `WHY`."""

    why: str


# Why a file cannot be read: kinds of fault, see `faults`.
WHY = ("file-damaged", "file-of-no-kind", "file-too-large", "file-encoding", "file-encrypted")
Part = SheetBegins | RowRead | FileUnreadable
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(list[Part])
_AT_ONCE = 250  # rows in a line between the two processes


class Unreadable(Exception):
    """A file that cannot be read; says why, by a word of `WHY`."""


class _Merged(NamedTuple):
    """Cells that are one: the value of the first stands for all rows of it."""

    first: int
    last: int
    left: int
    right: int


# ----------------------------------------------------------------------------- in the own process


def parts_of(content: bytes) -> Iterator[SheetBegins | RowRead]:
    """The sheets and rows of a file; raises `Unreadable`. What is in it decides, not its name."""
    if content.startswith((_XLSX, _XLS)):
        yield from _workbook(content)
    elif b"\0" in content[:4096] and not content.startswith(
        (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ):
        raise Unreadable("file-of-no-kind")
    else:
        yield from _text_file(content)


def _workbook(content: bytes) -> Iterator[SheetBegins | RowRead]:
    from python_calamine import (
        CalamineError,
        CalamineWorkbook,
        PasswordError,
        SheetTypeEnum,
        SheetVisibleEnum,
    )

    if content.startswith(_XLSX):
        refuse_bomb(content)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        about = book.sheets_metadata
        for sheet in about:
            if sheet.typ != SheetTypeEnum.WorkSheet:
                continue
            yield SheetBegins(sheet.name, sheet.visible != SheetVisibleEnum.Visible)
            found = book.get_sheet_by_name(sheet.name)
            merged = [
                _Merged(first, last, start, end)
                for (first, start), (last, end) in found.merged_cell_ranges or ()
                if last > first
            ]
            rows = ([_plain(cell) for cell in row[:MAX_COLUMNS]] for row in found.iter_rows())
            yield from _numbered(rows, merged)
    except PasswordError:
        raise Unreadable("file-encrypted") from None
    except (CalamineError, OSError, ValueError, KeyError, IndexError, OverflowError):
        raise Unreadable("file-damaged") from None


def _numbered(rows: Iterator[list[Cell]], merged: Sequence[_Merged]) -> Iterator[RowRead]:
    """Rows with their numbers: empty ones before the first that is filled are given, too."""
    kept: dict[_Merged, Cell] = {}
    for place, cells in enumerate(rows):
        for area in merged:
            if area.first <= place <= area.last and area.left < len(cells):
                if place == area.first:
                    kept[area] = cells[area.left]
                elif cells[area.left] in (None, "") and area in kept:
                    cells[area.left] = kept[area]
        if any(cell not in (None, "") for cell in cells):
            yield RowRead(place + 1, cells)


def _plain(cell: Any) -> Cell:
    if isinstance(cell, days.datetime):
        return cell.date().isoformat()
    if isinstance(cell, days.date):
        return cell.isoformat()
    if isinstance(cell, days.time | days.timedelta):
        return str(cell)
    if isinstance(cell, str):
        return cell[: MAX_CELL + 1]
    if isinstance(cell, float) and not -1e300 < cell < 1e300:
        return str(cell)
    return cell  # type: ignore[no-any-return]


def refuse_bomb(content: bytes) -> None:
    """Raises `Unreadable` for a workbook that unpacks to more than it may, whatever its directory
    says of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            left = MAX_UNPACKED_BYTES
            entries = packed.infolist()
            if len(entries) > MAX_ENTRIES:
                raise Unreadable("file-too-large")
            for entry in entries:
                if entry.flag_bits & 1:
                    raise Unreadable("file-encrypted")
                # Its size and checksum are what the file says of itself; it is read until its end,
                # or until it is too much.
                entry.file_size = left + 1
                entry.CRC = None  # type: ignore[assignment]
                with packed.open(entry) as unpacked:
                    while chunk := unpacked.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise Unreadable("file-too-large")
    except Unreadable:
        raise
    except EOFError:
        pass  # shorter than its directory says: that is for the reader to judge
    except Exception:
        raise Unreadable("file-damaged") from None


def _text_file(content: bytes) -> Iterator[SheetBegins | RowRead]:
    text = decoded(content)
    if text is None:
        raise Unreadable("file-encoding")
    yield SheetBegins("")
    csv.field_size_limit(1024 * 1024)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    try:
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield RowRead(rows.line_num, [cell[: MAX_CELL + 1] for cell in cells[:MAX_COLUMNS]])
    except csv.Error:
        raise Unreadable("file-damaged") from None


def _read_alone() -> None:
    """The process that reads: bytes in, lines out."""
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(10)  # whoever is served meanwhile comes first
    out = sys.stdout.buffer
    content = sys.stdin.buffer.read()
    parts: list[Part] = []
    try:
        for part in parts_of(content):
            parts.append(part)
            if len(parts) == _AT_ONCE:
                out.write(_encode(parts) + b"\n")
                parts = []
    except Unreadable as error:
        parts.append(FileUnreadable(str(error)))
    except MemoryError:
        parts = [FileUnreadable("file-too-large")]
    out.write(_encode(parts) + b"\n")
    out.flush()


# ------------------------------------------------------------------------------------- from outside


async def read_file(content: bytes) -> AsyncIterator[Sequence[Part]]:
    """The sheets and rows of a file, read by a process of its own, some at a time; ends with a
    `FileUnreadable` where it cannot be read.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service.imports.sheet_files",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=16 * 1024**2,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    feeding = asyncio.create_task(_feed(process.stdin, content))
    ended = False
    try:
        async for line in process.stdout:
            parts = _decoder.decode(line)
            ended = ended or any(isinstance(part, FileUnreadable) for part in parts)
            yield parts
        await feeding
        if await process.wait() != 0 and not ended:
            yield [FileUnreadable("file-too-large")]  # it came to the end of its memory or time
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> None:
    try:
        for start in range(0, len(content), _CHUNK):
            stream.write(content[start : start + _CHUNK])
            await stream.drain()
        stream.close()
        await stream.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has ended, and says why


if __name__ == "__main__":
    _read_alone()
