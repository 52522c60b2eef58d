"""The SQL of the synced records, for every kind from its declaration."""

import json
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from service.database import Connection
from service.records.columns import fields_json, storage_of
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


_META = (
    ("id", "uuid", "{0}"),
    ("grid", "text", "{0}"),
    ("rev", "bigint", "{0}"),
    ("deleted", "bool", "{0}"),
    ("device", "uuid", "{0}"),
    ("seq", "bigint", "{0}"),
    ("stamp", "bigint", "{0}"),
    ("by", "text", "{0}"),
    ("created_by", "text", "{0}"),
    ("received_at", "timestamptz", "{0}"),
    ("echo", "bool", "{0}"),
    ("offset_ms", "bigint", "{0}"),
    ("clocks", "text", "{0}::jsonb"),
    ("extra", "text", "{0}::json"),
)


@cache
def _write_sql(kind: Kind) -> str:
    columns = [*_META, *((field.name, storage_of(field).parameter, storage_of(field).cast) for field in kind.fields)]
    names = ", ".join(f'"{name}"' for name, _, _ in columns)
    arrays = ", ".join(f"${index}::{parameter}[]" for index, (_, parameter, _) in enumerate(columns, 1))
    values = ", ".join(cast.format(f'r."{name}"') for name, _, cast in columns)
    updates = ", ".join(f'"{name}" = excluded."{name}"' for name, _, _ in columns if name not in ("id", "created_by", "received_at"))
    return f"INSERT INTO {kind.name} ({names}) SELECT {values} FROM unnest({arrays}) AS r({names}) ON CONFLICT (id) DO UPDATE SET {updates}"


async def write(connection: Connection, kind: Kind, records: Sequence[Stored], vault: Vault) -> None:
    """Writes records of one kind as they stand now, new or known, in one statement."""
    rows = [_row(kind, stored, vault) for stored in records]
    await connection.execute(_write_sql(kind), *map(list, zip(*rows, strict=True)))


def _row(kind: Kind, stored: Stored, vault: Vault) -> tuple[Any, ...]:
    record = stored.record
    last = record.last
    values = record.fields
    extra = {name: value for name, value in values.items() if name not in kind.by_name}
    row: list[Any] = [
        record.id,
        record.grid,
        last.rev,
        record.deleted,
        last.device,
        stored.seq,
        int(last.stamp, 16),
        last.by,
        record.created_by,
        stored.received_at,
        stored.echo,
        stored.offset_ms,
        dump_clocks(record),
        json.dumps(extra, sort_keys=True) if extra else None,
    ]
    for field in kind.fields:
        value = values.get(field.name)
        if field.personal and value is not None:
            value = vault.seal(value)
        row.append(None if value is None else storage_of(field).encode(value))
    return tuple(row)


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


async def existing(connection: Connection, ids: dict[str, set[str]]) -> dict[tuple[str, str], str]:
    """`(kind, id) -> grid` for those of the ids that are records, tombstones included."""
    wanted = {kind: sorted(some) for kind, some in ids.items() if some}
    if not wanted:
        return {}
    parts = [
        f"SELECT '{KINDS[kind].name}' AS kind, id::text, grid FROM {KINDS[kind].name} WHERE id = ANY(${index}::uuid[])"
        for index, kind in enumerate(wanted, 1)
    ]
    rows = await connection.fetch(" UNION ALL ".join(parts), *wanted.values())
    return {(row["kind"], row["id"]): row["grid"] for row in rows}


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
