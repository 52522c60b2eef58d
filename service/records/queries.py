"""The SQL of the synced records, for every kind from its declaration."""

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from service.kit.database import Connection
from service.kit.encrypted_values import (
    encrypted_fields,
    encrypted_unknown,
    personal_fields,
    unknown_fields,
)
from service.kit.field_cipher import FieldCipher
from service.kit.sql import NULL_CELL, Copy, Cte, array, cells, text_array
from service.records.columns import fields_json, personal_array, storage_of
from sync_protocol.kinds import Kind
from sync_protocol.record_state import Clock, Record
from sync_protocol.records import KINDS


class Stored(msgspec.Struct):
    """A record with what the service keeps beside it; see `records.models`.

    `lost_extra`: what could not be decrypted of the fields of newer apps, as it is stored.
    """

    record: Record
    seq: int
    received_at: datetime
    echo: bool = False
    offset_ms: int | None = None
    lost_extra: Sequence[Any] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether nobody has changed the record since its author made it."""
        record = self.record
        untouched = (
            record.first is record.last
            and not record.clocks
            and not record.elements
            and not record.deleted
        )
        return untouched and record.created_by == record.last.by


class Column(NamedTuple):
    """A column as it is written: the type of its parameter's elements, the cast into its own, and a
    value's text form, see `Storage`.
    """

    name: str
    parameter: str
    cast: str
    text: Callable[[Any], str]
    bare: bool = True


_ALWAYS = (
    Column("id", "uuid", "{0}", str),
    Column("grid", "text", "{0}", str),
    Column("rev", "bigint", "{0}", str),
    Column("seq", "bigint", "{0}", str),
    Column("stamp", "bigint", "{0}", str),
    Column("echo", "bool", "{0}", str),
    Column("device", "uuid", "{0}", str),
    Column("by", "text", "{0}", str, bare=False),
    Column("offset_ms", "bigint", "{0}", str),
)
_EXTRA = Column("extra", "text", "{0}::json", str, bare=False)
_LATER = (
    Column("created_by", "text", "{0}", str, bare=False),
    Column("received_at", "timestamptz", "{0}", datetime.isoformat),
    Column("deleted", "bool", "{0}", str),
    Column("clocks", "text", "{0}::jsonb", str, bare=False),
)


@cache
def _columns(kind: Kind) -> tuple[Column, ...]:
    stored = [(field.name, storage_of(field)) for field in kind.fields]
    declared = [
        Column(name, storage.parameter, storage.cast, storage.text, storage.bare)
        for name, storage in stored
    ]
    return (*_ALWAYS, *declared, _EXTRA, *_LATER)


@cache
def _source(kind: Kind) -> tuple[str, str]:
    """The columns of records as they are written, and rows `r` made from parameters for each."""
    names = ", ".join(f'"{column.name}"' for column in _columns(kind))
    arrays = ", ".join(
        f"${index}::text::{column.parameter}[]" for index, column in enumerate(_columns(kind), 1)
    )
    return names, f"unnest({arrays}) AS r({names})"


def _cast(column: Column) -> str:
    return column.cast.format(f'r."{column.name}"')


@cache
def _insert_sql(kind: Kind) -> str:
    names, rows = _source(kind)
    return (
        f"INSERT INTO {kind.name} ({names}) SELECT {', '.join(map(_cast, _columns(kind)))}"
        f" FROM {rows}"
    )


@cache
def _update_sql(kind: Kind) -> str:
    kept = ("id", "created_by", "received_at")
    sets = ", ".join(
        f'"{column.name}" = {_cast(column)}' for column in _columns(kind) if column.name not in kept
    )
    return f"UPDATE {kind.name} AS t SET {sets} FROM {_source(kind)[1]} WHERE t.id = r.id"


def writing(
    kind: Kind, records: Sequence[Stored], cipher: FieldCipher, are_new: bool = False
) -> Cte:
    """Writes records of one kind as they stand now: such as are there already, or such as have been
    made and changed at once.
    """
    values = columns_of(kind, records, cipher)
    values |= {
        "created_by": [stored.record.created_by for stored in records],
        "received_at": [stored.received_at for stored in records],
        "deleted": [stored.record.deleted for stored in records],
        "clocks": [dump_clocks(stored.record) for stored in records],
    }
    literals = [_literal(column, values[column.name]) for column in _columns(kind)]
    verb, sql = ("insert", _insert_sql(kind)) if are_new else ("update", _update_sql(kind))
    return Cte(f"{verb}_{kind.name}", sql, tuple(literals))


def adding(kind: Kind, values: Mapping[str, Sequence[Any]], received_at: datetime) -> Copy:
    """Writes new records of one kind, which nobody has changed since they were made; `values` by
    column, as `columns_of` makes them.
    """
    # What is empty in all of them is left out.
    found = {
        column.name: _cells(column, some)
        for column in _columns(kind)
        if (some := values.get(column.name)) and not _is_empty(some)
    }
    found["created_by"] = found["by"]  # nobody else has changed it
    later = f"\t{received_at.isoformat()}\tf\n"
    lines = map("\t".join, zip(*found.values(), strict=True))
    return Copy(kind.name, (*found, "received_at", "deleted"), (later.join(lines) + later).encode())


def columns_of(
    kind: Kind, records: Sequence[Stored], cipher: FieldCipher
) -> dict[str, Sequence[Any]]:
    """The values of records by column, without those of `_LATER`."""
    last = [stored.record.last for stored in records]
    fields = [stored.record.fields for stored in records]
    kept = fields
    if kind.personal:
        kept = [
            encrypted_fields(cipher, kind, stored.record.id, stored.record.fields)
            for stored in records
        ]
    return {
        "id": [stored.record.id for stored in records],
        "grid": [stored.record.grid for stored in records],
        "rev": [clock.rev for clock in last],
        "seq": [stored.seq for stored in records],
        "stamp": [int(clock.stamp, 16) for clock in last],
        "echo": [stored.echo for stored in records],
        "device": [clock.device for clock in last],
        "by": [clock.by for clock in last],
        "offset_ms": [stored.offset_ms for stored in records],
        **{name: [some.get(name) for some in kept] for name in kind.names},
        "extra": [
            encrypted_unknown(
                cipher, kind, stored.record.id, stored.record.fields, stored.lost_extra
            )
            for stored in records
        ],
    }


def _is_empty(column: Sequence[Any]) -> bool:
    return column[0] is None and column.count(None) == len(column)


def _literal(column: Column, some: Sequence[Any]) -> str:
    """The values of a column as an array in text form."""
    texts = _texts(column, some)
    return array(texts) if column.bare else text_array(texts)


def _cells(column: Column, some: Sequence[Any]) -> Sequence[str]:
    """The values of a column as cells of lines."""
    texts = _texts(column, some)
    return [NULL_CELL if text is None else text for text in texts] if column.bare else cells(texts)


def _texts(column: Column, some: Sequence[Any]) -> Sequence[str | None]:
    text = column.text
    if None in some:
        return [None if value is None else text(value) for value in some]
    return some if text is str and type(some[0]) is str else [*map(text, some)]


def dump_clocks(record: Record) -> str | None:
    """The clocks of a record's fields as JSON; None for a fresh record, whose fields all have the
    record's own.
    """
    if not record.clocks and not record.elements and record.first == record.last:
        return None
    return msgspec.json.encode(
        {"first": record.first, "fields": record.clocks, "elements": record.elements}
    ).decode()


@cache
def load_sql(kind: Kind) -> str:
    """The SQL that reads records of a kind, by the ids in $1."""
    return (
        "SELECT id::text, grid, rev, deleted, device::text, seq, stamp, by, created_by,"
        " received_at, echo, offset_ms,"
        f" clocks, extra, {fields_json(kind)} AS fields, {personal_array(kind)} AS personal"
        f" FROM {kind.name} WHERE id = ANY($1::uuid[])"
    )


async def load(
    connection: Connection, kind: Kind, ids: Collection[str], cipher: FieldCipher
) -> dict[str, Stored]:
    """The records with these ids, with their clocks, tombstones included."""
    rows = await connection.fetch(load_sql(kind), list(ids))
    return {row["id"]: stored_from(row, kind, cipher) for row in rows}


def stored_from(row: Any, kind: Kind, cipher: FieldCipher) -> Stored:
    """A record from a row of its table."""
    fields: dict[str, Any] = msgspec.json.decode(row["fields"])
    if row["personal"]:
        fields |= personal_fields(cipher, kind, row["id"], row["personal"])
    lost: list[Any] = []
    if row["extra"]:
        unknown, lost = unknown_fields(cipher, kind, row["id"], row["extra"])
        fields |= unknown
    last = Clock(row["rev"], f"{row['stamp']:016x}", row["device"], row["by"])
    first, clocks, elements = last, {}, {}
    if row["clocks"]:
        kept = json.loads(row["clocks"])
        first = Clock(*kept["first"])
        clocks = {
            name: tuple(Clock(*item) for item in items) for name, items in kept["fields"].items()
        }
        elements = {
            name: {element: Clock(*item) for element, item in items.items()}
            for name, items in kept["elements"].items()
        }
    record = Record(
        row["id"],
        row["grid"],
        first,
        last,
        row["created_by"],
        row["deleted"],
        fields,
        clocks,
        elements,
    )
    return Stored(record, row["seq"], row["received_at"], row["echo"], row["offset_ms"], lost)


async def steps_of(connection: Connection, problems: Collection[str]) -> list[Any]:
    """The steps of these problems: id, problem, stamp, author, fields."""
    kind = KINDS["step"]
    return await connection.fetch(
        f"SELECT id::text, problem_id::text AS problem, stamp, created_by, {fields_json(kind)}"
        " AS fields"
        " FROM step WHERE problem_id = ANY($1::uuid[]) AND NOT deleted",
        list(problems),
    )


def new_uuid() -> str:
    """A random id for a row of the service's own."""
    return str(uuid.uuid4())
