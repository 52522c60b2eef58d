"""Seals personal data with the newest key: what an older key sealed, and what was kept before there was a key."""

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from service.database import Database, Row, begin_again
from service.privacy import queries
from service.vault import Vault
from sync_protocol.messages import canonical_json
from sync_protocol.records import PERSONAL

_AT_ONCE = 500
Progress = Callable[[str, int], None]


class Place(NamedTuple):
    """A table with sealed values: its key and those columns, with their types, and how a value there is sealed anew."""

    table: str
    key: queries.Columns
    columns: queries.Columns
    where: str
    anew: Callable[[Vault, str], str]


def _text(vault: Vault, value: str) -> str:
    return vault.seal(vault.open(value)) if vault.is_stale(value) else value


def _value(vault: Vault, value: str) -> str:
    """A JSON value that is one personal text."""
    plain = json.loads(value)
    return canonical_json(_text(vault, plain)) if isinstance(plain, str) else value


def _body(vault: Vault, value: str) -> str:
    """A mutation of a kind with personal fields."""
    body = json.loads(value)
    fields = body.get("fields") or {}
    names = frozenset().union(*PERSONAL.values())
    body["fields"] = {name: _text(vault, item) if name in names and isinstance(item, str) else item for name, item in fields.items()}
    return canonical_json(body)


_KINDS = "kind IN (" + ", ".join(f"'{kind}'" for kind in PERSONAL) + ")"
_PAIRS = " OR ".join(f"kind = '{kind}' AND field = '{name}'" for kind, names in PERSONAL.items() for name in sorted(names))
PLACES = (
    *(Place(kind, {"id": "uuid"}, dict.fromkeys(sorted(names), "text"), "true", _text) for kind, names in PERSONAL.items()),
    Place("cadre", {"staff_code": "text"}, {"phone": "text"}, "phone <> ''", _text),
    Place("signing_key", {"kid": "text"}, {"private_pem": "text"}, "true", _text),
    Place("second_factor", {"staff_code": "text"}, {"secret": "text"}, "true", _text),
    Place("held", {"id": "uuid"}, {"body": "json"}, _KINDS, _body),
    Place("conflict", {"id": "uuid"}, {"kept": "json", "lost": "json"}, _PAIRS, _value),
    Place("mutation", {"device": "uuid", "seq": "bigint", "received_at": "timestamptz"}, {"body": "text"}, _KINDS, _body),
)


async def reseal(database: Database, vault: Vault, progress: Progress = lambda what, done: None) -> int:
    """Goes through every place, a few hundred rows a transaction; returns how many rows were sealed anew. May be run again at any time."""
    total = 0
    for place in PLACES:
        last, done = None, 0
        while True:
            rows, changed = await begin_again(partial(_reseal_some, database, vault, place, last))
            total += changed
            done += len(rows)
            progress(place.table, done)
            if len(rows) < _AT_ONCE:
                break
            last = rows[-1]
    return total


async def _reseal_some(database: Database, vault: Vault, place: Place, last: Row | None) -> tuple[list[Row], int]:
    """The next rows of a place, and how many of them were sealed anew; somebody may edit them meanwhile, and does so before or after."""
    async with database.transaction() as connection:
        rows = await queries.lock_sealed(connection, place.table, place.key, place.columns, place.where, last, _AT_ONCE)
        changed = []
        for row in rows:
            values = [row[name] for name in place.columns]
            sealed = [None if value is None else place.anew(vault, value) for value in values]
            if sealed != values:
                changed.append((*(row[name] for name in place.key), *sealed))
        if changed:
            await queries.write_sealed(connection, place.table, place.key, place.columns, changed)
        return rows, len(changed)
