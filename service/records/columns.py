"""How the declared fields of a record kind stand in PostgreSQL: types, parameters, and the JSON that leaves again.

Everything here is derived from `sync_protocol.records`; nothing is declared twice.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.types import TypeEngine

from service.statements import quoted
from sync_protocol.fields import FieldType, Id, Moment, Place, SetOf, Whole
from sync_protocol.records import Field, Kind

MOMENT_JSON = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


class Storage(NamedTuple):
    """How one field type is stored.

    `parameter` is the element type of the array that carries a column's values into a statement, `cast` brings an element into the
    column's type, `json` is the SQL that gives the canonical JSON back, `encode` makes an element of the array in text form.
    """

    column: Callable[[], TypeEngine[Any]]
    parameter: str
    cast: str
    json: str
    encode: Callable[[Any], str]


def array_literal(items: Sequence[str]) -> str:
    """The text form of an array as an element of another, for columns that are arrays themselves (unnest would flatten nested arrays)."""
    return _array_literal(tuple(items))


@lru_cache(maxsize=10_000)
def _array_literal(items: tuple[str, ...]) -> str:
    return quoted("{" + ",".join(map(quoted, items)) + "}")


def _place(value: Any) -> str:
    return quoted(msgspec.json.encode(value).decode())


TEXT = Storage(Text, "text", "{0}", "{0}", quoted)
STORAGES: dict[type[FieldType], Storage] = {
    Id: Storage(UUID, "uuid", "{0}", "{0}", str),
    Moment: Storage(lambda: DateTime(timezone=True), "timestamptz", "{0}", MOMENT_JSON, str),
    Whole: Storage(Integer, "int", "{0}", "{0}", str),
    Place: Storage(JSONB, "text", "{0}::jsonb", "{0}", _place),
    SetOf: Storage(lambda: ARRAY(Text), "text", "{0}::text[]", "{0}", array_literal),
}


def storage_of(field: Field) -> Storage:
    """How a field is stored; all the forms of text are text."""
    return STORAGES.get(type(field.type), TEXT)


def column_of(field: Field) -> Column[Any]:
    """The table column of a field; every one may be empty, because a record can be corrected piece by piece."""
    return Column(field.name, storage_of(field).column(), nullable=True)


def fields_json(kind: Kind, alias: str = "") -> str:
    """SQL for a record's declared fields as one canonical JSON object, empty ones left out."""
    prefix = f"{alias}." if alias else ""
    pairs = ", ".join(f"'{field.name}', {storage_of(field).json.format(prefix + field.name)}" for field in kind.fields)
    return f"json_strip_nulls(json_build_object({pairs}))"
