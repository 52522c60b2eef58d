"""The SQL of the synced records, for every kind from its declaration."""

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from service.database import Connection
from service.records.columns import fields_json, storage_of
from service.statements import Part, quoted
from service.vault import Vault
from sync_protocol.merge import Clock, Record
from sync_protocol.records import KINDS, Kind


class Stored(msgspec.Struct):
    """A record with what the service keeps beside it; see `records.models`."""

    record: Record
    seq: int
    received_at: datetime
    echo: bool = False
    offset_ms: int | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether nobody has changed the record since it was made."""
        record = self.record
        return record.first is record.last and not record.clocks and not record.elements and not record.deleted


class Column(NamedTuple):
    """A column as it is written: the type of its parameter's elements, the cast into its own, and how a value becomes an element."""

    name: str
    parameter: str
    cast: str
    encode: Callable[[Any], str]


_META = (
    Column("id", "uuid", "{0}", str),
    Column("grid", "text", "{0}", str),
    Column("rev", "bigint", "{0}", str),
    Column("seq", "bigint", "{0}", str),
    Column("stamp", "bigint", "{0}", str),
    Column("echo", "bool", "{0}", str),
    Column("extra", "text", "{0}::json", quoted),
)
_MADE = (
    Column("device", "uuid", "{0}", str),
    Column("by", "text", "{0}", quoted),
    Column("offset_ms", "bigint", "{0}", str),
)
_LATER = (
    Column("deleted", "bool", "{0}", str),
    Column("created_by", "text", "{0}", quoted),
    Column("received_at", "timestamptz", "{0}", quoted),
    Column("clocks", "text", "{0}::jsonb", quoted),
)


@cache
def _columns(kind: Kind) -> tuple[Column, ...]:
    return tuple(Column(field.name, *storage_of(field)[1:3], storage_of(field).encode) for field in kind.fields)


def _arrays(columns: Sequence[Column], first: int = 1) -> str:
    return ", ".join(f"${index}::text::{column.parameter}[]" for index, column in enumerate(columns, first))


@cache
def _write_sql(kind: Kind) -> str:
    columns = [*_META, *_MADE, *_columns(kind), *_LATER]
    names = ", ".join(f'"{column.name}"' for column in columns)
    values = ", ".join(column.cast.format(f'r."{column.name}"') for column in columns)
    kept = ("id", "created_by", "received_at")
    updates = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in columns if column.name not in kept)
    return (
        f"INSERT INTO {kind.name} ({names}) SELECT {values} FROM unnest({_arrays(columns)}) AS r({names})"
        f" ON CONFLICT (id) DO UPDATE SET {updates}"
    )


@cache
def _add_sql(kind: Kind) -> str:
    columns = [*_META, *_MADE, *_columns(kind)]
    names = ", ".join(f'"{column.name}"' for column in columns)
    values = ", ".join(column.cast.format(f'r."{column.name}"') for column in columns)
    return (
        f"INSERT INTO {kind.name} (received_at, deleted, created_by, {names}) SELECT $1::timestamptz, false, r.by, {values}"
        f" FROM unnest({_arrays(columns, 2)}) AS r({names})"
    )


def writing(kind: Kind, records: Sequence[Stored], vault: Vault) -> Part:
    """Writes records of one kind as they stand now, new or known."""
    rows = [_row(kind, stored, vault) + _later(stored) for stored in records]
    return Part(f"write_{kind.name}", _write_sql(kind), _literals([*_META, *_MADE, *_columns(kind), *_LATER], rows))


def adding(kind: Kind, records: Sequence[Stored], vault: Vault) -> Part:
    """Writes new records of one kind, which nobody has changed since they were made; they were received at the same moment."""
    rows = [_row(kind, stored, vault) for stored in records]
    return Part(f"add_{kind.name}", _add_sql(kind), (records[0].received_at, *_literals([*_META, *_MADE, *_columns(kind)], rows)))


def _literals(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """The values of each column as an array in text form."""
    return tuple([_literal(column.encode, some) for column, some in zip(columns, zip(*rows, strict=True), strict=True)])


def _literal(encode: Callable[[Any], str], some: Sequence[Any]) -> str:
    missing = some.count(None)
    if missing == len(some):
        items = ["NULL"] * missing
    elif missing:
        items = ["NULL" if value is None else encode(value) for value in some]
    else:
        items = list(map(encode, some))
    return "{" + ",".join(items) + "}"


def _row(kind: Kind, stored: Stored, vault: Vault) -> tuple[Any, ...]:
    record = stored.record
    last, fields = record.last, record.fields
    values = list(map(fields.get, kind.names))
    if kind.personal:
        values = list(map(vault.seal_fields(kind.name, fields).get, kind.names))
    extra = None
    if len(fields) > len(values) - values.count(None):
        extra = json.dumps({name: value for name, value in fields.items() if name not in kind.by_name}, sort_keys=True)
    stamp = int(last.stamp, 16)
    return (record.id, record.grid, last.rev, stored.seq, stamp, stored.echo, extra, last.device, last.by, stored.offset_ms, *values)


def _later(stored: Stored) -> tuple[Any, ...]:
    record = stored.record
    return record.deleted, record.created_by, stored.received_at.isoformat(), dump_clocks(record)


def dump_clocks(record: Record) -> str | None:
    """The clocks of a record's fields as JSON; None for a fresh record, whose fields all have the record's own."""
    if not record.clocks and not record.elements and record.first == record.last:
        return None
    return json.dumps({"first": record.first, "fields": record.clocks, "elements": record.elements})


@cache
def _load_sql(kind: Kind) -> str:
    return (
        "SELECT id::text, grid, rev, deleted, device::text, seq, stamp, by, created_by, received_at, echo, offset_ms,"
        f" clocks, extra, {fields_json(kind)} AS fields FROM {kind.name} WHERE id = ANY($1::uuid[])"
    )


async def load(connection: Connection, kind: Kind, ids: Collection[str], vault: Vault) -> dict[str, Stored]:
    """The records with these ids, with their clocks, tombstones included."""
    rows = await connection.fetch(_load_sql(kind), list(ids))
    return {row["id"]: _stored(row, vault) for row in rows}


def _stored(row: Any, vault: Vault) -> Stored:
    fields: dict[str, Any] = msgspec.json.decode(vault.open_json(row["fields"]))
    if row["extra"]:
        fields.update(json.loads(row["extra"]))
    last = Clock(row["rev"], f"{row['stamp']:016x}", row["device"], row["by"])
    first, clocks, elements = last, {}, {}
    if row["clocks"]:
        kept = json.loads(row["clocks"])
        first = Clock(*kept["first"])
        clocks = {name: tuple(Clock(*item) for item in items) for name, items in kept["fields"].items()}
        elements = {name: {element: Clock(*item) for element, item in items.items()} for name, items in kept["elements"].items()}
    record = Record(row["id"], row["grid"], first, last, row["created_by"], row["deleted"], fields, clocks, elements)
    return Stored(record, row["seq"], row["received_at"], row["echo"], row["offset_ms"])


async def steps_of(connection: Connection, problems: Collection[str]) -> list[Any]:
    """The steps of these problems: id, problem, stamp, author, fields."""
    kind = KINDS["step"]
    return await connection.fetch(
        f"SELECT id::text, problem_id::text AS problem, stamp, created_by, {fields_json(kind)} AS fields"
        " FROM step WHERE problem_id = ANY($1::uuid[]) AND NOT deleted",
        list(problems),
    )


def new_uuid() -> str:
    """A random id for a row of the service's own."""
    return str(uuid.uuid4())
