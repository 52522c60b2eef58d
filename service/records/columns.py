"""How the declared fields of a record kind stand in PostgreSQL: types, parameters, and the JSON
that leaves again.

Everything here is derived from `sync_protocol.records`; nothing is declared twice.
"""

from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, DateTime, Float, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.types import TypeEngine

from service.kit.sql import text_array
from sync_protocol.fields import FieldType, Id, Number, Place, Whole
from sync_protocol.kinds import Field, Kind
from sync_protocol.moments import Moment
from sync_protocol.sets import SetOf

# The personal fields of a kind without any.
NO_FIELDS = "NULL::text[]"
MOMENT_JSON = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


class Storage(NamedTuple):
    """How one field type is stored.

    `parameter` is the element type of the array that carries a column's values into a statement,
    `cast` brings an element into the column's type, `json` is the SQL that gives the canonical JSON
    back, `text` makes a value's text form; `bare` says that this never needs quotes or escapes.
    """

    column: Callable[[], TypeEngine[Any]]
    parameter: str
    cast: str
    json: str
    text: Callable[[Any], str]
    bare: bool = False


def _set(items: Sequence[str]) -> str:
    return _array_of(tuple(items))


@lru_cache(maxsize=10_000)
def _array_of(items: tuple[str, ...]) -> str:
    return text_array(items)


def _place(value: Any) -> str:
    return msgspec.json.encode(value).decode()


TEXT = Storage(Text, "text", "{0}", "{0}", str)
STORAGES: dict[type[FieldType], Storage] = {
    Id: Storage(UUID, "uuid", "{0}", "{0}", str, bare=True),
    Moment: Storage(
        lambda: DateTime(timezone=True), "timestamptz", "{0}", MOMENT_JSON, str, bare=True
    ),
    Whole: Storage(Integer, "int", "{0}", "{0}", str, bare=True),
    Number: Storage(Float, "float8", "{0}", "{0}", str, bare=True),
    Place: Storage(JSONB, "text", "{0}::jsonb", "{0}", _place),
    # An array of arrays would be flattened on the way, so that a set travels as text.
    SetOf: Storage(lambda: ARRAY(Text), "text", "{0}::text[]", "{0}", _set),
}


def storage_of(field: Field) -> Storage:
    """How a field is stored; all the forms of text are text."""
    return STORAGES.get(type(field.type), TEXT)


def column_of(field: Field) -> Column[Any]:
    """The table column of a field; every one may be empty, because a record can be corrected piece
    by piece.
    """
    return Column(field.name, storage_of(field).column(), nullable=True)


def fields_json(kind: Kind, alias: str = "", without: Container[str] = ()) -> str:
    """SQL for a record's declared fields as one canonical JSON object, without empty ones, those of
    `without`, and the personal ones, which are encrypted.
    """
    prefix = f"{alias}." if alias else ""
    clear = [field for field in kind.fields if not field.personal and field.name not in without]
    pairs = ", ".join(
        f"'{field.name}', {storage_of(field).json.format(prefix + field.name)}" for field in clear
    )
    return f"json_strip_nulls(json_build_object({pairs}))"


def personal_array(kind: Kind, alias: str = "", without: Container[str] = ()) -> str:
    """SQL for the personal fields as they are stored, in the order of `Kind.personal_names`, empty
    those of `without`; NULL for a kind without any, or where all are left out.
    """
    prefix = f"{alias}." if alias else ""
    if all(name in without for name in kind.personal_names):
        return NO_FIELDS
    names = ", ".join("NULL" if name in without else prefix + name for name in kind.personal_names)
    return f"ARRAY[{names}]::text[]"
