"""Writes what is there as the workbook that an import reads."""

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from service.identity.access import Caller
from service.identity.views import View, mask, redact
from service.imports import cells, export_queries, keys, known_queries
from service.imports.checking import last_day_of
from service.imports.columns import HOUSEHOLDS, PEOPLE, POSTS, UNITS
from service.imports.template import Book
from service.imports.units import covered
from service.kit.database import Connection, Row
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption import Place
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.settings import Settings
from service.runtime.yielding import let_others_run
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import LEVELS, ROLES, TAGS, Label

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
    book = Book(path, "en" if language == "en" else "zh")
    book.begin(UNITS)
    async for rows in _some(export_queries.units_in(connection, subtree)):
        book.write(_unit(book, row, caller.tree.parent(row["code"], caller.today)) for row in rows)
    book.begin(PEOPLE)
    async for rows in _some(export_queries.people_in(connection, subtree, caller.now)):
        book.write(_person(book, cipher, caller, row) for row in rows)
    book.begin(POSTS)
    async for rows in _some(export_queries.posts_in(connection, subtree, caller.now)):
        book.write(_post(book, row) for row in rows)
    book.begin(HOUSEHOLDS)
    async for rows in _some(export_queries.households_in(connection, subtree)):
        stored = await known_queries.keys_of(connection, [row["id"] for row in rows])
        numbers = _numbers(cipher, stored)
        book.write(_household(book, cipher, caller, row, numbers) for row in rows)
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


def _say(book: Book, table: Any, name: str | None) -> str:
    return "" if not name else book.say(table.get(name, Label(name, name)))


def _unit(book: Book, row: Row, parent: str | None) -> Sequence[str]:
    return (
        row["code"],
        row["name"],
        _say(book, LEVELS, row["level"]),
        parent or "",
        row["name_mn"] or "",
        row["kind"],
        _say(book, cells.PARTY_GROUPS, row["party_group"]),
    )


def _person(book: Book, cipher: FieldCipher, caller: Caller, row: Row) -> Sequence[str]:
    phone = str(cadre_phone(cipher, row))
    if not any(caller.view_of(unit) is View.FULL for unit in row["units"]):
        phone = mask("phone", phone)
    member = book.say(Label("是", "yes") if row["party_member"] else Label("否", "no"))
    return row["staff_code"], row["name"], phone, member


def _post(book: Book, row: Row) -> Sequence[str]:
    return (
        row["staff_code"],
        _say(book, ROLES, row["role"]),
        row["unit"],
        local_day(row["valid_from"]).isoformat(),
        "" if row["valid_to"] is None else last_day_of(row["valid_to"]).isoformat(),
    )


def _numbers(cipher: FieldCipher, stored: Iterable[keys.StoredKey]) -> dict[str, dict[str, str]]:
    """The numbers of households, in the city and in the village."""
    found: dict[str, dict[str, str]] = {}
    for row in stored:
        key = keys.opened(cipher, row)
        if key is None:
            continue
        own = found.setdefault(row.household, {})
        if key.number is not None:
            own.setdefault("household_no", key.number)
        if key.village_number is not None:
            own.setdefault(key.scope, key.village_number)
    return found


def _household(
    book: Book, cipher: FieldCipher, caller: Caller, row: Row, numbers: dict[str, dict[str, str]]
) -> Sequence[str]:
    id, grid = row["id"], row["grid"]
    fields = {
        name: row[name]
        for name in ("head_name", "members", "tags", "contact_member", "lead_member", "note")
    }
    for name in ("phone", "address"):
        fields[name] = row[name] and cipher.shown(Place("household", name, id), row[name])
    shown = redact("household", fields, caller.shown_of(grid))
    tags = [book.say(TAGS[tag]) for tag in shown.get("tags") or () if tag in TAGS]
    own = numbers.get(id, {})
    in_village = next(
        (own[scope] for scope in own if scope != "household_no" and covered([scope], grid)), ""
    )
    texts = {
        "grid": grid,
        "household_no": own.get("household_no", ""),
        "village_no": in_village,
        "tags": book.say(Label("、", ", ")).join(tags),
    }
    return [
        texts[column.name]
        if column.name in texts
        else ""
        if shown.get(column.name) is None
        else str(shown[column.name])
        for column in HOUSEHOLDS.columns
    ]
