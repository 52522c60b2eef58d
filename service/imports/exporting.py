"""Writes what is there as the workbook that an import reads."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path

from service.identity.access import Caller
from service.identity.views import View, mask, redact
from service.imports import export_queries
from service.imports.checking import begin_of, last_day_of
from service.imports.columns import LEVELS, PEOPLE, POSTS, UNITS
from service.imports.household_columns import HOUSEHOLDS
from service.imports.known_queries import spans_of
from service.imports.membership import holds_on
from service.imports.numbers import NONE, Numbers, numbers_of
from service.imports.template import Book
from service.imports.words import Words
from service.kit.database import Connection, Row
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.runtime.yielding import let_others_run
from service.vocabulary.keeping import current_reference_data
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import Label

_AT_ONCE = 500


async def export(
    connection: Connection,
    settings: Settings,
    caller: Caller,
    unit: str,
    path: Path,
    language: str,
) -> None:
    """Writes units, people, posts and households of a unit, as the caller may see them; in constant
    memory.
    """
    subtree = caller.subtree(unit)
    cipher = await cipher_of(connection, settings)
    vocabulary = (await current_reference_data(connection)).vocabulary
    levels = {one.slug: Label(one.name_zh, one.name_en) for one in caller.tree.levels.values()}
    words = Words(vocabulary, caller.today, levels)
    book = Book(path, "en" if language == "en" else "zh", words)
    book.begin(UNITS)
    async for rows in _some(export_queries.units_in(connection, subtree)):
        book.write(_unit(book, caller, row) for row in rows)
    book.begin(PEOPLE)
    async for rows in _some(export_queries.people_in(connection, subtree, caller.now)):
        book.write(_person(book, cipher, caller, row) for row in rows)
    book.begin(POSTS)
    async for rows in _some(export_queries.posts_in(connection, subtree, caller.now)):
        book.write(_post(book, row) for row in rows)
    book.begin(HOUSEHOLDS)
    async for rows in _some(export_queries.households_in(connection, subtree)):
        numbers = await numbers_of(connection, cipher, [row["id"] for row in rows])
        book.write(
            _household(book, cipher, caller, row, numbers.get(row["id"], NONE)) for row in rows
        )
    book.begin(LEVELS)
    book.write(
        (one.slug, one.name_zh, one.name_en, _yes_no(book, one.sees_tags))
        for one in caller.tree.levels.values()
    )
    book.notes()
    book.close()


async def _some(rows: AsyncIterator[Row]) -> AsyncIterator[list[Row]]:
    """Rows, some at a time."""
    found: list[Row] = []
    async for row in rows:
        found.append(row)
        if len(found) == _AT_ONCE:
            yield found
            await let_others_run(len(found))
            found = []
    if found:
        yield found


def _yes_no(book: Book, yes: bool) -> str:
    return book.say(Label("是", "yes") if yes else Label("否", "no"))


def _unit(book: Book, caller: Caller, row: Row) -> Sequence[str]:
    return (
        row["code"],
        row["name"],
        book.word("level", row["level"]),
        caller.tree.parent(row["code"], caller.today) or "",
        row["name_mn"] or "",
        row["kind"],
        book.word("party_group", row["party_group"]),
        "" if row["go_live"] is None else row["go_live"].isoformat(),
    )


def _person(book: Book, cipher: FieldCipher, caller: Caller, row: Row) -> Sequence[str]:
    phone = str(cadre_phone(cipher, row))
    if not any(caller.view_of(unit) is View.FULL for unit in row["units"]):
        phone = mask("phone", phone)
    spans = [(first, end) for first, end in spans_of(row)]
    is_member = holds_on(spans, caller.today.isoformat()) if spans else row["party_member"]
    first, end = spans[-1] if spans else (None, None)
    last = "" if end is None else last_day_of(begin_of(date.fromisoformat(end))).isoformat()
    yes_no = _yes_no(book, is_member)
    return row["staff_code"], row["name"], phone, yes_no, first or "", last


def _post(book: Book, row: Row) -> Sequence[str]:
    return (
        row["staff_code"],
        book.word("role", row["role"]),
        row["unit"],
        local_day(row["valid_from"]).isoformat(),
        "" if row["valid_to"] is None else last_day_of(row["valid_to"]).isoformat(),
        row["title"] or "",
    )


def _household(
    book: Book, cipher: FieldCipher, caller: Caller, row: Row, numbers: Numbers
) -> Sequence[str]:
    id, grid = row["id"], row["grid"]
    fields = {
        name: row[name]
        for name in (
            *("head_name", "members", "tags", "contact_member", "lead_member", "note"),
            *("state", "state_since"),
        )
    }
    for name in ("phone", "address"):
        fields[name] = row[name] and cipher.shown(Place("household", name, id), row[name])
    shown = redact("household", fields, caller.shown_of(grid))
    texts = {
        "grid": grid,
        "household_no": numbers.household_no or "",
        "village_no": numbers.village_no(caller, grid) or "",
        "tags": book.tags(shown.get("tags") or ()),
        "state": book.word("household_state", row["state"]),
        "id": id,
    }
    return [
        texts[column.name]
        if column.name in texts
        else ""
        if shown.get(column.name) is None
        else str(shown[column.name])
        for column in HOUSEHOLDS.columns
    ]
